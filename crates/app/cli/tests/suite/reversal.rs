//! The exact way back: an ACI that became OCI becomes the same ACI again, signature and all.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use imgconv_stream::Decoder;
use imgconv_testkit::{
    ImageRecipe, build, random,
    registry::{Registry, digest_of},
    sha512_hex,
};
use serde_json::{Value, json};

use crate::sandbox::{LABELS, Sandbox};

pub(crate) const TYPE: &str = "application/vnd.imgconv.reversal.v1";
const RECORD: &str = "application/vnd.imgconv.reversal.record.v1";
pub(crate) const TREE: &str = "dir ./ 0700 7:7 @5\ndir etc 0755 0:0 @0\nfile etc/a 0644 1:2 @1000.5 \"hi\\n\"\n\
                    link etc/b -> etc/a\nfile big noise=100000";

/// The SHA-512 of the tar in a file.
pub(crate) fn image_id(path: &Path) -> String {
    use std::io::Read as _;
    let file = Box::new(fs::File::open(path).unwrap());
    let (limits, notes) = Default::default();
    let mut tar = Vec::new();
    let mut decoder = Decoder::new(file, &limits, &notes, "file").unwrap();
    decoder.read_to_end(&mut tar).unwrap();
    sha512_hex(&tar)
}

pub(crate) fn app(sandbox: &Sandbox) {
    sandbox.aci("app.aci", "example.com/app", LABELS, TREE);
    fs::write(sandbox.path("app.aci.asc"), "a signature\n").unwrap();
}

pub(crate) fn document(sandbox: &Sandbox, args: &[&str]) -> Value {
    serde_json::from_str(&sandbox.ok(&[args, &["--json"]].concat())).unwrap()
}

/// The manifest of the one artifact of reversal in a layout, and its digest.
pub(crate) fn artifact(sandbox: &Sandbox, layout: &str) -> (Value, String) {
    let index = fs::read(sandbox.path(layout).join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let mut found = Vec::new();
    for entry in index["manifests"].as_array().unwrap() {
        let digest = entry["digest"].as_str().unwrap().to_owned();
        let blob = format!("blobs/{}", digest.replace(':', "/"));
        let manifest = fs::read(sandbox.path(layout).join(blob)).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        if manifest["artifactType"] == TYPE {
            found.push((manifest, digest));
        }
    }
    assert_eq!(found.len(), 1, "{index}");
    found.remove(0)
}

/// The path of the record in a layout.
pub(crate) fn record(sandbox: &Sandbox, layout: &str) -> std::path::PathBuf {
    let (manifest, _) = artifact(sandbox, layout);
    let layers = manifest["layers"].as_array().unwrap();
    let record = layers.iter().find(|blob| blob["mediaType"] == RECORD);
    let digest = record.unwrap()["digest"].as_str().unwrap();
    sandbox
        .path(layout)
        .join("blobs")
        .join(digest.replace(':', "/"))
}

#[test]
fn an_aci_comes_back_with_its_signature_and_the_note_exact() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    let id = image_id(&sandbox.path("app.aci"));
    let made = document(&sandbox, &["aci-to-oci", "--reversible", "app.aci", "out"]);
    let (manifest, digest) = artifact(&sandbox, "out");
    let image = &made["images"][0];
    assert_eq!(made["images"].as_array().unwrap().len(), 1);
    assert_eq!(image["reversal"]["digest"], json!(digest));
    assert_eq!(image["reversal"]["size"], manifest["layers"][0]["size"]);
    assert_eq!(manifest["subject"]["digest"], image["digest"]);
    let annotations = &manifest["annotations"];
    assert_eq!(annotations["imgconv.reversal.file"], "app.aci");
    assert_eq!(
        annotations["imgconv.reversal.image-id"],
        json!(format!("sha512-{id}"))
    );
    assert_eq!(
        manifest["layers"][1]["mediaType"],
        "application/pgp-signature"
    );
    // The record is about a kilobyte, the layer a hundred.
    assert!(manifest["layers"][0]["size"].as_u64().unwrap() < 1500);

    let line = sandbox.ok(&["oci-to-aci", "out", "back"]);
    assert!(line.trim_end().ends_with("  exact"), "{line}");
    let back = sandbox.path("back/example.com-app-1.0-linux-amd64.aci");
    assert_eq!(image_id(&back), id);
    let signature = back.with_extension("aci.asc");
    assert_eq!(fs::read_to_string(signature).unwrap(), "a signature\n");
    assert_eq!(sandbox.ok(&["diff", "app.aci", back.to_str().unwrap()]), "");

    // Through an archive, to one file, in another compression of the file.
    sandbox.ok(&["convert", "out", "oci-archive:all.tar"]);
    let told = document(
        &sandbox,
        &[
            "convert",
            "oci-archive:all.tar",
            "aci:one.aci",
            "--compression",
            "none",
            "--exact",
        ],
    );
    assert_eq!(told["images"][0]["exact"], json!(true));
    assert_eq!(told["images"][0]["losses"], json!([]));
    assert_eq!(told["images"][0]["image_id"], json!(format!("sha512-{id}")));
    let one = fs::read(sandbox.path("one.aci")).unwrap();
    assert_eq!(sha512_hex(&one), id);
    assert!(sandbox.path("one.aci.asc").exists());

    // An image that is chosen by its name brings its record along.
    sandbox.ok(&["convert", "oci:out:1.0", "oci:copy"]);
    artifact(&sandbox, "copy");
    sandbox.ok(&["convert", "oci:copy:1.0", "aci:two.aci", "--exact"]);
    assert_eq!(image_id(&sandbox.path("two.aci")), id);
    // No blob is free to be removed.
    let removed = sandbox.ok(&["layout", "gc", "copy", "--min-age", "0s"]);
    assert!(removed.starts_with("0 blobs"), "{removed}");
    sandbox.ok(&["oci-to-aci", "copy", "three.aci", "--exact"]);
}

#[test]
fn a_dry_run_tells_and_a_pipe_gets_no_signature() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out", "--dry-run"]);
    assert!(!sandbox.path("out").exists());
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let told = sandbox.ok(&["oci-to-aci", "out", "back", "--dry-run"]);
    assert!(told.contains("restore the ACI by its record"), "{told}");
    let output = sandbox.run(&["oci-to-aci", "out", "-", "--compression", "none"]);
    assert_eq!(
        sha512_hex(&output.stdout),
        image_id(&sandbox.path("app.aci"))
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("signature dropped"), "{stderr}");
}

/// H9a, H9c.
#[test]
fn a_bad_record_is_a_warning_or_a_refusal() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "app.aci", "plain"]);
    sandbox.fails(
        &["oci-to-aci", "plain", "x.aci", "--exact"],
        1,
        &["there is none"],
    );
    sandbox.ok(&["oci-to-aci", "plain", "plain.aci"]);
    let canonical = image_id(&sandbox.path("plain.aci"));

    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    for (option, code) in [("--clamp-mtime=5", 2), ("--name=other.example.com/x", 2)] {
        sandbox.fails(
            &["oci-to-aci", "out", "x.aci", "--exact", option],
            code,
            &["--exact"],
        );
        sandbox.ok(&["oci-to-aci", "out", "changed.aci", option, "--overwrite"]);
    }
    sandbox.fails(&["convert", "out", "oci:x", "--exact"], 2, &["--exact"]);

    let record = record(&sandbox, "out");
    let good = fs::read(&record).unwrap();
    let mut damaged = good.clone();
    let last = damaged.len() - 20;
    damaged[last] ^= 1;
    for (i, bytes) in [Some(&damaged[..]), Some(&good[..100]), None]
        .iter()
        .enumerate()
    {
        fs::remove_file(&record).unwrap();
        if let Some(bytes) = bytes {
            fs::write(&record, bytes).unwrap();
        }
        let file = format!("canonical{i}.aci");
        let output = sandbox.run(&["oci-to-aci", "out", &file]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("warning[bad-record]"), "{stderr}");
        assert!(!String::from_utf8(output.stdout).unwrap().contains("exact"));
        assert_eq!(image_id(&sandbox.path(&file)), canonical);
        assert!(!sandbox.path(&format!("{file}.asc")).exists());
        sandbox.fails(&["oci-to-aci", "out", "x.aci", "--exact"], 4, &["record"]);
        sandbox.fails(
            &["oci-to-aci", "out", "x.aci", "--strict"],
            3,
            &["bad-record"],
        );
        let output = sandbox.run(&["verify", "out"]);
        assert_eq!(output.status.code(), Some(4));
        if bytes.is_none() {
            fs::write(&record, &good).unwrap();
        }
    }
    sandbox.ok(&["verify", "out"]);
    sandbox.ok(&["oci-to-aci", "out", "good.aci", "--exact"]);
}

/// H9b: a record that is whole, and belongs to another image.
#[test]
fn a_foreign_record_is_refused() {
    foreign_record(LABELS);
    // A record of an ACI with a whitelist holds all files, and needs no layer.
    let listed = r#","pathWhitelist":["/etc/a","/x"]"#;
    foreign_record(&format!("{LABELS}{listed}"));
}

/// Puts the record of another ACI with the same manifest beside an image.
fn foreign_record(fields: &str) {
    let sandbox = Sandbox::new();
    sandbox.aci("app.aci", "example.com/app", fields, TREE);
    sandbox.aci("other.aci", "example.com/app", fields, "file x \"other\"");
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    sandbox.ok(&["aci-to-oci", "--reversible", "other.aci", "other"]);
    // The record of the other image under the manifest that names this image.
    let (mut manifest, digest) = artifact(&sandbox, "out");
    let (theirs, _) = artifact(&sandbox, "other");
    let foreign = record(&sandbox, "other");
    let name = foreign.file_name().unwrap().to_owned();
    fs::copy(&foreign, sandbox.path("out/blobs/sha256").join(name)).unwrap();
    manifest["layers"][0] = theirs["layers"][0].clone();
    let key = "imgconv.reversal.image-id";
    for ours in [true, false] {
        if !ours {
            manifest["annotations"][key] = theirs["annotations"][key].clone();
        }
        let bytes = manifest.to_string();
        let new = digest_of(bytes.as_bytes());
        let blob = format!("out/blobs/{}", new.replace(':', "/"));
        fs::write(sandbox.path(&blob), &bytes).unwrap();
        let path = sandbox.path("out/index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for entry in index["manifests"].as_array_mut().unwrap() {
            if entry["artifactType"] == TYPE {
                entry["digest"] = json!(new);
                entry["size"] = json!(bytes.len());
            }
        }
        fs::write(&path, index.to_string()).unwrap();
        assert_ne!(new, digest);
        sandbox.fails(&["oci-to-aci", "out", "x.aci", "--exact"], 4, &["record"]);
        let output = sandbox.run(&["verify", "out"]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        let output = sandbox.run(&["oci-to-aci", "out", "made.aci", "--overwrite"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("warning[bad-record]"), "{stderr}");
    }
}

#[test]
fn a_changed_image_loses_its_record_with_a_report() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    for args in [
        &["recompress", "out", "oci:x", "--compression", "zstd"][..],
        &["convert", "out", "docker-archive:saved.tar"],
    ] {
        let told = document(&sandbox, args);
        let losses = told["images"][0]["losses"].as_array().unwrap();
        let lost = |loss: &&Value| {
            loss["field"]
                .as_str()
                .unwrap()
                .starts_with(&format!("artifact {TYPE}"))
        };
        assert_eq!(losses.iter().filter(lost).count(), 1, "{args:?}: {told}");
    }
}

#[test]
fn verify_and_inspect_know_the_record() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    sandbox.ok(&["verify", "out"]);
    let id = image_id(&sandbox.path("app.aci"));
    let (_, digest) = artifact(&sandbox, "out");
    for place in ["out", "oci:out:1.0"] {
        let told = document(&sandbox, &["inspect", place]);
        let reversal = &told["images"][0]["reversal"];
        assert_eq!(
            reversal["image_id"],
            json!(format!("sha512-{id}")),
            "{told}"
        );
        assert_eq!(reversal["digest"], json!(digest));
        assert_eq!(reversal["file"], "app.aci");
        assert_eq!(reversal["signed"], json!(true));
    }
}

#[test]
fn a_record_goes_through_registries_with_and_without_the_referrers_api() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    let id = image_id(&sandbox.path("app.aci"));
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    for api in [true, false] {
        let registry = Registry::start();
        registry.stored().referrers = api;
        let place = registry.locator("team/app:1.0");
        sandbox.ok(&["convert", "out", &place]);
        let back = format!("back-{api}.aci");
        let line = sandbox.ok(&["convert", &place, &format!("aci:{back}"), "--exact"]);
        assert!(line.trim_end().ends_with("exact"), "{line}");
        assert_eq!(image_id(&sandbox.path(&back)), id, "API: {api}");
        assert!(sandbox.path(&format!("{back}.asc")).exists());
        // The record comes along to a layout, too.
        let copy = format!("copy-{api}");
        sandbox.ok(&["convert", &place, &format!("oci:{copy}")]);
        artifact(&sandbox, &copy);
        sandbox.ok(&["verify", &place]);
        // Straight to the registry.
        let place = registry.locator("team/direct:1.0");
        sandbox.ok(&["convert", "app.aci", &place, "--reversible"]);
        let back = format!("direct-{api}.aci");
        sandbox.ok(&["convert", &place, &format!("aci:{back}"), "--exact"]);
        assert_eq!(image_id(&sandbox.path(&back)), id, "API: {api}");
    }
}

#[test]
fn stores_and_sites_get_the_same_acis_again() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("store")).unwrap();
    let mut ids = Vec::new();
    for (i, arch) in ["amd64", "aarch64"].iter().enumerate() {
        let file = format!("store/{i}.aci");
        let labels = LABELS.replace("amd64", arch);
        let tree = format!("file number \"{i}\"");
        sandbox.aci(&file, "example.com/app", &labels, &tree);
        fs::write(
            sandbox.path(&format!("{file}.asc")),
            format!("signature {i}\n"),
        )
        .unwrap();
        ids.push(image_id(&sandbox.path(&file)));
    }
    // A name with two platforms becomes one index, with a record for each image.
    sandbox.ok(&["migrate", "tree:store", "oci:all", "--reversible"]);
    sandbox.ok(&["verify", "all"]);
    sandbox.ok(&["migrate", "oci:all", "aci:back/", "--exact"]);
    sandbox.ok(&[
        "publish",
        "oci:all",
        "site",
        "--host",
        "example.com",
        "--exact",
    ]);
    sandbox.ok(&[
        "migrate",
        "oci:all",
        "aci:moved/",
        "--site",
        "--host",
        "example.com",
        "--exact",
    ]);
    for (i, arch) in ["amd64", "aarch64"].iter().enumerate() {
        for file in [
            format!("back/example.com-app-1.0-linux-{arch}.aci"),
            format!("site/aci/example.com/app/1.0-linux-{arch}.aci"),
            format!("moved/aci/example.com/app/1.0-linux-{arch}.aci"),
        ] {
            assert_eq!(image_id(&sandbox.path(&file)), ids[i], "{file}");
            let signature = fs::read_to_string(sandbox.path(&format!("{file}.asc")));
            assert_eq!(signature.unwrap(), format!("signature {i}\n"), "{file}");
        }
    }
}

/// H9c.
#[test]
fn options_that_change_files_are_refused_beside_a_record() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    for (option, code, text) in [
        ("--squash", 2, "--squash"),
        ("--clamp-mtime=5", 2, "--clamp-mtime"),
        ("--compression=estargz", 2, "estargz"),
    ] {
        let args = ["aci-to-oci", "--reversible", "app.aci", "x", option];
        sandbox.fails(&args, code, &["--reversible", text]);
    }
    let args = ["aci-to-docker", "--reversible", "app.aci", "x.tar"];
    sandbox.fails(&args, 1, &["--reversible", "artifacts"]);
    sandbox.ok(&[
        "aci-to-oci",
        "--reversible",
        "app.aci",
        "out",
        "--compression=zstd:chunked",
    ]);
    sandbox.ok(&["oci-to-aci", "out", "back.aci", "--exact"]);
    assert_eq!(
        image_id(&sandbox.path("back.aci")),
        image_id(&sandbox.path("app.aci"))
    );
}

/// H9d: a whitelist leaves files out and sorts the others, so the record holds everything; dependencies are layers
/// below.
#[test]
fn an_aci_with_dependencies_and_one_with_a_whitelist_come_back() {
    let sandbox = Sandbox::new();
    sandbox.aci(
        "base.aci",
        "example.com/base",
        LABELS,
        "dir etc\nfile etc/base \"b\"",
    );
    let needs = format!(r#"{LABELS},"dependencies":[{{"imageName":"example.com/base"}}]"#);
    sandbox.aci("top.aci", "example.com/top", &needs, TREE);
    let listed = format!(r#"{LABELS},"pathWhitelist":["/etc/a","/etc/b"]"#);
    sandbox.aci("listed.aci", "example.com/listed", &listed, TREE);
    for file in ["top.aci", "listed.aci"] {
        let out = format!("{file}.oci");
        sandbox.ok(&[
            "aci-to-oci",
            "--reversible",
            file,
            &out,
            "--deps",
            "base.aci",
        ]);
        let back = format!("back-{file}");
        sandbox.ok(&["oci-to-aci", &out, &back, "--exact"]);
        assert_eq!(
            image_id(&sandbox.path(&back)),
            image_id(&sandbox.path(file)),
            "{file}"
        );
        sandbox.ok(&["verify", &out]);
    }
}

/// H9r: docker2aci gives a dependency the label `layer` of the image that needs the dependency.
#[test]
fn the_layers_of_docker2aci_come_back() {
    let sandbox = Sandbox::new();
    let [low, high] = ["a", "b"].map(|digit| digit.repeat(64));
    let layer = |layer: &str| {
        let label = format!(r#"{{"name":"layer","value":"{layer}"}},{{"name":"os""#);
        LABELS.replacen(r#"{"name":"os""#, &label, 1)
    };
    let name = |layer: &str| format!("team/app-{layer}");
    sandbox.aci(
        "acis/low.aci",
        &name(&low),
        &layer(&low),
        "dir etc\nfile etc/a \"a\"",
    );
    let needs = |name: &str| {
        format!(
            r#"{},"dependencies":[{{"imageName":"{name}","labels":[{{"name":"layer","value":"{high}"}}]}}],"pathWhitelist":["/etc/a","/etc/b"]"#,
            layer(&high)
        )
    };
    sandbox.aci(
        "acis/high.aci",
        &name(&high),
        &needs(&name(&low)),
        "dir etc\nfile etc/b \"b\"",
    );
    let alone = ["aci-to-oci", "--reversible", "acis/high.aci", "x"];
    sandbox.fails(&alone, 1, &["there is no image", "--deps LOCATOR"]);
    for file in ["low", "high"] {
        let aci = format!("acis/{file}.aci");
        let args = ["aci-to-oci", "--reversible", &aci, file, "--deps", "acis"];
        let output = sandbox.run(&args);
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            told.contains("warning[dependency-label]"),
            file == "high",
            "{told}"
        );
        comes_back_from_everywhere(&sandbox, &[], file, &aci);
        sandbox.ok(&["verify", file]);
    }
    // Any other label stays a condition.
    sandbox.aci(
        "other.aci",
        &name(&high),
        &needs("team/other"),
        "file etc/b \"b\"",
    );
    sandbox.aci("acis/other.aci", "team/other", &layer(&low), "file x \"x\"");
    let args = ["aci-to-oci", "other.aci", "x", "--deps", "acis"];
    sandbox.fails(&args, 1, &["there is no image"]);
}

/// Restores an ACI from a layout, from an archive of the layout, and from a registry with and without the API for
/// referrers.
fn comes_back_from_everywhere(
    sandbox: &Sandbox,
    registries: &[Registry],
    layout: &str,
    file: &str,
) {
    let archive = format!("oci-archive:{layout}.tar");
    sandbox.ok(&["convert", layout, &archive]);
    let mut places = vec![format!("oci:{layout}"), archive];
    for registry in registries {
        // A repository may hold several records of an image.
        let name = file.trim_end_matches(".aci").to_lowercase();
        let place = registry.locator(&format!("team/{name}:1"));
        sandbox.ok(&["convert", layout, &place]);
        places.push(place);
    }
    let id = image_id(&sandbox.path(file));
    for place in places {
        let args = [
            "convert",
            &place,
            "aci:everywhere.aci",
            "--exact",
            "--overwrite",
        ];
        sandbox.ok(&args);
        let back = image_id(&sandbox.path("everywhere.aci"));
        assert_eq!(back, id, "{file} from {place}");
    }
}

fn registries() -> [Registry; 2] {
    [true, false].map(|api| {
        let registry = Registry::start();
        registry.stored().referrers = api;
        registry
    })
}

/// H9d: all bytes behind the last member come back.
#[test]
fn acis_with_odd_ends_come_back() {
    let sandbox = Sandbox::new();
    sandbox.aci("app.aci", "example.com/app", LABELS, TREE);
    sandbox.ok(&["convert", "app.aci", "aci:plain.aci", "--compression=none"]);
    let whole = fs::read(sandbox.path("plain.aci")).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() / 512 * 512 + 512;
    let mut count = 0;
    for (i, more) in [0, 512, 1024, 1536, 10_240, 10_240 + 512]
        .iter()
        .enumerate()
    {
        for text in ["", "behind the end"] {
            let mut bytes = whole[..end].to_vec();
            bytes.resize(end + more, 0);
            bytes.extend_from_slice(text.as_bytes());
            let file = format!("{i}{}.aci", text.len());
            fs::write(sandbox.path(&file), bytes).unwrap();
            let out = format!("{file}.oci");
            let made = sandbox.run(&["aci-to-oci", "--reversible", &file, &out]);
            if !made.status.success() {
                sandbox.fails(&["aci-to-oci", &file, "x"], 1, &[]);
                continue;
            }
            comes_back_from_everywhere(&sandbox, &registries(), &out, &file);
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn every_aci_of_the_test_data_comes_back() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata");
    let sandbox = Sandbox::new();
    fs::copy(data.join("hello.aci"), sandbox.path("hello.aci")).unwrap();
    let mut files = vec!["hello.aci".to_owned()];
    for folder in fs::read_dir(data.join("images")).unwrap() {
        let folder = folder.unwrap().path();
        let image = ImageRecipe::load(&folder).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        if let Ok(bytes) = build::aci_bytes(&image) {
            let file = format!("{name}.aci");
            fs::write(sandbox.path(&file), bytes).unwrap();
            files.push(file);
        }
    }
    let (mut count, registries) = (0, registries());
    for file in files {
        let out = format!("{file}.oci");
        let made = sandbox.run(&[
            "aci-to-oci",
            "--reversible",
            &file,
            &out,
            "--deps",
            "base.aci",
        ]);
        if !made.status.success() {
            // The same ACI is refused without a record.
            sandbox.fails(&["aci-to-oci", &file, "x", "--deps", "base.aci"], 1, &[]);
            continue;
        }
        comes_back_from_everywhere(&sandbox, &registries, &out, &file);
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

/// H9d.
#[test]
fn acis_of_gnu_tar_come_back() {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    fs::create_dir_all(tree.join("rootfs/etc")).unwrap();
    let manifest = format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"{LABELS}}}"#
    );
    fs::write(tree.join("manifest"), manifest).unwrap();
    fs::write(tree.join("rootfs/etc/a"), "a").unwrap();
    fs::hard_link(tree.join("rootfs/etc/a"), tree.join("rootfs/etc/b")).unwrap();
    let odd = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"rootfs/etc/\xff\xfe");
    fs::write(tree.join(odd), "odd").unwrap();
    let sparse = fs::File::create(tree.join("rootfs/sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 1 << 20).unwrap();
    sparse.set_len(2 << 20).unwrap();
    let (mut count, registries) = (0, registries());
    for (i, (options, members)) in [
        (&["--format=gnu"][..], &["manifest", "rootfs"][..]),
        (&["--format=gnu", "--sparse"], &["rootfs", "manifest"]),
        (
            &["--format=posix", "--sparse", "--mtime=@-5.25"],
            &["rootfs/etc", "manifest", "rootfs/sparse"],
        ),
        (
            &[
                "--format=posix",
                "--pax-option=globexthdr.name=g,comment=all",
            ],
            &["manifest", "rootfs"],
        ),
        (
            &["--format=pax", "--mtime=@1700000000.123456789"],
            &[
                "manifest",
                "rootfs",
                "rootfs/etc",
                "--no-recursion",
                "rootfs",
            ],
        ),
        (
            &["--format=ustar", "--blocking-factor=1"],
            &["manifest", "rootfs"],
        ),
        (
            &["--format=v7", "--blocking-factor=64"],
            &["manifest", "rootfs"],
        ),
        (
            &["--format=oldgnu", "--mtime=1960-01-01"],
            &["./manifest", "./rootfs"],
        ),
    ]
    .iter()
    .enumerate()
    {
        let aci = sandbox.path(&format!("{i}.aci"));
        let mut command = Command::new("tar");
        command
            .arg("-C")
            .arg(&tree)
            .arg("-cf")
            .arg(&aci)
            .args(*options)
            .args(*members);
        let Ok(made) = command.output() else { return };
        assert!(made.status.success(), "{made:?}");
        let (file, out) = (format!("{i}.aci"), format!("{i}.oci"));
        let output = sandbox.run(&["aci-to-oci", "--reversible", &file, &out]);
        if !output.status.success() {
            sandbox.fails(&["aci-to-oci", &file, "x"], 1, &[]);
            continue;
        }
        comes_back_from_everywhere(&sandbox, &registries, &out, &file);
        count += 1;
    }
    assert!(count >= 7, "{count}");
}

/// The image IDs of the ACIs in a folder, by their file names.
fn image_ids(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let acis = files.filter(|path| path.extension().is_some_and(|end| end == "aci"));
    acis.map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, image_id(&path))
    })
    .collect()
}

/// H9d: five hundred random ACIs at once, in one layout, one archive and one registry.
#[test]
fn random_acis_come_back_from_one_place() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("store")).unwrap();
    for seed in 1000..1000 + SEEDS {
        let manifest = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/r{seed}"{LABELS}}}"#
        );
        let file = format!("store/example.com-r{seed}-1.0-linux-amd64.aci");
        fs::write(sandbox.path(&file), random::aci(seed, &manifest)).unwrap();
    }
    let before = image_ids(&sandbox.path("store"));
    let run = |command: &str, from: &str, to: &str, option: &str| {
        sandbox.run(&[command, from, to, option])
    };
    // A random tar may be no ACI: such files are refused, and the others are written.
    run("migrate", "tree:store", "oci:all", "--reversible");
    let registry = Registry::start();
    registry.stored().referrers = false;
    let host = registry.locator("all");
    let places = [
        ("", "oci:all"),
        ("convert", "oci-archive:all.tar"),
        ("migrate", &host),
    ];
    for (command, place) in places {
        if !command.is_empty() {
            let copied = run(command, "oci:all", place, "--strict");
            assert!(copied.status.success(), "{copied:?}");
        }
        let back = format!("back-{command}");
        // A registry is read as a whole, whatever the prefix of its repositories.
        let whole = place.strip_suffix("/all").unwrap_or(place);
        let restored = run("migrate", whole, &format!("aci:{back}/"), "--exact");
        assert!(restored.status.success(), "{restored:?}");
        let after = image_ids(&sandbox.path(&back));
        assert!(after.len() >= 500, "{place}: {} came back", after.len());
        for (file, id) in after {
            assert_eq!(before.get(&file), Some(&id), "{place}: {file}");
        }
    }
}

/// The random tars of which at least five hundred are ACIs.
const SEEDS: u64 = 700;
