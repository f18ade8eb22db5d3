//! The packages of the program, from `cargo metadata`: those whose code is in it, and the macros that made
//! code for it, with the digests of the lock file. Packages of tests and of build scripts are not here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::release::read;
use crate::process::{Result, call, root};

/// A package from a registry.
#[derive(Clone, Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// The SPDX expression of its licence.
    pub(super) licence: String,
    /// Its folder.
    pub(super) folder: PathBuf,
    /// The SHA-256 of its archive, in hex.
    pub(super) digest: String,
    /// The packages that it needs, by their [`Package::url`].
    pub(super) needs: BTreeSet<String>,
}

impl Package {
    /// The package URL.
    pub(super) fn url(&self) -> String {
        url(&self.name, &self.version)
    }
}

/// Makes the package URL of a package.
pub(super) fn url(name: &str, version: &str) -> String {
    // `+` begins the build metadata of a version, and means a space in some URLs.
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// All packages of the program.
#[derive(Debug)]
pub(super) struct Packages {
    /// The version of the program.
    pub(super) version: String,
    /// The packages of registries by [`Package::url`].
    pub(super) all: BTreeMap<String, Package>,
    /// Those that the crates of the workspace need themselves.
    pub(super) direct: BTreeSet<String>,
}

impl Packages {
    /// Reads the packages for all of the targets.
    pub(super) fn of(triples: &[&str]) -> Result<Self> {
        let digests = digests(&String::from_utf8_lossy(&read("Cargo.lock")?));
        let mut packages = Self {
            version: String::new(),
            all: BTreeMap::new(),
            direct: BTreeSet::new(),
        };
        for triple in triples {
            let mut cargo = Command::new("cargo");
            cargo.args(["metadata", "--format-version", "1", "--locked"]);
            let text = call(
                cargo
                    .args(["--filter-platform", triple])
                    .current_dir(root()),
            )?;
            let metadata = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            packages.add(&metadata, &digests)?;
        }
        Ok(packages)
    }

    fn add(&mut self, metadata: &Value, digests: &BTreeMap<String, String>) -> Result {
        let by_id = |list: &Value| -> BTreeMap<String, Value> {
            let list = list.as_array().into_iter().flatten();
            list.map(|value| (text(value, "id"), value.clone()))
                .collect()
        };
        let (facts, nodes) = (
            by_id(&metadata["packages"]),
            by_id(&metadata["resolve"]["nodes"]),
        );
        let url_of = |id: &str| url(&text(&facts[id], "name"), &text(&facts[id], "version"));
        let program = facts.iter().find(|(_, fact)| fact["name"] == "imgconv-cli");
        let (id, fact) = program.ok_or("there is no package imgconv-cli")?;
        self.version = text(fact, "version");
        let (mut open, mut seen) = (vec![id.clone()], BTreeSet::new());
        while let Some(id) = open.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            let needs = needs(&nodes[&id]);
            let foreign = needs.iter().filter(|id| !facts[*id]["source"].is_null());
            let urls: BTreeSet<String> = foreign.map(|id| url_of(id)).collect();
            let fact = &facts[&id];
            if fact["source"].is_null() {
                self.direct.extend(urls);
            } else {
                let url = url_of(&id);
                let digest = digests
                    .get(&url)
                    .ok_or(format!("Cargo.lock has no digest of {url}"))?;
                let mut folder = PathBuf::from(text(fact, "manifest_path"));
                folder.pop();
                let package = self.all.entry(url).or_insert(Package {
                    name: text(fact, "name"),
                    version: text(fact, "version"),
                    licence: text(fact, "license").replace('/', " OR "),
                    folder,
                    digest: digest.clone(),
                    needs: BTreeSet::new(),
                });
                package.needs.extend(urls);
            }
            open.extend(needs);
        }
        Ok(())
    }
}

/// The packages whose code is linked with that of a node.
fn needs(node: &Value) -> Vec<String> {
    let dependencies = node["deps"].as_array().into_iter().flatten();
    let linked = dependencies.filter(|dependency| {
        let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
        kinds.any(|kind| kind["kind"].is_null())
    });
    linked.map(|dependency| text(dependency, "pkg")).collect()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// The digests of a lock file, by package URL.
fn digests(lock: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let value = |key: &str| {
            let mut lines = package.lines();
            lines.find_map(|line| {
                line.strip_prefix(key)?
                    .strip_prefix(" = \"")?
                    .strip_suffix('"')
            })
        };
        if let (Some(name), Some(version), Some(digest)) =
            (value("name"), value("version"), value("checksum"))
        {
            out.insert(url(name, version), digest.to_owned());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packages_of_tests_and_build_scripts_are_left_out() {
        let package = |id: &str, source: Value| {
            json!({ "id": id, "name": id, "version": "1.0.0+a", "source": source,
                    "license": "MIT/Apache-2.0", "manifest_path": "/x/Cargo.toml" })
        };
        let needs = |id: &str, kind: Value| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [
                package("imgconv-cli", json!(null)), package("a", json!("r")),
                package("b", json!("r")), package("t", json!("r")), package("c", json!("r")),
            ],
            "resolve": { "nodes": [
                { "id": "imgconv-cli", "deps": [needs("a", json!(null)), needs("t", json!("dev"))] },
                { "id": "a", "deps": [needs("b", json!(null)), needs("c", json!("build"))] },
                { "id": "b", "deps": [] }, { "id": "t", "deps": [] }, { "id": "c", "deps": [] },
            ] },
        });
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0+a\"\nchecksum = \"12\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"1.0.0+a\"\nchecksum = \"34\"\n";
        let mut found = Packages {
            version: String::new(),
            all: BTreeMap::new(),
            direct: BTreeSet::new(),
        };
        found.add(&metadata, &digests(lock)).unwrap();
        let [a, b] = ["pkg:cargo/a@1.0.0%2Ba", "pkg:cargo/b@1.0.0%2Ba"].map(str::to_owned);
        assert!(found.all.keys().eq([&a, &b]), "{found:?}");
        assert_eq!(found.direct, BTreeSet::from([a.clone()]));
        assert_eq!(found.all[&a].needs, BTreeSet::from([b.clone()]));
        assert_eq!(found.all[&b].digest, "34");
        assert_eq!(found.all[&b].licence, "MIT OR Apache-2.0");
    }
}
