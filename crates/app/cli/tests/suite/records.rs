//! Records of reversal: wherever a place keeps them, they are found with their image, or their loss is reported.

use std::{fs, path::Path};

use imgconv_testkit::{
    engines::{ContainerdName, containerd_database},
    registry::{Registry, Stored, digest_of},
};
use serde_json::{Value, json};

use crate::{
    reversal::{TREE, TYPE, app, artifact, document, image_id, record},
    sandbox::{LABELS, Sandbox},
};

pub(crate) fn index(sandbox: &Sandbox, layout: &str) -> Value {
    let bytes = fs::read(sandbox.path(layout).join("index.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

pub(crate) fn set_index(sandbox: &Sandbox, layout: &str, index: &Value) {
    fs::write(sandbox.path(layout).join("index.json"), index.to_string()).unwrap();
}

/// The file of a blob in a layout.
pub(crate) fn blob(sandbox: &Sandbox, layout: &str, digest: &Value) -> std::path::PathBuf {
    let digest = digest.as_str().unwrap().replace(':', "/");
    sandbox.path(layout).join("blobs").join(digest)
}

/// Writes the data of a registry as the registry itself stores them.
pub(crate) fn store(stored: &Stored, folder: &Path) {
    let base = folder.join("docker/registry/v2");
    let put = |path: String, bytes: &[u8]| {
        let path = base.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let data = |digest: &str, bytes: &[u8]| {
        let hex = &digest["sha256:".len()..];
        put(format!("blobs/sha256/{}/{hex}/data", &hex[..2]), bytes);
    };
    for ((repository, digest), bytes) in &stored.blobs {
        data(digest, bytes);
        let link = format!(
            "repositories/{repository}/_layers/{}/link",
            digest.replace(':', "/")
        );
        put(link, digest.as_bytes());
    }
    for ((repository, name), (_, bytes)) in &stored.manifests {
        let digest = digest_of(bytes);
        data(&digest, bytes);
        let manifests = format!("repositories/{repository}/_manifests");
        let revision = digest.replace(':', "/");
        put(
            format!("{manifests}/revisions/{revision}/link"),
            digest.as_bytes(),
        );
        if !name.contains(':') {
            put(
                format!("{manifests}/tags/{name}/current/link"),
                digest.as_bytes(),
            );
        }
    }
}

/// Restores an ACI from a place, and compares it.
fn comes_back(sandbox: &Sandbox, place: &str, file: &str) {
    let args = ["convert", place, "aci:back.aci", "--exact", "--overwrite"];
    sandbox.ok(&args);
    let found = image_id(&sandbox.path("back.aci"));
    assert_eq!(found, image_id(&sandbox.path(file)), "{place}");
}

/// Two ACIs of one name as an index with a record for each; the digests of the images, in the order of the files.
pub(crate) fn both(sandbox: &Sandbox) -> Vec<String> {
    for (i, arch) in ["amd64", "aarch64"].iter().enumerate() {
        let labels = LABELS.replace("amd64", arch);
        let tree = format!("file number \"{i}\"");
        sandbox.aci(&format!("{i}.aci"), "example.com/app", &labels, &tree);
    }
    let made = document(
        sandbox,
        &["aci-to-oci", "--reversible", "0.aci", "1.aci", "all"],
    );
    let images = made["images"].as_array().unwrap().iter();
    images
        .map(|image| image["digest"].as_str().unwrap().to_owned())
        .collect()
}

// H9e
#[test]
fn a_record_is_found_for_an_image_that_only_an_index_lists() {
    let sandbox = Sandbox::new();
    let images = both(&sandbox);
    for (i, digest) in images.iter().enumerate() {
        comes_back(&sandbox, &format!("oci:all:@{digest}"), &format!("{i}.aci"));
    }
    // The record may stand in the index of the image itself.
    let mut listed = index(&sandbox, "all");
    let entries = listed["manifests"].as_array().unwrap().clone();
    let (records, top): (Vec<Value>, Vec<Value>) = entries
        .into_iter()
        .partition(|entry| entry["artifactType"] == TYPE);
    let old = blob(&sandbox, "all", &top[0]["digest"]);
    let mut inner: Value = serde_json::from_slice(&fs::read(old).unwrap()).unwrap();
    inner["manifests"].as_array_mut().unwrap().extend(records);
    let text = inner.to_string();
    let new = digest_of(text.as_bytes());
    fs::write(blob(&sandbox, "all", &json!(new)), &text).unwrap();
    let mut entry = top[0].clone();
    entry["digest"] = json!(new);
    entry["size"] = json!(text.len());
    listed["manifests"] = json!([entry]);
    set_index(&sandbox, "all", &listed);
    for (i, digest) in images.iter().enumerate() {
        comes_back(&sandbox, &format!("oci:all:@{digest}"), &format!("{i}.aci"));
    }
}

// H9e
#[test]
fn a_record_is_found_in_a_folder_and_under_a_name_of_its_own() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    fs::create_dir(sandbox.path("store")).unwrap();
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "store/a"]);
    sandbox.aci("b.aci", "example.com/b", LABELS, TREE);
    sandbox.ok(&["aci-to-oci", "--reversible", "b.aci", "store/b"]);
    sandbox.ok(&["convert", "store/b", "oci-archive:store/c.tar"]);
    fs::remove_dir_all(sandbox.path("store/b")).unwrap();
    comes_back(&sandbox, "tree:store:example.com/app:1.0", "app.aci");
    comes_back(&sandbox, "tree:store:example.com/b:1.0", "b.aci");
    let (_, digest) = artifact(&sandbox, "store/a");
    let mut listed = index(&sandbox, "store/a");
    for entry in listed["manifests"].as_array_mut().unwrap() {
        if entry["digest"] == json!(digest) {
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "record" });
        }
    }
    set_index(&sandbox, "store/a", &listed);
    comes_back(&sandbox, "oci:store/a:1.0", "app.aci");
    comes_back(&sandbox, "tree:store:example.com/app:1.0", "app.aci");
}

// H9e
#[test]
fn a_record_is_found_in_the_store_of_containerd() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let root = sandbox.path("containerd");
    let content = root.join("io.containerd.content.v1.content/blobs/sha256");
    fs::create_dir_all(&content).unwrap();
    for file in fs::read_dir(sandbox.path("out/blobs/sha256")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), content.join(file.file_name())).unwrap();
    }
    let listed = index(&sandbox, "out");
    let entries = listed["manifests"].as_array().unwrap().iter();
    let names: Vec<ContainerdName> = entries
        .map(|entry| {
            let is_record = entry["artifactType"] == TYPE;
            let tag = if is_record { "record" } else { "1.0" };
            ContainerdName {
                namespace: "default".to_owned(),
                name: format!("example.com/app:{tag}"),
                kind: entry["mediaType"].as_str().unwrap().to_owned(),
                digest: entry["digest"].as_str().unwrap().to_owned(),
                size: entry["size"].as_u64().unwrap(),
            }
        })
        .collect();
    containerd_database(&names, &root).unwrap();
    comes_back(
        &sandbox,
        "containerd:containerd:example.com/app:1.0",
        "app.aci",
    );
}

// H9e
#[test]
fn a_record_is_found_in_the_storage_of_a_registry() {
    for api in [true, false] {
        let sandbox = Sandbox::new();
        app(&sandbox);
        let registry = Registry::start();
        registry.stored().referrers = api;
        let place = registry.locator("team/app:1.0");
        let made = document(&sandbox, &["convert", "app.aci", &place, "--reversible"]);
        store(&registry.stored(), &sandbox.path("storage"));
        let image = made["images"][0]["digest"].as_str().unwrap();
        for reference in [
            "team/app:1.0".to_owned(),
            format!("@{image}"),
            format!("team/app@{image}"),
        ] {
            comes_back(
                &sandbox,
                &format!("registry-storage:storage:{reference}"),
                "app.aci",
            );
        }
        // The whole storage, with the list of the referrers under its tag.
        let whole = [
            "convert",
            "registry-storage:storage",
            "aci:whole.aci",
            "--exact",
            "--strict",
        ];
        sandbox.ok(&whole);
        let only = [
            "migrate",
            "registry-storage:storage",
            "aci:moved/",
            "--only",
            "*team/app:1.0",
            "--exact",
            "--strict",
        ];
        sandbox.ok(&only);
        let copy = Registry::start();
        copy.stored().referrers = api;
        let to = copy.locator("team/copy:1.0");
        let from = "registry-storage:storage:team/app:1.0";
        sandbox.ok(&["convert", from, &to, "--strict"]);
        comes_back(&sandbox, &to, "app.aci");
        let to = copy.locator("all");
        sandbox.ok(&["migrate", "registry-storage:storage", &to, "--strict"]);
        sandbox.ok(&["verify", "registry-storage:storage"]);
        sandbox.ok(&["verify", "registry-storage:storage:team/app:1.0"]);
    }
}

// H9f
#[test]
fn the_loss_of_a_record_that_is_not_there_is_reported() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let (_, digest) = artifact(&sandbox, "out");
    let path = blob(&sandbox, "out", &json!(digest));
    let good = fs::read(&path).unwrap();
    for bytes in [None, Some(&good[..100])] {
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let told = document(
            &sandbox,
            &["convert", "oci:out:1.0", "aci:x.aci", "--overwrite"],
        );
        let losses = told["images"][0]["losses"].as_array().unwrap().clone();
        let field = format!("artifact {TYPE} {digest}");
        assert!(
            losses.iter().any(|loss| loss["field"] == json!(field)),
            "{told}"
        );
        let exact = ["convert", "oci:out:1.0", "aci:y.aci", "--exact"];
        sandbox.fails(&exact, 4, &["record"]);
        let output = sandbox.run(&["verify", "oci:out:1.0"]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        if bytes.is_none() {
            fs::write(&path, &good).unwrap();
        }
    }
}

/// Asserts that a record that can't be read is a reported loss, and that `--exact` refuses.
fn is_told(sandbox: &Sandbox, place: &str, field: &str) {
    let args = ["convert", place, "aci:x.aci", "--overwrite"];
    let told = document(sandbox, &args);
    let fields = losses(&told);
    let count = fields.iter().filter(|it| *it == field).count();
    assert_eq!(count, 1, "{place}: {told}");
    assert!(told["images"][0].get("exact").is_none(), "{told}");
    sandbox.fails(&[&args[..], &["--strict"]].concat(), 3, &[field]);
    sandbox.fails(&["convert", place, "aci:y.aci", "--exact"], 4, &["record"]);
    assert!(!sandbox.path("y.aci").exists());
}

// H9t
#[test]
fn a_list_of_records_that_cant_be_read_is_told() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    let registry = Registry::start();
    registry.stored().referrers = false;
    let place = registry.locator("team/app:1.0");
    let made = document(&sandbox, &["convert", "app.aci", &place, "--reversible"]);
    let image = made["images"][0]["digest"].as_str().unwrap().to_owned();
    let tag = image.replace(':', "-");
    let field = format!("list of referrers {tag}");
    let (list, record) = {
        let stored = registry.stored();
        let (_, bytes) = &stored.manifests[&("team/app".to_owned(), tag.clone())];
        let listed: Value = serde_json::from_slice(bytes).unwrap();
        let record = listed["manifests"][0]["digest"].as_str().unwrap();
        (digest_of(bytes), record.replace(':', "/"))
    };
    let hex = &list["sha256:".len()..];
    for change in ["missing", "damaged", "link"] {
        let storage = sandbox.path("storage");
        store(&registry.stored(), &storage);
        let base = storage.join("docker/registry/v2");
        let data = base.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]));
        // The record is found by the list alone.
        let revisions = base.join("repositories/team/app/_manifests/revisions");
        for revision in [&record, &list.replace(':', "/")] {
            fs::remove_dir_all(revisions.join(revision)).unwrap();
        }
        match change {
            "missing" => fs::remove_file(data).unwrap(),
            "damaged" => fs::write(data, "{}").unwrap(),
            _ => {
                let link = format!("repositories/team/app/_manifests/tags/{tag}/current/link");
                fs::write(base.join(link), "junk").unwrap();
            }
        }
        for reference in ["", ":team/app:1.0"] {
            is_told(
                &sandbox,
                &format!("registry-storage:storage{reference}"),
                &field,
            );
        }
        let output = sandbox.run(&["verify", "registry-storage:storage"]);
        assert_eq!(output.status.code(), Some(4), "{change}: {output:?}");
        // The files of the image do not need the record.
        sandbox.ok(&[
            "unpack",
            "registry-storage:storage",
            &format!("files-{change}"),
        ]);
        fs::remove_dir_all(storage).unwrap();
    }
}

// H9t
#[test]
fn a_missing_manifest_of_a_record_is_told() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let (_, digest) = artifact(&sandbox, "out");
    let field = format!("artifact {TYPE} {digest}");
    let registry = Registry::start();
    registry.stored().referrers = false;
    let place = registry.locator("team/app:1.0");
    sandbox.ok(&["convert", "out", &place]);
    let removed = registry
        .stored()
        .manifests
        .remove(&("team/app".to_owned(), digest.clone()));
    assert!(removed.is_some());
    is_told(&sandbox, &place, &field);
    fs::remove_file(blob(&sandbox, "out", &json!(digest))).unwrap();
    is_told(&sandbox, "out", &field);
    sandbox.ok(&["unpack", "out", "files"]);
    // An archive is written without the blob.
    let packed = std::process::Command::new("tar")
        .arg("-C")
        .arg(sandbox.path("out"))
        .arg("-cf")
        .arg(sandbox.path("out.tar"))
        .args(["oci-layout", "index.json", "blobs"])
        .status();
    assert!(packed.unwrap().success());
    is_told(&sandbox, "oci-archive:out.tar", &field);
    // Other documents that are missing are no records, and refused.
    let listed = index(&sandbox, "out");
    let mut other = listed.clone();
    for entry in other["manifests"].as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("artifactType");
    }
    set_index(&sandbox, "out", &other);
    sandbox.fails(&["convert", "out", "aci:z.aci"], 1, &["error[missing]"]);
}

// H9u
#[test]
fn a_repository_and_a_digest_name_an_image_that_only_an_index_lists() {
    let sandbox = Sandbox::new();
    let images = both(&sandbox);
    let registry = Registry::start();
    registry.stored().referrers = false;
    sandbox.ok(&["convert", "all", &registry.locator("team/app:1.0")]);
    sandbox.ok(&["convert", "all", &registry.locator("team/other:2")]);
    store(&registry.stored(), &sandbox.path("storage"));
    for (i, digest) in images.iter().enumerate() {
        for name in ["team/app", "docker.io/team/app", "team/app:1.0"] {
            let place = format!("registry-storage:storage:{name}@{digest}");
            comes_back(&sandbox, &place, &format!("{i}.aci"));
        }
        for name in ["team/ap", "team/app:2", "app"] {
            let place = format!("registry-storage:storage:{name}@{digest}");
            let args = ["convert", &*place, "aci:x.aci"];
            sandbox.fails(&args, 1, &["error[missing]"]);
        }
    }
}

/// The members of the first image of a result.
pub(crate) fn losses(told: &Value) -> Vec<String> {
    let losses = told["images"][0]["losses"].as_array().unwrap().iter();
    losses
        .map(|loss| loss["field"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn warnings(told: &Value) -> Vec<String> {
    let warnings = told["images"][0]["warnings"].as_array().unwrap().iter();
    warnings
        .map(|warning| warning["code"].as_str().unwrap().to_owned())
        .collect()
}

// H9g
#[test]
fn a_directory_of_plain_files_gets_the_image_and_loses_the_record() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let (_, digest) = artifact(&sandbox, "out");
    let told = document(&sandbox, &["convert", "out", "dir:plain"]);
    assert_eq!(
        losses(&told),
        [format!("artifact {TYPE} {digest}"), "name".to_owned()]
    );
    sandbox.ok(&["verify", "dir:plain"]);
    sandbox.fails(&["convert", "out", "dir:strict", "--strict"], 3, &[TYPE]);
    for (place, name) in [
        ("dir:x", "`dir:`"),
        ("docker-archive:x.tar", "docker-archive"),
        ("rootfs:x", "rootfs"),
    ] {
        let args = ["convert", "app.aci", place, "--reversible"];
        sandbox.fails(&args, 1, &["--reversible", "artifacts", name]);
    }
}

// H9h
#[test]
fn two_acis_of_one_image_keep_a_record_each() {
    let sandbox = Sandbox::new();
    let manifest = format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"{LABELS}}}"#
    );
    let tree = sandbox.path("tree");
    fs::create_dir_all(tree.join("rootfs")).unwrap();
    fs::write(tree.join("manifest"), manifest).unwrap();
    fs::write(tree.join("rootfs/a"), "a").unwrap();
    for (file, format) in [("one.aci", "gnu"), ("two.aci", "ustar")] {
        let made = std::process::Command::new("tar")
            .current_dir(&tree)
            .args(["--mtime=@5", "--owner=0", "--group=0", "--format", format])
            .args([
                "-cf",
                sandbox.path(file).to_str().unwrap(),
                "manifest",
                "rootfs",
            ])
            .status();
        assert!(made.unwrap().success());
    }
    let ids = ["one.aci", "two.aci"].map(|file| image_id(&sandbox.path(file)));
    assert_ne!(ids[0], ids[1]);
    let made = document(
        &sandbox,
        &["aci-to-oci", "--reversible", "one.aci", "two.aci", "out"],
    );
    let images = made["images"].as_array().unwrap();
    assert_eq!(images[0]["digest"], images[1]["digest"]);
    let shown = document(&sandbox, &["inspect", "oci:out:1.0"]);
    let image = &shown["images"][0];
    assert_eq!(image["reversal"]["file"], "two.aci", "{shown}");
    assert_eq!(image["other_reversals"][0]["file"], "one.aci", "{shown}");
    sandbox.ok(&["verify", "out"]);

    let told = document(&sandbox, &["convert", "out", "aci:last.aci", "--exact"]);
    assert_eq!(warnings(&told), ["several-records"], "{told}");
    assert_eq!(image_id(&sandbox.path("last.aci")), ids[1]);
    sandbox.fails(
        &["convert", "out", "aci:x.aci", "--strict"],
        3,
        &["several-records", "one.aci"],
    );
    let start = format!("sha512-{}", &ids[0][..20]);
    for record in ["one.aci", &start] {
        let args = [
            "convert",
            "out",
            "aci:first.aci",
            "--exact",
            "--strict",
            "--overwrite",
            "--record",
            record,
        ];
        sandbox.ok(&args);
        assert_eq!(image_id(&sandbox.path("first.aci")), ids[0]);
    }
    let other = ["convert", "out", "aci:x.aci", "--record", "three.aci"];
    sandbox.fails(&other, 1, &["three.aci", "one.aci", "two.aci"]);
    let other = ["convert", "out", "oci:x", "--record", "one.aci"];
    sandbox.fails(&other, 2, &["--record"]);
}

// H9i
#[test]
fn a_migration_sees_changed_signatures_and_missing_ones() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("store")).unwrap();
    sandbox.aci("store/app.aci", "example.com/app", LABELS, TREE);
    let there = ["migrate", "tree:store", "oci:all", "--reversible"];
    sandbox.ok(&there);
    assert!(sandbox.ok(&there).contains(" kept"));
    for (i, text) in ["first", "second"].iter().enumerate() {
        fs::write(sandbox.path("store/app.aci.asc"), text).unwrap();
        let said = sandbox.ok(&there);
        assert!(!said.contains("1 kept"), "{said}");
        assert!(sandbox.ok(&there).contains(" kept"));
        let back = format!("aci:back{i}/");
        let back = ["migrate", "oci:all", &back, "--exact"];
        sandbox.ok(&back);
        let file = format!("back{i}/example.com-app-1.0-linux-amd64.aci.asc");
        assert_eq!(&fs::read_to_string(sandbox.path(&file)).unwrap(), text);
        assert!(sandbox.ok(&back).contains(" kept"));
        for change in [None, Some("other")] {
            match change {
                None => fs::remove_file(sandbox.path(&file)).unwrap(),
                Some(text) => fs::write(sandbox.path(&file), text).unwrap(),
            }
            sandbox.ok(&back);
            assert_eq!(&fs::read_to_string(sandbox.path(&file)).unwrap(), text);
        }
    }
    sandbox.ok(&["verify", "all"]);
}

// H9j
#[test]
fn a_signature_of_a_replaced_file_goes_with_the_file() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "app.aci", "plain"]);
    fs::write(sandbox.path("x.aci.asc"), "stale").unwrap();
    sandbox.fails(
        &["oci-to-aci", "plain", "x.aci"],
        1,
        &["x.aci.asc", "--overwrite"],
    );
    let told = document(&sandbox, &["oci-to-aci", "plain", "x.aci", "--overwrite"]);
    assert!(
        warnings(&told).contains(&"signature-removed".to_owned()),
        "{told}"
    );
    assert!(!sandbox.path("x.aci.asc").exists());
    // The signature of unchanged bytes stays.
    fs::write(sandbox.path("x.aci.asc"), "right").unwrap();
    sandbox.ok(&["oci-to-aci", "plain", "x.aci", "--overwrite"]);
    assert_eq!(
        fs::read_to_string(sandbox.path("x.aci.asc")).unwrap(),
        "right"
    );
    let args = [
        "oci-to-aci",
        "plain",
        "x.aci",
        "--overwrite",
        "--name=example.com/other",
    ];
    sandbox.ok(&args);
    assert!(!sandbox.path("x.aci.asc").exists());
}

// H9k
#[test]
fn a_dry_run_reads_the_record() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let told = sandbox.ok(&["oci-to-aci", "out", "x.aci", "--dry-run"]);
    assert!(told.contains("restore the ACI by its record"), "{told}");
    let path = record(&sandbox, "out");
    fs::write(&path, "junk").unwrap();
    let told = sandbox.run(&["oci-to-aci", "out", "x.aci", "--dry-run"]);
    let stderr = String::from_utf8(told.stderr).unwrap();
    assert!(stderr.contains("warning[bad-record]"), "{stderr}");
    let stdout = String::from_utf8(told.stdout).unwrap();
    assert!(!stdout.contains("restore"), "{stdout}");
    sandbox.fails(
        &["oci-to-aci", "out", "x.aci", "--dry-run", "--exact"],
        4,
        &["record"],
    );
}

// H9l
#[test]
fn a_platform_takes_its_own_records_along() {
    let sandbox = Sandbox::new();
    let images = both(&sandbox);
    for (i, platform) in ["linux/amd64", "linux/arm64"].iter().enumerate() {
        let out = format!("oci:one{i}");
        sandbox.ok(&["convert", "all", &out, "--platform", platform, "--strict"]);
        let (manifest, _) = artifact(&sandbox, &format!("one{i}"));
        assert_eq!(manifest["subject"]["digest"], json!(images[i]));
        let aci = format!("aci:{i}.back.aci");
        let args = [
            "convert",
            "all",
            &aci,
            "--platform",
            platform,
            "--strict",
            "--exact",
        ];
        sandbox.ok(&args);
        let back = sandbox.path(&format!("{i}.back.aci"));
        assert_eq!(
            image_id(&back),
            image_id(&sandbox.path(&format!("{i}.aci")))
        );
    }
}

// H9c
#[test]
fn a_refused_option_and_a_limit_are_named() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    for option in ["--squash", "--last=1", "--keep-base=1", "--max-layers=1"] {
        let name = option.split('=').next().unwrap();
        let text = format!("`{name}` changes them");
        let args = ["aci-to-oci", "--reversible", "app.aci", "x", option];
        sandbox.fails(&args, 2, &["--reversible", &text]);
    }
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let args = [
        "oci-to-aci",
        "out",
        "x.aci",
        "--exact",
        "--limit",
        "image_bytes=20000",
    ];
    sandbox.fails(&args, 1, &["error[limit]", "image_bytes"]);
}

#[test]
fn every_change_of_an_image_reports_the_loss_of_its_record() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let registry = Registry::start();
    let place = registry.locator("team/app:1.0");
    sandbox.ok(&["convert", "out", &place]);
    let (_, digest) = artifact(&sandbox, "out");
    let field = format!("artifact {TYPE} {digest}");
    for (i, source) in ["out", "oci:out:1.0", &place].iter().enumerate() {
        for (j, args) in [
            &["squash"][..],
            &["recompress", "--compression=zstd"],
            &["convert", "--clamp-mtime=4"],
        ]
        .iter()
        .enumerate()
        {
            let to = format!("oci:changed-{i}-{j}");
            let told = document(&sandbox, &[*args, &[*source, &to]].concat());
            let same = told["images"][0]["digest"] == told["images"][0]["source_digest"];
            assert_eq!(losses(&told).contains(&field), !same, "{args:?}: {told}");
        }
        let to = registry.locator(&format!("team/changed:{i}"));
        let told = document(&sandbox, &["convert", source, &format!("docker-v2s2+{to}")]);
        assert!(losses(&told).contains(&field), "{told}");
    }
}

/// H9j: an ACI that another program compressed, so that its signature does not fit the restored file.
#[test]
fn a_site_with_a_key_keeps_no_signature_of_other_bytes() {
    let key = |name: &str| {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/openpgp/tests/data");
        data.join(name).display().to_string()
    };
    let sandbox = Sandbox::new();
    sandbox.aci("app.aci", "example.com/app", LABELS, TREE);
    sandbox.ok(&["convert", "app.aci", "aci:plain.aci", "--compression=none"]);
    let packed = std::process::Command::new("gzip")
        .args(["-1", "-c"])
        .arg(sandbox.path("plain.aci"))
        .output()
        .unwrap();
    fs::write(sandbox.path("packed.aci"), packed.stdout).unwrap();
    fs::write(sandbox.path("packed.aci.asc"), "of the old file").unwrap();
    sandbox.ok(&["aci-to-oci", "--reversible", "packed.aci", "out"]);
    let asc = sandbox.path("site/aci/example.com/app/1.0-linux-amd64.aci.asc");
    let site = [
        "publish",
        "out",
        "site",
        "--host",
        "example.com",
        "--exact",
        "--json",
    ];
    let told: Value = serde_json::from_str(&sandbox.ok(&site)).unwrap();
    assert!(
        warnings(&told).contains(&"signature-of-other-file".to_owned()),
        "{told}"
    );
    assert_eq!(fs::read_to_string(&asc).unwrap(), "of the old file");
    let (secret, public) = (key("bob.secret.asc"), key("bob.pub.asc"));
    let signed = [&site[..], &["--pgp-key", &secret, "--pubkeys", &public]].concat();
    for folder in ["site", "other"] {
        let args: Vec<&str> = signed
            .iter()
            .map(|arg| if *arg == "site" { folder } else { arg })
            .collect();
        let told: Value = serde_json::from_str(&sandbox.ok(&args)).unwrap();
        assert_eq!(losses(&told), ["signature"], "{told}");
        let asc = asc
            .display()
            .to_string()
            .replace("/site/", &format!("/{folder}/"));
        let text = fs::read_to_string(asc).unwrap();
        assert!(text.contains("BEGIN PGP SIGNATURE"), "{folder}: {text}");
    }
}
