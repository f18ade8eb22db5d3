//! Every package in the lock file is under a licence of this list.

use serde_json::Value;

/// Permissive licences, by their SPDX names.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    // of libbz2-rs-sys: the licence of bzip2 itself, BSD in all but name
    "bzip2-1.0.6",
];

/// Finds packages whose licence expression the list does not fulfil.
pub(super) fn check(metadata: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        let licence = package["license"].as_str().unwrap_or_default();
        if !allowed(licence) {
            let name = package["name"].as_str().unwrap_or_default();
            findings.push(format!(
                "package `{name}`: licence `{licence}` is not on the list"
            ));
        }
    }
    findings
}

/// An expression is a product of sums: `AND` joins groups, and `OR` (or the old `/`) joins the
/// members of a group. A sum without parentheses around a product does not occur in practice and is
/// read the strict way.
fn allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" AND ").all(|part| {
        part.split(" OR ").any(|name| {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            ALLOWED.contains(&name.as_str())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "GPL-3.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "AGPL-3.0-only",
            "MIT AND GPL-3.0",
            "(MIT OR ISC) AND LGPL-2.1",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn the_package_is_named() {
        let metadata = serde_json::json!({ "packages": [ { "name": "x", "license": "GPL-3.0" } ] });
        assert_eq!(
            check(&metadata),
            ["package `x`: licence `GPL-3.0` is not on the list"]
        );
    }
}
