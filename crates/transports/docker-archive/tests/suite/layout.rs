//! Archives of Docker 25 and later: a layout and `manifest.json` in one.

use imgconv_model::{Code, Facts, Root};

use crate::fixture::{Tar, env, hex, member, names, read, roots, sha256, warnings};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn descriptor(kind: &str, body: &str, more: &str) -> String {
    let (digest, size) = (sha256(body), body.len());
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}{more}}}"#)
}

fn named(body: &str, name: &str) -> String {
    let more = format!(r#","annotations":{{"io.containerd.image.name":"{name}"}}"#);
    descriptor(MANIFEST, body, &more)
}

fn config(layers: &[&str]) -> String {
    let ids: Vec<String> = layers
        .iter()
        .map(|l| format!("\"{}\"", sha256(l)))
        .collect();
    let ids = ids.join(",");
    format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#)
}

fn manifest(config: &str, layers: &[&str]) -> String {
    let layers: Vec<String> = layers.iter().map(|l| descriptor("tar", l, "")).collect();
    manifest_of(config, &layers.join(","))
}

fn manifest_of(config: &str, layers: &str) -> String {
    let config = descriptor("config", config, "");
    format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#)
}

fn item(tags: &str, config: &str, layers: &[&str]) -> String {
    let blob = |body: &str| format!("\"blobs/sha256/{}\"", hex(body));
    let layers: Vec<String> = layers.iter().map(|l| blob(l)).collect();
    let (config, layers) = (blob(config), layers.join(","));
    format!(r#"{{"Config":{config},"RepoTags":{tags},"Layers":[{layers}]}}"#)
}

/// A layout of these descriptors, these entries of `manifest.json`, and these blobs.
fn saved(descriptors: &str, items: &str, blobs: &[&str]) -> Tar {
    let index = format!(r#"{{"schemaVersion":2,"manifests":{descriptors}}}"#);
    let mut tar = Tar::default()
        .directory("blobs/")
        .directory("blobs/sha256/");
    for blob in blobs {
        tar = tar.blob(blob);
    }
    tar.file("index.json", index)
        .file("manifest.json", format!("[{items}]"))
        .file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
}

#[test]
fn a13a_the_layout_is_used() {
    let config = config(&["a", "b"]);
    let manifest = manifest(&config, &["a", "b"]);
    let names = ["docker.io/library/x:1", "docker.io/library/x:2"];
    let list = names.map(|name| named(&manifest, name)).join(",");
    let items = item(r#"["x:1","x:2","y:3"]"#, &config, &["a", "b"]);
    let tar = saved(
        &format!("[{list}]"),
        &items,
        &[&config, &manifest, "a", "b"],
    );
    assert_eq!(warnings(&tar), []);
    let bundle = tar.open();
    let expected = [
        ("docker.io/library/x:1", 0, &manifest),
        ("docker.io/library/x:2", 1, &manifest),
        // Only the one list has it, and it is a name of that image.
        ("docker.io/library/y:3", 0, &manifest),
    ];
    let expected = expected.map(|(name, i, text)| (name.to_owned(), i, text.clone()));
    assert_eq!(roots(&*bundle), expected);
    assert_eq!(
        bundle.roots().unwrap()[0].child.as_ref().unwrap().kind,
        MANIFEST
    );
    let facts = |body: &str| Facts {
        digest: Some(sha256(body)),
        size: None,
    };
    assert_eq!(read(&bundle.blob(&facts("a")).unwrap()).unwrap(), b"a");
    let error = bundle.blob(&facts("absent")).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert_eq!(bundle.stored().unwrap().unwrap().len(), 4);
}

#[test]
fn a13a_an_image_without_a_name_and_an_index_fit_too() {
    let config = config(&["a"]);
    let manifest = manifest(&config, &["a"]);
    let absent = descriptor(MANIFEST, "absent", "");
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{absent},{}]}}"#,
        descriptor(MANIFEST, &manifest, "")
    );
    let items = item("null", &config, &["a"]);
    let blobs = [&*config, &manifest, &index, "a"];
    for (kind, root) in [(MANIFEST, &manifest), (INDEX, &index)] {
        let tar = saved(&format!("[{}]", descriptor(kind, root, "")), &items, &blobs);
        assert_eq!(warnings(&tar), []);
        assert_eq!(roots(&*tar.open()), [(String::new(), 0, root.clone())]);
    }
}

#[test]
fn a13b_two_configs_of_one_image_are_ambiguous() {
    let (one, two) = (config(&["a"]), config(&["b"]));
    let manifest = manifest(&one, &["a"]);
    let blobs = [&*one, &two, &manifest, "a", "b"];
    let list = format!("[{}]", named(&manifest, "docker.io/library/x:1"));
    let (first, second) = (hex(&one), hex(&two));
    let tar = saved(&list, &item(r#"["x:1"]"#, &two, &["b"]), &blobs);
    tar.refused(Code::Ambiguous, &["x:1", &first, &second]);
    // Under another name, or none.
    for tags in [r#"["y:1"]"#, "null"] {
        let tar = saved(&list, &item(tags, &two, &["b"]), &blobs);
        tar.refused(Code::Ambiguous, &["manifest.json", &second, "index.json"]);
    }
}

#[test]
fn a13c_wrong_layers_in_the_layout_give_way_to_the_other_list() {
    let config = config(&["a", "b"]);
    let items = item(r#"["x:1"]"#, &config, &["a", "b"]);
    let size = format!(
        "{},{}",
        descriptor("tar", "a", ""),
        descriptor("tar", "b", "").replace("\"size\":1", "\"size\":9")
    );
    let wrong = [
        manifest(&config, &[]),
        manifest(&config, &["b", "a"]),
        manifest(&config, &["a"]),
        manifest_of(&config, &size),
    ];
    for manifest in wrong {
        let list = format!("[{}]", named(&manifest, "docker.io/library/x:1"));
        let tar = saved(&list, &items, &[&config, &manifest, "a", "b"]);
        let at = format!("manifest {}", sha256(&manifest));
        assert_eq!(warnings(&tar), [("docker-archive-fallback", at)]);
        let bundle = tar.open();
        let expected = ("docker.io/library/x:1".to_owned(), 0, items.clone());
        assert_eq!(roots(&*bundle), [expected]);
        let layer = format!("blobs/sha256/{}", hex("b"));
        assert_eq!(member(&*bundle, &layer).unwrap(), b"b");
    }
    let tar = saved("null", &items, &[&config, "a", "b"]);
    let at = "file index.json".to_owned();
    assert_eq!(warnings(&tar), [("docker-archive-fallback", at)]);
    assert_eq!(roots(&*tar.open())[0].2, items);
}

#[test]
fn a13c_the_other_list_has_to_fit_the_config() {
    let config = config(&["a", "b"]);
    let manifest = manifest(&config, &["a", "b"]);
    let list = format!("[{}]", named(&manifest, "docker.io/library/x:1"));
    let items = item(r#"["x:1"]"#, &config, &["a"]);
    let tar = saved(&list, &items, &[&config, &manifest, "a", "b"]);
    assert_eq!(warnings(&tar), []);
    assert_eq!(roots(&*tar.open())[0].2, manifest);
}

#[test]
fn a1b_a_digest_that_is_a_path_is_refused_by_who_reads_it() {
    for digest in ["sha256:../../../escape/x", "nocolon"] {
        let list = format!(r#"[{{"mediaType":"{MANIFEST}","digest":"{digest}","size":1}}]"#);
        saved(&list, "", &[]).refused(Code::BadDigest, &["index.json", digest]);
    }
}

#[test]
fn a14_a_blob_of_the_layout_is_verified() {
    let config = config(&["a"]);
    let manifest = manifest(&config, &["a"]);
    let list = format!("[{}]", named(&manifest, "docker.io/library/x:1"));
    let wrong = manifest.replace("tar", "rat");
    let tar = saved(&list, &item(r#"["x:1"]"#, &config, &["a"]), &[&config, "a"]);
    let name = format!("blobs/sha256/{}", hex(&manifest));
    let bundle = tar.file(&name, &wrong).open();
    let entries = bundle.roots().unwrap();
    let error = bundle.root(&entries[0]).unwrap_err();
    names(&error, Code::Mismatch, &[&hex(&manifest), &hex(&wrong)]);
}

#[test]
fn a_layout_without_its_marker_is_not_looked_at() {
    let config = config(&["a"]);
    let tar = Tar::default().file("index.json", "no index").file(
        "manifest.json",
        format!("[{}]", item("null", &config, &["a"])),
    );
    let bundle = tar.save().open_with(&env()).unwrap();
    let entries = bundle.roots().unwrap();
    assert!(matches!(
        bundle.root(&entries[0]).unwrap(),
        Root::Document(_)
    ));
}

#[test]
fn a13a_two_platforms_of_one_name_fit_the_one_that_both_list() {
    let (one, two) = (config(&["a"]), config(&["b"]));
    let manifests = [manifest(&one, &["a"]), manifest(&two, &["b"])];
    let of = |body: &str, architecture: &str| {
        let platform = format!(r#""platform":{{"os":"linux","architecture":"{architecture}"}},"#);
        named(body, "docker.io/library/x:1")
            .replace("\"annotations\"", &format!("{platform}\"annotations\""))
    };
    let list = format!(
        "[{},{}]",
        of(&manifests[0], "amd64"),
        of(&manifests[1], "arm64")
    );
    let items = item(r#"["x:1"]"#, &two, &["b"]);
    let blobs = [&*one, &two, &manifests[0], &manifests[1], "a", "b"];
    let tar = saved(&list, &items, &blobs);
    assert_eq!(warnings(&tar), []);
    let found = roots(&*tar.open());
    let texts: Vec<_> = found.iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, [&manifests[0], &manifests[1]]);
}
