//! Every path that a Markdown file mentions exists.
//!
//! A mention is the target of a link, or code that starts with one of the repository's folders. A
//! part in capitals stands for a name: the path is looked at up to there.

use super::files::File;

const FOLDERS: &[&str] = &[
    "crates", "testdata", "xtask", "docs", "deploy", ".ci", ".cargo",
];

/// Finds mentions of paths that are not there; `exists` takes a path from the root.
pub(super) fn check(files: &[File], exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for path in code_paths(&file.text).into_iter().chain(links(file)) {
            if !exists(&path) {
                findings.push(format!("{}: `{path}` does not exist", file.path));
            }
        }
    }
    findings
}

fn code_paths(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let outside_fences = text.split("```").step_by(2);
    for span in outside_fences.flat_map(|part| part.split('`').skip(1).step_by(2)) {
        let first = span.split('/').next().unwrap_or_default();
        let odd = span.contains([' ', '*', '{', '<', '…', '\n']);
        if !span.contains('/') || odd || !FOLDERS.contains(&first) {
            continue;
        }
        let known = span.split('/').take_while(|part| !is_placeholder(part));
        out.push(known.collect::<Vec<_>>().join("/"));
    }
    out
}

/// `NAME`, `layer-N.list`; but `README.md` is itself.
fn is_placeholder(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default();
    let word = stem.rsplit('-').next().unwrap_or_default();
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase()) && !part.ends_with(".md")
}

fn links(file: &File) -> Vec<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut out = Vec::new();
    for rest in file.text.split("](").skip(1) {
        let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
        if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        out.push(parts.join("/"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let file = File {
            path: path.into(),
            text: text.into(),
        };
        check(&[file], &|path| {
            ["crates/core", "docs/a.md", "docs", "testdata/images"].contains(&path)
        })
    }

    #[test]
    fn what_is_not_there_is_found() {
        assert_eq!(
            found("README.md", "see `crates/none`"),
            ["README.md: `crates/none` does not exist"]
        );
        assert_eq!(
            found("docs/b.md", "[x](../none.md)"),
            ["docs/b.md: `none.md` does not exist"]
        );
    }

    #[test]
    fn what_is_there_and_what_is_no_path_is_not() {
        let text = "`crates/core` [a](docs/a.md#part) [w](https://x/y) `a/b` `testdata/images/NAME/image.toml`\n\
                    ```text\ncrates/none\n```\n`docs/*.md`";
        assert_eq!(found("README.md", text), [""; 0]);
        assert_eq!(found("docs/b.md", "[x](a.md) [y](../crates/core)"), [""; 0]);
    }
}
