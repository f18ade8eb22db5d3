//! Every crate has the fields that a package registry requires, so that all crates can be packaged
//! at any time.

use serde_json::Value;

/// Facts of a package, as `cargo metadata` names them.
const FACTS: &[&str] = &[
    "description",
    "license",
    "repository",
    "readme",
    "rust_version",
];
/// Lists of a package; a registry takes at most five members of each.
const LISTS: &[&str] = &["keywords", "categories"];
const MOST: usize = 5;

/// Finds crates of the workspace without such a fact, and path dependencies without a version.
pub(super) fn check(metadata: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    for package in packages.filter(|package| package["source"].is_null()) {
        let name = package["name"].as_str().unwrap_or_default();
        for fact in FACTS {
            if package[fact].as_str().unwrap_or_default().is_empty() {
                findings.push(format!("{name}: Cargo.toml has no `{fact}`"));
            }
        }
        for list in LISTS {
            let length = package[list].as_array().map_or(0, Vec::len);
            if !(1..=MOST).contains(&length) {
                findings.push(format!(
                    "{name}: Cargo.toml has {length} {list}, expected 1 to {MOST}"
                ));
            }
        }
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        for dependency in dependencies {
            // Cargo leaves a dev-dependency without a version out of the package.
            let dev = dependency["kind"].as_str() == Some("dev");
            let path = !dependency["path"].is_null();
            if path && !dev && dependency["req"].as_str() == Some("*") {
                let to = dependency["name"].as_str().unwrap_or_default();
                findings.push(format!("{name}: the dependency on {to} has no version"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package() -> Value {
        json!({
            "source": null, "name": "x", "description": "a", "license": "MIT",
            "repository": "https://x", "readme": "README.md", "rust_version": "1.95",
            "keywords": ["a"], "categories": ["a"],
            "dependencies": [
                { "name": "y", "kind": null, "path": "/y", "req": "^0.1.0" },
                { "name": "testkit", "kind": "dev", "path": "/t", "req": "*" },
                { "name": "serde", "kind": null, "req": "*" },
            ],
        })
    }

    fn found(package: Value) -> Vec<String> {
        check(&json!({ "packages": [package] }))
    }

    #[test]
    fn a_complete_package_is_fine_and_foreign_ones_do_not_count() {
        assert_eq!(found(package()), [""; 0]);
        assert_eq!(found(json!({ "source": "registry", "name": "z" })), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        for fact in FACTS.iter().chain(LISTS) {
            let mut incomplete = package();
            incomplete[*fact] = Value::Null;
            let found = found(incomplete);
            assert_eq!(found.len(), 1, "{fact}");
            assert!(found[0].contains(fact), "{found:?}");
        }
        let mut many = package();
        many["keywords"] = json!(["a", "b", "c", "d", "e", "f"]);
        let expected = "x: Cargo.toml has 6 keywords, expected 1 to 5";
        assert_eq!(found(many), [expected]);
        let mut loose = package();
        loose["dependencies"][0]["req"] = json!("*");
        assert_eq!(found(loose), ["x: the dependency on y has no version"]);
    }
}
