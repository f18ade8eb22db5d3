//! Layers of Windows are not merged where that would lose something (robustness K20).

use crate::sandbox::Sandbox;
use imgconv_testkit::{Head, ImageRecipe, build, recipe};

const BASE: &str = "dir Files\ndir Files/App\nfile Files/App/a.txt \"old\"\ndir UtilityVM";

fn layout(sandbox: &Sandbox, folder: &str, os: &str, layers: &[&str]) {
    let head = Head {
        name: "example.com/win".into(),
        version: "1.0".into(),
        os: os.into(),
        arch: "amd64".into(),
        ..Head::default()
    };
    let layers = layers
        .iter()
        .map(|text| recipe::parse(text, folder).unwrap());
    let image = ImageRecipe {
        head,
        layers: layers.collect(),
        manifest: None,
    };
    build::layout(&[image], &sandbox.path(folder)).unwrap();
}

fn delta(text: &str) -> String {
    format!("dir Hives\nfile Hives/System_Delta \"{text}\"")
}

#[test]
fn k20_deltas_of_the_registry_are_not_merged() {
    let sandbox = Sandbox::new();
    let (one, two) = (delta("one"), delta("two"));
    // The directories of the layer decide, not the config.
    for os in ["windows", "linux"] {
        layout(&sandbox, os, os, &[BASE, &one, &two]);
        let from = format!("oci:{os}");
        let told = [
            "error[unsupported]",
            "layer 1",
            "Hives/System_Delta",
            "registry",
        ];
        for command in [
            &["squash", &*from, "oci:out"][..],
            &["squash", &from, "oci:out", "--last", "2"],
            &[
                "squash",
                &from,
                "docker-archive:out.tar",
                "--keep-base",
                "1",
            ],
            &["convert", &from, "oci:out", "--squash"],
            &["convert", &from, "oci:out", "--max-layers", "2"],
        ] {
            sandbox.fails(command, 1, &told);
        }
    }
    // Conversions that merge no layers succeed.
    sandbox.ok(&["squash", "oci:windows", "oci:last", "--last", "1"]);
    sandbox.ok(&["convert", "oci:windows", "oci:copy"]);
    let listed = sandbox.ok(&["inspect", "oci:last", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(found["images"][0]["layers"].as_array().unwrap().len(), 3);
    // The files can be unpacked, with a warning.
    let output = sandbox.run(&["unpack", "oci:windows", "files"]);
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("warning[windows-layers]"), "{told}");
}

#[test]
fn k20_names_that_differ_by_case_are_not_merged() {
    let sandbox = Sandbox::new();
    let rows = [
        (
            "dir Files\ndir Files/app\nfile Files/app/A.TXT \"new\"",
            "Files/app",
        ),
        (
            "dir Files\ndir Files/App\nwhiteout Files/App/A.TXT",
            "A.TXT",
        ),
    ];
    for (i, (above, path)) in rows.iter().enumerate() {
        let folder = format!("l{i}");
        layout(&sandbox, &folder, "windows", &[BASE, above]);
        let from = format!("oci:{folder}");
        let told = ["error[unsupported]", "layer 1", path, "case"];
        sandbox.fails(&["squash", &from, "oci:out"], 1, &told);
    }
    // Names on Linux are case sensitive.
    let lower = ["dir etc\nfile etc/A \"1\"", "dir etc\nfile etc/a \"2\""];
    layout(&sandbox, "linux", "linux", &lower);
    sandbox.ok(&["squash", "oci:linux", "oci:squashed"]);
    // Layers of Windows without either are merged.
    let plain = [BASE, "dir Files\ndir Files/App\nfile Files/App/b.txt \"2\""];
    layout(&sandbox, "plain", "windows", &plain);
    sandbox.ok(&["squash", "oci:plain", "oci:merged"]);
    sandbox.ok(&["unpack", "oci:merged", "files"]);
    assert!(sandbox.path("files/Files/App/a.txt").exists());
    assert!(sandbox.path("files/Files/App/b.txt").exists());
}
