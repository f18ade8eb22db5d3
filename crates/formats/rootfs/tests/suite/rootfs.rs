//! What is read of a flat tar, and what is written as one.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    sync::Arc,
};

use imgconv_format_rootfs::Rootfs;
use imgconv_model::{
    Blob, Code, Env, Error, Exec, Facts, History, Image, Name, Open, Outcome, Platform, Report,
    Result, RunConfig, StreamFormat as _, check,
};
use imgconv_testkit::{build, dump, recipe};

fn env() -> Env {
    Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
}

fn tar(text: &str) -> Vec<u8> {
    build::tar_bytes(&recipe::parse(text, "test").unwrap()).unwrap()
}

fn blob(bytes: Vec<u8>) -> Blob {
    let bytes: Arc<[u8]> = bytes.into();
    Blob {
        facts: Facts::default(),
        bytes: Arc::new(bytes),
    }
}

fn decoded(bytes: Vec<u8>) -> Image {
    let decoded = Rootfs.decode(&blob(bytes), "test", &env()).unwrap();
    assert_eq!(check(&decoded.image), Vec::<String>::new());
    decoded.image
}

fn read(open: &dyn Open) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open.open()?
        .read_to_end(&mut bytes)
        .map_err(Error::from_io)?;
    Ok(bytes)
}

/// Reads the layer of a flat tar.
fn layer(bytes: Vec<u8>) -> Result<Vec<u8>> {
    read(&*decoded(bytes).layers[0].blob.bytes)
}

fn lines(bytes: &[u8]) -> Vec<String> {
    dump::tar_lines(&mut &*bytes, "test").unwrap()
}

#[test]
fn p01_a_layer_has_every_member_whatever_it_is() {
    let text = "dir etc 0700 3:4\nfile etc/a \"1\"\nlink etc/b -> etc/a\n\
        symlink l -> ../../outside\nchar dev/null 0666 0:0 @0 1:3\nfifo p";
    let bytes = tar(text);
    assert_eq!(lines(&layer(bytes.clone()).unwrap()), lines(&bytes));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&bytes).unwrap();
    let packed = packed.finish().unwrap();
    assert!(Rootfs.recognise(&blob(packed.clone())));
    assert_eq!(layer(packed).unwrap(), layer(bytes).unwrap());
}

#[test]
fn p02_what_is_no_tar_is_not_recognised() {
    for bytes in [&b""[..], b"text", &[0; 512], &[7; 4096]] {
        assert!(!Rootfs.recognise(&blob(bytes.to_vec())), "{bytes:?}");
    }
    for bytes in [tar("file a \"1\""), vec![0; 1024], vec![0; 10240]] {
        assert!(Rootfs.recognise(&blob(bytes)));
    }
}

#[test]
fn p03_hostile_members_are_refused() {
    for (text, code) in [
        ("file ../a \"1\"", Code::Escape),
        ("file a/../../b \"1\"", Code::Escape),
        ("file .wh.a \"1\"", Code::Unsupported),
        ("file .wh.a/b \"1\"", Code::Unsupported),
        ("file d/.wh..wh..opq \"\"", Code::Unsupported),
        ("link a -> ../b", Code::Escape),
        ("link a -> b", Code::BadTar),
        ("file . \"1\"", Code::BadTar),
    ] {
        let error = layer(tar(text)).unwrap_err();
        assert_eq!(error.code(), code, "{text}: {error}");
        let place = error.places().join(" ");
        assert!(place.contains("entry"), "{text}: {error}");
    }
}

#[test]
fn p04_everything_but_the_files_is_lost() {
    let mut image = decoded(tar("file a \"1\""));
    let mut report = Report::default();
    let written = Rootfs.encode(&image, None, &env(), &mut report).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(
        read(&*written).unwrap(),
        layer(tar("file a \"1\"")).unwrap()
    );
    image = Image {
        name: Some(Name {
            repository: Some("example.com/app".into()),
            ..Name::default()
        }),
        platform: Platform::new("linux", "amd64"),
        created: Some("2020-01-01T00:00:00Z".into()),
        author: Some("somebody".into()),
        config: RunConfig {
            exec: Some(Exec {
                entrypoint: vec!["/a".into()],
                cmd: vec!["b".into()],
            }),
            user: Some("1".into()),
            env: vec!["A=1".into()],
            working_dir: Some("/".into()),
            ports: Vec::new(),
            volumes: vec!["/v".into()],
            labels: BTreeMap::from([("k".into(), "v".into())]),
            stop_signal: Some("SIGTERM".into()),
        },
        history: vec![History::default()],
        annotations: BTreeMap::from([("x".into(), "y".into())]),
        ..image
    };
    Rootfs.encode(&image, None, &env(), &mut report).unwrap();
    assert!(
        report
            .losses
            .iter()
            .all(|it| it.outcome == Outcome::Dropped)
    );
    let mut fields: Vec<&str> = report.losses.iter().map(|it| &*it.field).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "annotations.x",
            "author",
            "config.Cmd",
            "config.Entrypoint",
            "config.Env",
            "config.Labels.k",
            "config.StopSignal",
            "config.User",
            "config.Volumes",
            "config.WorkingDir",
            "created",
            "history",
            "name",
            "platform",
        ]
    );
}

#[test]
fn p05_whiteouts_and_several_layers_are_not_written() {
    let mut image = decoded(Vec::new());
    image.layers[0].blob = blob(tar("file d/.wh.x \"\""));
    let written = Rootfs.encode(&image, None, &env(), &mut Report::default());
    let error = read(&*written.unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    image.layers.push(image.layers[0].clone());
    let error = Rootfs
        .encode(&image, None, &env(), &mut Report::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    image.layers.clear();
    let empty = Rootfs
        .encode(&image, None, &env(), &mut Report::default())
        .unwrap();
    assert_eq!(read(&*empty).unwrap(), [0; 1024]);
}
