//! Rules of `docs/robustness.md` and the tests that cite them, compared both ways.
//!
//! A rule is a row of a table in the sections "Guarantees" and "Cases"; its id is the first cell. A
//! row with `untested: REASON` is a rule that no test can or does check. A test cites a rule
//!
//! - by the start of its name (`a2b_a12_…`, `inv6_…`, `bad_name` or `bad_name_…`),
//! - by the start of a text, such as the name of a row of a table (`"F7a, absolute"`),
//! - by a comment (`// K41`, `/// …, INV-8`), or
//! - as `spec = "robustness I1"` of a case of the corpus.
//!
//! The id of a group (`C3` for `C3a` and `C3b`) may be cited, and stands for none of its rules.

use std::collections::{BTreeMap, BTreeSet};

use super::files::File;

const DOCUMENT: &str = "docs/robustness.md";
const UNTESTED: &str = "untested: ";

/// The result of the comparison.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Everything that is wrong.
    pub(super) findings: Vec<String>,
    /// The number of rules.
    pub(super) rules: usize,
    /// The rules that are marked as untested.
    pub(super) untested: Vec<String>,
}

/// Compares the document with every Rust file and every case of the corpus.
pub(super) fn check(files: &[File]) -> Comparison {
    let mut found = Comparison::default();
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        found.findings.push(format!("{DOCUMENT} is not there"));
        return found;
    };
    let (rules, doubles) = rules(&document.text);
    for id in doubles {
        let message = format!("{DOCUMENT}: the id {id} occurs twice");
        found.findings.push(message);
    }
    let mut tested = BTreeSet::new();
    for file in files {
        for (id, line, test) in citations(file, &rules) {
            let groups = rules.keys().any(|rule| is_in_group(rule, &id));
            if rules.contains_key(id.as_str()) {
                if test {
                    tested.insert(id);
                }
            } else if !groups {
                let path = &file.path;
                let message = format!("{path}:{line}: {DOCUMENT} has no rule {id}");
                found.findings.push(message);
            }
        }
    }
    found.rules = rules.len();
    for (id, untested) in rules {
        match (untested, tested.contains(id)) {
            (true, false) => found.untested.push(id.to_owned()),
            (false, true) => {}
            (true, true) => found.findings.push(format!(
                "{DOCUMENT}: {id} is marked as untested, and a test cites it"
            )),
            (false, false) => found.findings.push(format!(
                "{DOCUMENT}: no test cites {id}; cite it, or write `{UNTESTED}REASON` into its row"
            )),
        }
    }
    found
}

/// Returns the rules with whether they are marked as untested, and the ids that stand twice.
fn rules(text: &str) -> (BTreeMap<&str, bool>, Vec<&str>) {
    let (mut found, mut doubles) = (BTreeMap::new(), Vec::new());
    let mut counts = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            counts = title.ends_with("Guarantees") || title.ends_with("Cases");
        }
        let Some(row) = line.strip_prefix("| ").filter(|_| counts) else {
            continue;
        };
        let id = row.split(" |").next().unwrap_or_default();
        let is_id = id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if is_id && id != "id" && found.insert(id, line.contains(UNTESTED)).is_some() {
            doubles.push(id);
        }
    }
    (found, doubles)
}

/// `C3` is the group of `C3a` and `C3b`.
fn is_in_group(rule: &str, group: &str) -> bool {
    rule.strip_prefix(group)
        .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Returns the ids that a file cites, with the line, and whether the place is a test.
fn citations(file: &File, rules: &BTreeMap<&str, bool>) -> Vec<(String, usize, bool)> {
    let path = &file.path;
    let mut found = Vec::new();
    if path.starts_with("testdata/") && path.ends_with(".toml") {
        for (index, line) in file.text.lines().enumerate() {
            if line.starts_with("spec = ") && line.contains("robustness ") {
                let ids = tokens(line).into_iter();
                found.extend(ids.map(|id| (id, index + 1, true)));
            }
        }
    }
    // The runs of `cargo xtask faults` are tests of the program.
    let faults = path.starts_with("xtask/src/faults/");
    if !path.ends_with(".rs") || path.starts_with("xtask/") && !faults {
        return found;
    }
    let mut test = path.contains("/tests/") || path.ends_with("/tests.rs") || faults;
    for (index, line) in file.text.lines().enumerate() {
        test |= line.trim() == "#[cfg(test)]";
        let comment = comment(line);
        let ids = match (test, comment.split_once("robustness ")) {
            (true, _) => [tokens(comment), of_name(line, rules), of_texts(line, rules)].concat(),
            (false, Some((_, after))) => tokens(after),
            (false, None) => continue,
        };
        found.extend(ids.into_iter().map(|id| (id, index + 1, test)));
    }
    found
}

fn comment(line: &str) -> &str {
    let text = line.trim_start();
    match text.starts_with("//") {
        true => text,
        false => text.split_once(" // ").map_or("", |(_, comment)| comment),
    }
}

/// Returns the ids in a comment: `A1`, `C12k`, `K01`, `INV-3`.
fn tokens(text: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || "-_./#".contains(c);
    let words = text.split(|c| !word(c));
    let words = words.map(|word| word.trim_end_matches('.'));
    words
        .filter(|word| is_id(word))
        .map(str::to_owned)
        .collect()
}

/// Says whether a text is an id: the letter of a section, one or two digits and perhaps a letter;
/// or the id of a guarantee.
fn is_id(word: &str) -> bool {
    if let Some(number) = word.strip_prefix("INV-") {
        return number.len() == 1 && number.bytes().all(|b| b.is_ascii_digit());
    }
    let Some(rest) = word.strip_prefix(|c: char| matches!(c, 'A'..='P' | 'W')) else {
        return false;
    };
    let digits = rest.trim_end_matches(|c: char| c.is_ascii_lowercase());
    (1..=2).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && rest.len() - digits.len() <= 1
}

/// Returns the ids with which the name of a function starts.
fn of_name(line: &str, rules: &BTreeMap<&str, bool>) -> Vec<String> {
    let Some((_, rest)) = line.split_once("fn ") else {
        return Vec::new();
    };
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let name = &rest[..end.unwrap_or(rest.len())];
    let mut found = Vec::new();
    for rule in rules.keys().filter(|rule| !is_id(rule)) {
        let rule_name = rule.to_ascii_lowercase();
        let after = name.strip_prefix(&rule_name);
        if after.is_some_and(|after| after.is_empty() || after.starts_with('_')) {
            found.push((*rule).to_owned());
        }
    }
    // A test name of one word cites no rule.
    let words: Vec<&str> = name.split('_').collect();
    for word in words.iter().take(words.len() - 1) {
        let id = match word.strip_prefix("inv") {
            Some(number) => format!("INV-{number}"),
            None => word[..word.len().min(1)].to_ascii_uppercase() + word.get(1..).unwrap_or(""),
        };
        if is_id(&id) {
            found.push(id);
        } else if *word != "to" {
            break;
        }
    }
    found
}

/// Returns the ids of rules with which a text starts, alone or before a comma.
fn of_texts(line: &str, rules: &BTreeMap<&str, bool>) -> Vec<String> {
    let texts = line.split('"').skip(1).step_by(2);
    let ids = texts.map(|text| text.split(',').next().unwrap_or_default());
    let known = ids.filter(|id| rules.contains_key(id));
    known.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "\
## 1. Guarantees
| id | guarantee |
|---|---|
| INV-1 | a |
## 3. Limits
| `manifest` | 4 MiB |
| M99 | no rule |
## 4. Cases
| C3a | a | works | - |
| C3b | a | works | untested: no such server |
| bad_name | a | works | - |
";

    fn check(path: &str, text: &str) -> Comparison {
        let file = |path: &str, text: &str| File {
            path: path.into(),
            text: text.into(),
        };
        super::check(&[file(DOCUMENT, RULES), file(path, text)])
    }

    const TESTS: &str = "crates/core/x/tests/a.rs";

    #[test]
    fn names_comments_and_texts_are_citations() {
        let whole = check(TESTS, "fn inv1_c3a_x() {}\nfn bad_name() {}");
        assert_eq!(whole.findings, [""; 0]);
        assert_eq!((whole.rules, whole.untested), (4, vec!["C3b".to_owned()]));
        let text = "// C3a, INV-1\n(\"bad_name, long\", 1)";
        assert_eq!(check(TESTS, text).findings, [""; 0]);
        let inside = format!("//! Why.\n#[cfg(test)]\n{text}");
        assert_eq!(check("crates/core/x/src/a.rs", &inside).findings, [""; 0]);
    }

    #[test]
    fn rules_without_a_test_are_found() {
        for text in [
            "fn c3_x() {}", // the group alone
            "fn c3a() {}",  // a helper
            "fn x_c3a_y() {}",
            "\"C3a of x\"",
        ] {
            let found = check(TESTS, &format!("{text}\n// INV-1\nfn bad_name() {{}}"));
            assert_eq!(found.findings.len(), 1, "{text}: {:?}", found.findings);
            assert!(found.findings[0].contains("no test cites C3a"));
        }
        // A comment of the program is no test.
        let found = check("crates/core/x/src/a.rs", "// robustness C3a, INV-1");
        assert_eq!(found.findings.len(), 3);
    }

    #[test]
    fn unknown_ids_and_wrong_marks_are_found() {
        let all = "fn inv1_c3a_x() {}\nfn bad_name() {}";
        for (path, text, wanted) in [
            (TESTS, "// C4", ":3: docs/robustness.md has no rule C4"),
            (
                TESTS,
                "fn c3c_x() {}",
                ":3: docs/robustness.md has no rule C3c",
            ),
            (TESTS, "// C3b", "C3b is marked as untested"),
        ] {
            let found = check(path, &format!("{all}\n{text}")).findings;
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(wanted), "{found:?}");
        }
        let found = check("crates/core/x/src/a.rs", "// see robustness M99").findings;
        assert!(found[0].contains("has no rule M99"), "{found:?}");
        let found = check("testdata/corpus/a/case.toml", "spec = \"robustness M99\"").findings;
        assert!(found[0].contains("has no rule M99"), "{found:?}");
    }
}
