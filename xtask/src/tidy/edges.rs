//! The allowed dependencies between crates, as a table that is compared with `cargo metadata`.

use serde_json::Value;

/// Crate (a folder under `crates/`, or `xtask`; `*` for all in it) -> what it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("core/model", &[]),
    ("core/stream", &["core/model"]),
    ("core/fs", &["core/model", "core/stream"]),
    ("core/json", &["core/model"]),
    ("core/manifest", &["core/model", "core/stream", "core/json"]),
    ("core/layout", &["core/model", "core/json", "core/manifest"]),
    ("core/http", &["core/model", "core/stream", "core/fs"]),
    (
        "core/registry",
        &["core/model", "core/stream", "core/fs", "core/json"],
    ),
    ("core/openpgp", &["core/model", "core/fs"]),
    ("core/containers-conf", &["core/model", "core/stream"]),
    ("core/bolt", &["core/model"]),
    (
        "core/containerd",
        &[
            "core/model",
            "core/stream",
            "core/fs",
            "core/manifest",
            "core/bolt",
            "core/folder",
        ],
    ),
    ("core/file", &["core/model", "core/stream", "core/fs"]),
    ("core/folder", &["core/model", "core/fs", "core/tar"]),
    ("core/tar-split", &["core/model", "core/stream", "core/fs"]),
    ("core/tags", &["core/model", "core/json"]),
    ("core/tar", &["core/model", "core/stream", "core/fs"]),
    ("core/layer", &["core/model", "core/stream", "core/tar"]),
    ("core/reversal", &["core/model", "core/stream", "core/tar"]),
    (
        "core/unpack",
        &["core/model", "core/fs", "core/tar", "core/layer"],
    ),
    (
        "core/chunked",
        &[
            "core/model",
            "core/stream",
            "core/tar",
            "core/layer",
            "core/json",
        ],
    ),
    (
        "core/pipeline",
        &[
            "core/model",
            "core/stream",
            "core/tar",
            "core/layer",
            "core/chunked",
        ],
    ),
    (
        "formats/*",
        &[
            "core/model",
            "core/stream",
            "core/tar",
            "core/layer",
            "core/json",
            "core/manifest",
        ],
    ),
    (
        "transports/docker-daemon",
        &[
            "core/model",
            "core/json",
            "core/http",
            "transports/docker-archive",
        ],
    ),
    (
        "transports/*",
        &[
            "core/model",
            "core/stream",
            "core/fs",
            "core/tar",
            "core/json",
            "core/manifest",
            "core/layout",
            "core/http",
            "core/registry",
            "core/tags",
            "core/openpgp",
            "core/containers-conf",
            "core/tar-split",
            "core/bolt",
            "core/containerd",
            "core/file",
            "core/folder",
        ],
    ),
    ("app/locate", &["core/*", "formats/*", "transports/*"]),
    (
        "app/convert",
        &["app/locate", "core/*", "formats/*", "transports/*"],
    ),
    (
        "app/examine",
        &[
            "app/locate",
            "app/convert",
            "core/*",
            "formats/*",
            "transports/*",
        ],
    ),
    (
        "app/publish",
        &[
            "app/locate",
            "app/convert",
            "core/*",
            "formats/*",
            "transports/*",
        ],
    ),
    (
        "app/migrate",
        &[
            "app/locate",
            "app/convert",
            "app/publish",
            "core/*",
            "formats/*",
            "transports/*",
        ],
    ),
    (
        "app/serve",
        &[
            "app/locate",
            "app/convert",
            "app/publish",
            "core/*",
            "formats/*",
            "transports/*",
        ],
    ),
    (
        "app/imgconv",
        &[
            "app/locate",
            "app/convert",
            "app/examine",
            "app/publish",
            "app/migrate",
            "app/serve",
            "core/*",
            "formats/*",
            "transports/*",
        ],
    ),
    ("app/cli", &["app/imgconv"]),
    (
        "dev/testkit",
        &["core/model", "core/stream", "core/tar", "core/layer"],
    ),
    ("dev/torture", &["dev/testkit"]),
    (
        "xtask",
        &["app/imgconv", "core/model", "dev/testkit", "dev/torture"],
    ),
    (
        "dev/fuzz",
        &[
            "app/imgconv",
            "core/*",
            "formats/docker-v2s1",
            "transports/appc",
            "dev/testkit",
        ],
    ),
];

/// External packages that only one crate may use, with that crate.
const ONLY: &[(&str, &str)] = &[
    ("tar", "core/tar"),
    ("clap", "app/cli"),
    ("pgp", "core/openpgp"),
    ("indicatif", "app/cli"),
    ("ureq", "core/http"),
    ("hyper", "app/serve"),
    ("tokio", "app/serve"),
    ("tokio-rustls", "app/serve"),
    ("bcrypt", "app/serve"),
    ("proc-macro2", "xtask"),
    ("syn", "xtask"),
];

/// External packages of tests and documents that crates of the program know too: there they are
/// optional, so that the program is built without them.
const OPTIONAL: &[&str] = &["schemars"];

/// Compares every dependency inside the workspace with the table.
pub(super) fn check(metadata: &Value) -> Vec<String> {
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let place = |path: &str| {
        let path = path.strip_prefix(root).unwrap_or(path).trim_matches('/');
        let path = path.strip_suffix("/Cargo.toml").unwrap_or(path);
        path.strip_prefix("crates/").unwrap_or(path).to_owned()
    };
    let mut findings = Vec::new();
    for package in list(&metadata["packages"]) {
        if !package["source"].is_null() {
            continue;
        }
        let from = place(package["manifest_path"].as_str().unwrap_or_default());
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| fits(name, &from)) else {
            findings.push(format!(
                "{from}: the table of dependencies does not know this crate"
            ));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let dev = dependency["kind"].as_str() == Some("dev");
            let name = dependency["name"].as_str().unwrap_or_default();
            if let Some(path) = dependency["path"].as_str() {
                let to = place(path);
                let in_tests = dev && (to == "dev/testkit" || to.starts_with("core/"));
                if !in_tests && !allowed.iter().any(|name| fits(name, &to)) {
                    findings.push(format!("{from} must not depend on {to}"));
                }
            } else if !dev
                && let Some((_, only)) = ONLY.iter().find(|(package, _)| *package == name)
                && *only != from
            {
                findings.push(format!("{from}: only {only} may use the package `{name}`"));
            } else if !dev && OPTIONAL.contains(&name) && dependency["optional"] != true {
                findings.push(format!("{from}: the package `{name}` must be optional"));
            }
        }
    }
    findings
}

/// Compares the table in `crates/README.md` with the constant.
pub(super) fn check_table(text: &str) -> Vec<String> {
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let wanted: Vec<String> = EDGES
        .iter()
        .map(|(name, allowed)| {
            let allowed: Vec<String> = allowed.iter().map(|name| format!("`{name}`")).collect();
            let allowed = match allowed.as_slice() {
                [] => "nothing".to_owned(),
                some => some.join(", "),
            };
            format!("| `{name}` | {allowed} |")
        })
        .collect();
    let mut findings = Vec::new();
    for row in &wanted {
        if !rows.contains(&row.as_str()) {
            findings.push(format!("crates/README.md: this row is missing: {row}"));
        }
    }
    for row in rows {
        if !wanted.iter().any(|wanted| wanted == row) {
            findings.push(format!(
                "crates/README.md: the table in tidy has no such row: {row}"
            ));
        }
    }
    findings
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(folder) => name.starts_with(folder),
        None => pattern == name,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(folder: &str, dependency: Value) -> Value {
        json!({ "workspace_root": "/r", "packages": [ {
            "source": null, "manifest_path": format!("/r/{folder}/Cargo.toml"),
            "dependencies": [ dependency ],
        } ] })
    }

    #[test]
    fn an_edge_against_the_table_is_found() {
        for (from, to) in [
            ("crates/formats/oci", "crates/formats/aci"),
            ("crates/formats/oci", "crates/transports/file"),
            ("crates/transports/file", "crates/core/layer"),
            ("crates/core/model", "crates/core/stream"),
            ("crates/app/cli", "crates/formats/aci"),
            ("crates/core/tar", "crates/dev/testkit"),
        ] {
            let dependency = json!({ "name": "x", "kind": null, "path": format!("/r/{to}") });
            assert_eq!(
                check(&metadata(from, dependency)).len(),
                1,
                "{from} -> {to}"
            );
        }
        let dev = json!({ "name": "x", "kind": "dev", "path": "/r/crates/formats/aci" });
        assert_eq!(check(&metadata("crates/formats/oci", dev)).len(), 1);
    }

    #[test]
    fn edges_of_the_table_and_test_helpers_are_not() {
        for (from, to, kind) in [
            ("crates/formats/oci", "crates/core/manifest", json!(null)),
            ("crates/app/imgconv", "crates/transports/file", json!(null)),
            ("crates/core/tar", "crates/dev/testkit", json!("dev")),
        ] {
            let dependency = json!({ "name": "x", "kind": kind, "path": format!("/r/{to}") });
            assert_eq!(
                check(&metadata(from, dependency)),
                [""; 0],
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn unknown_crates_and_reserved_packages_are_found() {
        let tar = json!({ "name": "tar", "kind": null });
        assert_eq!(check(&metadata("crates/core/tar", tar.clone())), [""; 0]);
        let found = check(&metadata("crates/core/layer", tar));
        assert_eq!(
            found,
            ["core/layer: only core/tar may use the package `tar`"]
        );
        assert_eq!(check(&metadata("crates/core/common", json!({}))).len(), 1);
        let schemars = |kind: Value, optional: bool| {
            let dependency = json!({ "name": "schemars", "kind": kind, "optional": optional });
            check(&metadata("crates/app/convert", dependency)).len()
        };
        assert_eq!(schemars(json!(null), false), 1);
        assert_eq!(schemars(json!(null), true), 0);
        assert_eq!(schemars(json!("dev"), false), 0);
    }

    #[test]
    fn a_table_that_differs_is_found() {
        let found = check_table("| `core/model` | `core/stream` |\n| `x` | nothing |");
        assert!(found.iter().any(|f| f.contains("no such row: | `x` |")));
        assert!(
            found
                .iter()
                .any(|f| f.contains("missing: | `core/model` | nothing |"))
        );
    }
}
