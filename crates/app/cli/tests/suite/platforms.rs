//! Platforms that only an index names, and platforms in old spellings (robustness K54, K55).

use std::{fs, path::Path};

use crate::sandbox::Sandbox;
use imgconv_testkit::{Head, ImageRecipe, build, docker, recipe};
use serde_json::{Value, json};

/// An image whose config names an architecture and no variant.
fn image(name: &str, version: &str, arch: &str, content: &str) -> ImageRecipe {
    let layer = format!("dir etc\nfile etc/{content} \"\"");
    ImageRecipe {
        head: Head {
            name: name.into(),
            version: version.into(),
            os: "linux".into(),
            arch: arch.into(),
            ..Head::default()
        },
        layers: vec![recipe::parse(&layer, name).unwrap()],
        manifest: None,
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Makes a layout with an index of images whose configs name `arch` only; the descriptors get these platforms.
/// Returns the digests of the manifests.
fn index(sandbox: &Sandbox, folder: &str, arch: &str, platforms: &[Value]) -> Vec<String> {
    let path = sandbox.path(folder);
    let images: Vec<ImageRecipe> = (0..platforms.len())
        .map(|i| image("example.com/a", &i.to_string(), arch, &format!("file-{i}")))
        .collect();
    build::layout(&images, &path).unwrap();
    let mut top = read(&path.join("index.json"));
    let mut children = top["manifests"].as_array().unwrap().clone();
    for (child, platform) in children.iter_mut().zip(platforms) {
        child.as_object_mut().unwrap().remove("annotations");
        child["platform"] = platform.clone();
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let document = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": children });
    let document = document.to_string();
    let hex = imgconv_testkit::sha256_hex(document.as_bytes());
    fs::write(path.join("blobs/sha256").join(&hex), &document).unwrap();
    top["manifests"] = json!([{
        "mediaType": kind, "digest": format!("sha256:{hex}"), "size": document.len(),
        "annotations": { "org.opencontainers.image.ref.name": "example.com/a:1" },
    }]);
    fs::write(path.join("index.json"), top.to_string()).unwrap();
    let digest = |child: &Value| child["digest"].as_str().unwrap().to_owned();
    children.iter().map(digest).collect()
}

fn arm(variant: &str) -> Value {
    json!({ "os": "linux", "architecture": "arm", "variant": variant })
}

fn blob(sandbox: &Sandbox, layout: &str, digest: &Value) -> Value {
    let digest = digest.as_str().unwrap().replace(':', "/");
    read(&sandbox.path(layout).join("blobs").join(digest))
}

/// The descriptor of the one image of a layout, which may be the one entry of an index.
fn only(sandbox: &Sandbox, layout: &str) -> Value {
    let mut list = read(&sandbox.path(layout).join("index.json"));
    loop {
        let entries = list["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "{list}");
        let entry = entries[0].clone();
        list = blob(sandbox, layout, &entry["digest"]);
        if list.get("manifests").is_none() {
            return entry;
        }
    }
}

/// The value of a label of an ACI.
fn label(sandbox: &Sandbox, aci: &str, name: &str) -> Option<String> {
    let raw: Value = serde_json::from_str(&sandbox.ok(&["inspect", "--raw", aci])).unwrap();
    let labels = raw["labels"].as_array().unwrap().iter();
    let mut found = labels.filter(|label| label["name"] == name);
    found
        .next()
        .map(|label| label["value"].as_str().unwrap().to_owned())
}

// K54
#[test]
fn a_variant_that_only_the_index_names_selects_an_image() {
    let sandbox = Sandbox::new();
    let digests = index(&sandbox, "in", "arm", &[arm("v6"), arm("v7")]);
    for (variant, digest) in ["v6", "v7"].iter().zip(&digests) {
        let (platform, to) = (format!("linux/arm/{variant}"), format!("oci:{variant}"));
        sandbox.ok(&["convert", "oci:in", &to, "--platform", &platform]);
        assert_eq!(only(&sandbox, variant)["digest"], **digest, "{variant}");
    }
    let listed = sandbox.ok(&["ls", "oci:in"]);
    assert!(
        listed.contains("linux/arm/v6") && listed.contains("linux/arm/v7"),
        "{listed}"
    );
    // The label of an ACI has the variant, so nothing is lost.
    sandbox.ok(&["convert", "oci:in", "aci:acis/", "--strict"]);
    for (file, arch) in [("armv6l", "armv6l"), ("armv7l", "armv7l")] {
        let file = format!("acis/example.com-a-1-linux-{file}.aci");
        assert_eq!(label(&sandbox, &file, "arch").as_deref(), Some(arch));
    }
}

// K54
#[test]
fn facts_of_a_platform_that_only_the_index_has_are_lost_with_a_report() {
    let sandbox = Sandbox::new();
    let mut platform = arm("v7");
    platform["os.features"] = json!(["x"]);
    index(&sandbox, "in", "arm", &[platform.clone()]);
    let output = sandbox.run(&["convert", "oci:in", "docker-archive:x.tar", "-v"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    for field in ["variant", "os.features"] {
        let loss = format!("index.manifests.platform.{field} dropped");
        assert!(said.contains(&loss), "{said}");
    }
    sandbox.fails(
        &["convert", "oci:in", "docker-archive:y.tar", "--strict"],
        3,
        &["error[strict]"],
    );
    // The entry of a layout counts like that of an index.
    build::layout(
        &[image("example.com/a", "1", "arm", "x")],
        &sandbox.path("one"),
    )
    .unwrap();
    let path = sandbox.path("one").join("index.json");
    let mut top = read(&path);
    top["manifests"][0]["platform"] = platform;
    fs::write(&path, top.to_string()).unwrap();
    let to = ["oci:one", "oci:v7", "--platform", "linux/arm/v7"];
    sandbox.ok(&[&["convert"], &to[..]].concat());
    sandbox.fails(
        &["convert", "oci:one", "docker-archive:z.tar", "--strict"],
        3,
        &["error[strict]"],
    );
    // A descriptor that only repeats the config loses nothing.
    let mut same = image("example.com/a", "1", "arm", "x");
    same.head.variant = "v7".into();
    build::layout(&[same], &sandbox.path("plain")).unwrap();
    let top = read(&sandbox.path("plain").join("index.json"));
    assert_eq!(top["manifests"][0]["platform"]["variant"], "v7");
    sandbox.ok(&[
        "convert",
        "oci:plain",
        "docker-archive:plain.tar",
        "--strict",
    ]);
}

// K55
#[test]
fn old_spellings_of_an_architecture_are_understood() {
    let sandbox = Sandbox::new();
    let archive = docker::archive_v1(&[image("example.com/a", "1", "x86_64", "x")]).unwrap();
    fs::write(sandbox.path("v1.tar"), archive).unwrap();
    sandbox.ok(&["docker-to-aci", "v1.tar", "x.aci"]);
    assert_eq!(label(&sandbox, "x.aci", "arch").as_deref(), Some("amd64"));
    sandbox.ok(&[
        "docker-to-oci",
        "v1.tar",
        "out",
        "--platform",
        "linux/amd64",
    ]);
    let manifest = blob(&sandbox, "out", &only(&sandbox, "out")["digest"]);
    let config = blob(&sandbox, "out", &manifest["config"]["digest"]);
    assert_eq!(config["architecture"], "amd64");

    // A config that is copied keeps its spelling.
    let listed = json!({ "os": "linux", "architecture": "amd64" });
    let digests = index(&sandbox, "in", "x86_64", &[listed]);
    sandbox.ok(&["convert", "oci:in", "oci:copy", "--platform", "linux/amd64"]);
    assert_eq!(only(&sandbox, "copy")["digest"], *digests[0]);
    for (arch, label_of) in [
        ("aarch64", "aarch64"),
        ("armhf", "armv7l"),
        ("i386", "i386"),
    ] {
        let folder = format!("from-{arch}");
        build::layout(
            &[image("example.com/a", "1", arch, "x")],
            &sandbox.path(&folder),
        )
        .unwrap();
        let (from, to) = (format!("oci:{folder}"), format!("{arch}.aci"));
        sandbox.ok(&["convert", &from, &to, "--strict"]);
        assert_eq!(
            label(&sandbox, &to, "arch").as_deref(),
            Some(label_of),
            "{arch}"
        );
    }
}

// K56
#[test]
fn the_tag_latest_becomes_the_version_of_a_new_aci() {
    let sandbox = Sandbox::new();
    build::layout(
        &[image("example.com/a", "latest", "amd64", "x")],
        &sandbox.path("in"),
    )
    .unwrap();
    sandbox.ok(&["oci-to-aci", "in", "acis/", "--strict"]);
    let file = "acis/example.com-a-latest-linux-amd64.aci";
    assert_eq!(label(&sandbox, file, "version").as_deref(), Some("latest"));
    sandbox.ok(&["aci-to-oci", file, "out"]);
    let listed = sandbox.ok(&["ls", "oci:out"]);
    assert!(listed.starts_with("example.com/a:latest "), "{listed}");
    // An ACI without a version comes back without a version.
    let labels = r#","labels":[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}]"#;
    sandbox.aci("plain.aci", "example.com/b", labels, "dir etc");
    sandbox.ok(&["aci-to-oci", "plain.aci", "plain"]);
    sandbox.ok(&["oci-to-aci", "plain", "back.aci"]);
    assert_eq!(label(&sandbox, "back.aci", "version"), None);
}

/// K59.
#[test]
fn an_aci_with_half_a_platform_gets_the_other_half_only() {
    let sandbox = Sandbox::new();
    let labels = |arch: &str| format!(r#","labels":[{{"name":"version","value":"1.0"}},{arch}]"#);
    let arch = |arch: &str| labels(&format!(r#"{{"name":"arch","value":"{arch}"}}"#));
    sandbox.aci("arm.aci", "example.com/a", &arch("aarch64"), "file a \"1\"");
    sandbox.aci("intel.aci", "example.com/a", &arch("amd64"), "file a \"2\"");
    sandbox.ok(&["aci-to-oci", "arm.aci", "intel.aci", "oci"]);
    let index = read(&sandbox.path("oci/index.json"));
    let platform = |arch: &str| json!({ "architecture": arch, "os": "linux" });
    let layout = sandbox.path("oci");
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        read(&layout.join("blobs").join(digest.replace(':', "/")))
    };
    let children = blob(&index["manifests"][0])["manifests"].clone();
    assert_eq!(children[0]["platform"], platform("amd64"));
    assert_eq!(children[1]["platform"], platform("arm64"));
    for child in children.as_array().unwrap() {
        let config = blob(&blob(child)["config"]);
        assert_eq!(config["architecture"], child["platform"]["architecture"]);
        assert_eq!(config["os"], "linux");
    }
    sandbox.ok(&[
        "aci-to-oci",
        "arm.aci",
        "chosen",
        "--platform",
        "linux/arm64",
    ]);
    let wrong = [
        "aci-to-oci",
        "arm.aci",
        "wrong",
        "--platform",
        "linux/amd64",
    ];
    sandbox.fails(&wrong, 1, &["no image for linux/amd64"]);
}

#[test]
fn l15_each_wanted_platform_without_an_image_is_named() {
    let sandbox = Sandbox::new();
    index(&sandbox, "in", "arm", &[arm("v6"), arm("v7")]);
    let wanted = ["--platform", "linux/arm/v7", "--platform", "linux/amr64"];
    let convert = [&["convert", "in", "oci:out"][..], &wanted].concat();
    let strict = [&convert[..], &["--strict"]].concat();
    sandbox.fails(
        &strict,
        3,
        &["missing-platform", "no image is for linux/amr64"],
    );
    let output = sandbox.run(&convert);
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    let warning = "no image is for linux/amr64; available: linux/arm/v6, linux/arm/v7";
    assert!(told.contains(warning), "{told}");
}
