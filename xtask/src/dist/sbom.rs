//! The list of the packages in the program, as CycloneDX 1.5 (ECMA-424) in JSON.
//!
//! It has no serial number: the same program has the same list.

use serde_json::{Value, json};

use super::packages::{Packages, url};
use super::release::Release;
use crate::process::Result;

/// Makes the document.
pub(super) fn document(release: &Release, packages: &Packages) -> Result<Vec<u8>> {
    let program = url("imgconv-cli", &packages.version);
    let components: Vec<Value> = packages
        .all
        .values()
        .map(|package| {
            json!({
                "type": "library",
                "bom-ref": package.url(),
                "name": package.name,
                "version": package.version,
                "purl": package.url(),
                "licenses": [{ "expression": package.licence }],
                "hashes": [{ "alg": "SHA-256", "content": package.digest }],
            })
        })
        .collect();
    let mut dependencies = vec![json!({ "ref": program, "dependsOn": packages.direct })];
    dependencies.extend(
        packages
            .all
            .values()
            .map(|package| json!({ "ref": package.url(), "dependsOn": package.needs })),
    );
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": release.date("+%Y-%m-%dT%H:%M:%SZ")?,
            "component": {
                "type": "application",
                "bom-ref": program,
                "name": "imgconv",
                "version": packages.version,
                "purl": program,
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    let text = serde_json::to_string_pretty(&document).map_err(|e| e.to_string())?;
    Ok(format!("{text}\n").into_bytes())
}
