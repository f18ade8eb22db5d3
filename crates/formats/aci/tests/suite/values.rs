//! Rows C12b to C12i: values of Docker and OCI that an ACI can't have, or only in another form.

use imgconv_model::{Code, FormatId, Image, Platform};

use crate::{
    build::{decode, encode, losses},
    mapping::{assert_honest, image, port, strings},
};

#[test]
fn c12b_c12g_values_that_no_aci_can_have() {
    type Change = fn(&mut Image);
    let table: &[(Change, Code, &str)] = &[
        (
            |image| image.config.user = Some("4294967296".into()),
            Code::BadManifest,
            "config.User",
        ),
        (
            |image| image.config.user = Some("-1".into()),
            Code::BadManifest,
            "config.User",
        ),
        (
            |image| image.config.user = Some("0:99999999999".into()),
            Code::BadManifest,
            "config.User",
        ),
        (
            |image| image.config.user = Some("a:b:c".into()),
            Code::BadManifest,
            "config.User",
        ),
        (
            |image| image.config.user = Some("u".repeat(1 << 20)),
            Code::BadManifest,
            "config.User",
        ),
        (
            |image| image.config.user = Some("a\0".into()),
            Code::BadManifest,
            "config.User",
        ),
        (
            |image| image.config.volumes = strings(&["/../../etc"]),
            Code::BadName,
            "config.Volumes",
        ),
        (
            |image| image.config.volumes = strings(&[""]),
            Code::BadName,
            "config.Volumes",
        ),
        (
            |image| image.config.volumes = strings(&["rel"]),
            Code::BadName,
            "config.Volumes",
        ),
        (
            |image| image.config.env = strings(&["A=\0"]),
            Code::BadManifest,
            "config.Env",
        ),
        (
            |image| {
                drop(image.extensions.insert(
                    (FormatId("oci"), "config.ExposedPorts.0/tcp".into()),
                    "{}".into(),
                ))
            },
            Code::BadManifest,
            "\"0/tcp\"",
        ),
        (
            |image| image.platform = Platform::new("windows", "amd64"),
            Code::Unsupported,
            "windows/amd64",
        ),
        (|image| image.name = None, Code::Usage, "name"),
        (
            |image| image.name.as_mut().unwrap().repository = None,
            Code::Usage,
            "name",
        ),
        (
            |image| image.name.as_mut().unwrap().repository = Some("é".into()),
            Code::BadName,
            "é",
        ),
    ];
    for (i, (change, code, names)) in table.iter().enumerate() {
        let mut image = image();
        change(&mut image);
        let error = encode(&image).unwrap_err();
        assert_eq!(error.code(), *code, "row {i}: {error:.200}");
        assert!(error.to_string().contains(names), "row {i}: {error:.200}");
    }
}

#[test]
fn c12d_c12e_the_same_volume_and_the_same_port() {
    let mut image = image();
    image.config.volumes = strings(&["/a", "/a/"]);
    image.config.ports = vec![port(80, 1, "tcp"), port(80, 1, "tcp"), port(81, 1, "tcp")];
    let (bytes, report) = encode(&image).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let again = decode(&bytes).unwrap().image;
    assert_eq!(again.config.volumes, ["/a"]);
    assert_eq!(again.config.ports, [port(80, 1, "tcp"), port(81, 1, "tcp")]);
}

#[test]
fn c12f_c12g_variables() {
    let mut image = image();
    image.config.env = strings(&["A=1", "NOEQ", "=x", "1B=y", "B=line\nline", "A=2"]);
    let (bytes, report) = encode(&image).unwrap();
    assert_eq!(
        decode(&bytes).unwrap().image.config.env,
        ["A=2", "B=line\nline"]
    );
    assert_eq!(
        losses(&report),
        [
            r#"config.Env["1B=y"] dropped"#,
            r#"config.Env["=x"] dropped"#,
            r#"config.Env["A=1"] approximated"#,
            r#"config.Env["NOEQ"] dropped"#,
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
    );
    assert_eq!(report.warnings.len(), 3);
    assert!(
        report
            .warnings
            .iter()
            .all(|warning| warning.code == "bad-variable")
    );
    assert_honest(&image);
}

#[test]
fn c12h_labels_are_data() {
    let mut image = image();
    let labels = [
        ("\u{1b}[2J".into(), "\u{0}x".into()),
        ("io.containerd.x".into(), "y".repeat(1 << 20)),
    ];
    image.config.labels = labels.into();
    let (bytes, report) = encode(&image).unwrap();
    assert!(report.is_clean());
    assert_eq!(
        decode(&bytes).unwrap().image.config.labels,
        image.config.labels
    );
}

#[test]
fn c12i_a_relative_working_directory() {
    for (path, expected) in [("srv", "/srv"), ("./a/../b/", "/b"), ("../..", "/")] {
        let mut image = image();
        image.config.working_dir = Some(path.into());
        let (bytes, report) = encode(&image).unwrap();
        assert_eq!(
            decode(&bytes).unwrap().image.config.working_dir.as_deref(),
            Some(expected)
        );
        assert_eq!(losses(&report), ["config.WorkingDir approximated"]);
        assert_eq!(report.warnings[0].code, "relative-working-dir");
        assert_honest(&image);
    }
}
