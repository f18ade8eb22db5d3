//! One ACI for each layer.

use imgconv_format_aci::stack::{Snapshot, level_name, link, set_whitelist, split};
use imgconv_layer::{Discard, Semantics, Spool, Tree};
use imgconv_model::{
    Algorithm, Code, Digest, Exec, Image, Layer, Limits, Name, Platform, RunConfig,
};

use crate::build::{blob, decode, encode, env, losses, manifest_of, names, tar};

fn layer(members: &[&str]) -> Layer {
    Layer {
        blob: blob(&tar(members)),
        diff_id: None,
        kind: None,
        urls: Vec::new(),
        annotations: Default::default(),
    }
}

fn image() -> Image {
    Image {
        name: Some(Name {
            repository: Some("example.com/App".into()),
            tag: Some("1".into()),
            digest: None,
        }),
        platform: Platform::new("linux", "arm64"),
        config: RunConfig {
            exec: Some(Exec {
                entrypoint: vec!["/a".into()],
                cmd: Vec::new(),
            }),
            ..RunConfig::default()
        },
        layers: vec![layer(&["./", "a=1"]), layer(&["b=2"]), layer(&["c=3"])],
        ..Image::default()
    }
}

#[test]
fn levels_are_linked_and_only_the_top_runs() {
    let mut levels = split(&image(), &Limits::default()).unwrap();
    assert_eq!(levels.len(), 3);
    let ids = [
        Digest::new(Algorithm::Sha512, &[1; 64]),
        Digest::new(Algorithm::Sha512, &[2; 64]),
    ];
    for (i, id) in ids.iter().enumerate() {
        let lower = levels[i].clone();
        link(&mut levels[i + 1], &lower, id).unwrap();
    }
    let labels = r#""labels":[{"name":"arch","value":"aarch64"},{"name":"os","value":"linux"},{"name":"version","value":"1"}]"#;
    let dependency = |i: usize| {
        let id = ids[i - 1].image_id();
        format!(
            r#""dependencies":[{{"imageName":"example.com/app-layer-{i}","imageID":"{id}",{labels}}}]"#
        )
    };
    let begin = |name: &str| {
        format!(r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}",{labels}"#)
    };
    let written: Vec<_> = levels.iter().map(|level| encode(level).unwrap()).collect();
    let manifests: Vec<String> = written
        .iter()
        .map(|(bytes, _)| manifest_of(bytes))
        .collect();
    assert_eq!(
        manifests[0],
        format!("{}}}", begin("example.com/app-layer-1"))
    );
    assert_eq!(
        manifests[1],
        format!("{},{}}}", begin("example.com/app-layer-2"), dependency(1))
    );
    assert!(
        manifests[2].starts_with(&begin("example.com/app")),
        "{}",
        manifests[2]
    );
    assert!(manifests[2].contains(&dependency(2)) && manifests[2].contains(r#""exec":["/a"]"#));
    for (_, report) in &written[..2] {
        assert!(report.is_clean(), "{report:?}");
    }
    assert_eq!(losses(&written[2].1), ["name approximated"]);
    assert_eq!(names(&written[1].0), ["manifest", "rootfs/", "rootfs/b"]);
    // The top still depends on what was written below.
    let again = decode(&written[2].0).unwrap().manifest;
    assert_eq!(again.dependencies[0].image_id, Some(ids[1]));
}

#[test]
fn a_stack_is_not_deeper_than_it_may_be_read() {
    let mut image = image();
    image.layers = vec![layer(&["a=1"]); 65];
    assert_eq!(split(&image, &Limits::default()).unwrap().len(), 65);
    image.layers.push(layer(&["a=1"]));
    let error = split(&image, &Limits::default()).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    assert!(error.message().contains("66 ACIs"), "{error}");
    image.name = None;
    image.layers.truncate(1);
    assert_eq!(
        split(&image, &Limits::default()).unwrap_err().code(),
        Code::Usage
    );
    assert_eq!(level_name("é", 1).unwrap_err().code(), Code::BadName);
}

/// (lower layer, upper layer, the upper level's own paths, whether it deletes)
#[test]
fn what_a_layer_changes() {
    let base: &[&str] = &["./", "d/", "d/a=1", "d/b=2", "e=3", "f=>e", "l->d"];
    let table: &[(&[&str], &[&str], bool)] = &[
        (&[], &[], false),
        (&["g=4"], &["g"], false),
        (&["d/a=new"], &["d/a"], false),
        (&["d/.wh.a="], &[], true),
        (&["d/.wh..wh..opq=", "d/c=5"], &["d/c"], true),
        (&[".wh.nope="], &[], false),
        // A name more changes how many links the file has: all its names are written.
        (&["g=>e"], &["e", "f", "g"], false),
        // A file in the place of a directory removes what is below by itself.
        (&["d=file"], &["d"], false),
        (&["l/new=6"], &["d/new"], false),
        (&[".wh.f="], &["e"], true),
    ];
    for (upper, paths, deletes) in table {
        let env = env();
        let mut spool = Spool::new(&env).unwrap();
        let mut tree = Tree::new(&env);
        tree.apply(&mut &*tar(base), Semantics::Layer, &mut spool, "base")
            .unwrap();
        let before = Snapshot::of(&tree);
        tree.apply(&mut &*tar(upper), Semantics::Layer, &mut spool, "upper")
            .unwrap();
        let changes = before.changes(&tree);
        let found: Vec<String> = changes
            .paths
            .iter()
            .map(|path| String::from_utf8(path.clone()).unwrap())
            .collect();
        assert_eq!(
            (
                &found.iter().map(|path| &**path).collect::<Vec<_>>()[..],
                changes.deletes
            ),
            (*paths, *deletes),
            "{upper:?}"
        );
    }
}

#[test]
fn a_level_that_deletes_lists_what_is_left() {
    let tree = |members: &[&str]| {
        let env = env();
        let mut tree = Tree::new(&env);
        tree.apply(&mut &*tar(members), Semantics::Layer, &mut Discard, "x")
            .unwrap();
        tree
    };
    let mut level = split(&image(), &Limits::default()).unwrap().remove(0);
    set_whitelist(&mut level, &tree(&["./", "d/", "d/a=1", "z=2"])).unwrap();
    let text = manifest_of(&encode(&level).unwrap().0);
    assert!(
        text.contains(r#""pathWhitelist":["/d","/d/a","/z"]"#),
        "{text}"
    );
    set_whitelist(&mut level, &tree(&["./"])).unwrap();
    let text = manifest_of(&encode(&level).unwrap().0);
    assert!(
        text.contains(r#""pathWhitelist":["/"]"#),
        "an empty list lets all exist: {text}"
    );
    let env = env();
    let mut odd = crate::build::member("x=1");
    odd.0.path = vec![0xff];
    let mut tree = Tree::new(&env);
    let bytes = crate::build::tar_of(&[odd]);
    tree.apply(&mut &*bytes, Semantics::Layer, &mut Discard, "x")
        .unwrap();
    let error = set_whitelist(&mut level, &tree).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.message().contains("\\xff"), "{error}");
}
