//! A small tree of files as one text, in which digests have names: a change of a file changes all digests of the file.
//!
//! ```text
//! %%% - blobs/sha256/{{1}}
//! {"layers":[{"digest":"sha256:{{2}}","size":{{2#}}}]}
//! %%% tz blobs/sha256/{{2}}
//! …
//! ```
//!
//! A line `%%% FLAGS PATH` begins a part; its content ends before the next such line. In paths and contents `{{2}}` is
//! the SHA-256 of the second part as it is stored, `{{2=}}` that of its content before compression, `{{2~}}` the first
//! 64 digits of its SHA-512, and `{{2#}}` its size. A digest in a circle is zeros.
//!
//! | flag | meaning |
//! | --- | --- |
//! | `-` | none |
//! | `t` | the content is a tar, whose checksums are made right |
//! | `z` | the content is compressed as gzip |
//! | `l` | a symbolic link, whose target is the content |
//! | `d` | a directory |
//! | `x` | no file: the part is there for its digest |
//! | `p` | a private file, which nobody else may read |

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path};

use imgconv_testkit::{sha256_hex, sha512_hex};

use crate::cage;
use crate::repair;

/// What begins a part.
const MARK: &[u8] = b"%%% ";
/// The most parts; more are not read.
const PARTS: usize = 256;
/// The most bytes of all contents, since names of digests are shorter than digests.
const MOST: usize = 4 << 20;
/// The digits of a digest in a circle.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The flags.
    pub flags: Vec<u8>,
    /// The path, with names of digests.
    pub path: Vec<u8>,
    /// The content, with names of digests.
    pub content: Vec<u8>,
}

/// A part with the digests in the place of their names.
#[derive(Clone, Debug)]
pub struct Made {
    /// The flags.
    pub flags: Vec<u8>,
    /// The path.
    pub path: Vec<u8>,
    /// The content before compression.
    pub plain: Vec<u8>,
    /// The content as it is stored.
    pub stored: Vec<u8>,
}

impl Made {
    fn has(&self, flag: u8) -> bool {
        self.flags.contains(&flag)
    }

    /// Says whether the part is a plain file.
    pub fn is_file(&self) -> bool {
        !self.has(b'x') && !self.has(b'l') && !self.has(b'd')
    }
}

/// Reads the parts of a text. Bytes before the first part are ignored.
pub fn parse(text: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = match text.starts_with(MARK) {
        true => Some(0),
        false => next(text, 0),
    };
    while let Some(start) = at
        && parts.len() < PARTS
    {
        at = next(text, start);
        let part = &text[start + MARK.len()..at.map_or(text.len(), |end| end - 1)];
        let line = part.iter().position(|byte| *byte == b'\n');
        let (head, content) = match line {
            Some(end) => (&part[..end], &part[end + 1..]),
            None => (part, &part[part.len()..]),
        };
        let space = head.iter().position(|byte| *byte == b' ');
        let space = space.unwrap_or(head.len());
        parts.push(Part {
            flags: head[..space].to_vec(),
            path: head.get(space + 1..).unwrap_or_default().to_vec(),
            content: content.to_vec(),
        });
    }
    parts
}

/// Finds the mark at the beginning of a line after `start`.
fn next(text: &[u8], start: usize) -> Option<usize> {
    let at = text[start..]
        .windows(5)
        .position(|window| window == b"\n%%% ");
    at.map(|at| start + at + 1)
}

/// Writes parts as a text.
pub fn print(parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(MARK);
        out.extend_from_slice(&part.flags);
        out.push(b' ');
        out.extend_from_slice(&part.path);
        out.push(b'\n');
        out.extend_from_slice(&part.content);
        out.push(b'\n');
    }
    out.pop();
    out
}

/// Makes the parts: digests come into the place of their names.
pub fn make(parts: &[Part]) -> Vec<Made> {
    let mut maker = Maker {
        parts,
        made: vec![State::Open; parts.len()],
        left: MOST,
    };
    (0..parts.len()).for_each(|part| maker.make(part));
    let made = maker.made.into_iter();
    made.filter_map(|state| match state {
        State::Made(made) => Some(made),
        State::Open | State::Busy => None,
    })
    .collect()
}

#[derive(Clone)]
enum State {
    Open,
    Busy,
    Made(Made),
}

struct Maker<'a> {
    parts: &'a [Part],
    made: Vec<State>,
    left: usize,
}

impl Maker<'_> {
    fn make(&mut self, place: usize) {
        if !matches!(self.made[place], State::Open) {
            return;
        }
        self.made[place] = State::Busy;
        let part = &self.parts[place];
        let mut plain = self.expand(&part.content);
        plain.truncate(self.left);
        self.left -= plain.len();
        let has = |flag| part.flags.contains(&flag);
        if has(b't') {
            plain = repair::tar(&plain);
        }
        let stored = match has(b'z') {
            true => repair::gzip(&plain),
            false => plain.clone(),
        };
        self.made[place] = State::Made(Made {
            flags: part.flags.clone(),
            path: Vec::new(),
            plain,
            stored,
        });
        // A path may name the digest of its own content.
        let path = self.expand(&part.path);
        if let State::Made(made) = &mut self.made[place] {
            made.path = path;
        }
    }

    /// Puts digests in the place of their names.
    fn expand(&mut self, text: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.windows(2).position(|window| window == b"{{") {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + 2..];
            let end = rest.iter().take(8).position(|byte| *byte == b'}');
            let name = end.and_then(|end| {
                let ends = rest.get(end + 1) == Some(&b'}');
                ends.then_some((end, &rest[..end]))
            });
            let value = name.and_then(|(end, name)| Some((end, self.value(name)?)));
            match value {
                Some((end, value)) => {
                    out.extend_from_slice(value.as_bytes());
                    rest = &rest[end + 2..];
                }
                None => out.extend_from_slice(b"{{"),
            }
        }
        out.extend_from_slice(rest);
        out
    }

    fn value(&mut self, name: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(name).ok()?;
        let digits = text.trim_end_matches(['=', '~', '#']);
        let place = digits.parse::<usize>().ok()?.checked_sub(1)?;
        if place >= self.parts.len() {
            return None;
        }
        self.make(place);
        let kind = &text[digits.len()..];
        let State::Made(made) = &self.made[place] else {
            return Some(if kind == "#" { "0" } else { ZEROS }.to_owned());
        };
        Some(match kind {
            "" => sha256_hex(&made.stored),
            "=" => sha256_hex(&made.plain),
            "~" => sha512_hex(&made.stored)[..64].to_owned(),
            "#" => made.stored.len().to_string(),
            _ => return None,
        })
    }
}

/// Writes the files of a text below a folder. Paths that would leave the folder are left out, and links come last, so
/// that nothing is written through them.
pub fn write(text: &[u8], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let made = make(&parse(text));
    for part in &made {
        let Some(path) = inside(&part.path) else {
            continue;
        };
        let path = folder.join(path);
        if part.has(b'd') {
            let _ = fs::create_dir_all(path);
        } else if part.is_file() {
            let above = path.parent().unwrap_or(folder);
            let _ = fs::create_dir_all(above).and_then(|()| fs::write(&path, &part.stored));
            if part.has(b'p') {
                let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
            }
        }
    }
    for part in made.iter().filter(|part| part.has(b'l')) {
        if let Some(path) = inside(&part.path) {
            let path = folder.join(path);
            let above = path.parent().unwrap_or(folder);
            // A directory that an earlier link leads to is outside.
            let real = fs::canonicalize(above).ok();
            let root = fs::canonicalize(folder).ok();
            if real
                .zip(root)
                .is_some_and(|(real, root)| real.starts_with(root))
            {
                let target = std::ffi::OsStr::from_bytes(&part.plain);
                let _ = symlink(target, path);
            }
        }
    }
}

/// A path that stays inside.
fn inside(path: &[u8]) -> Option<&Path> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let is_good = path.components().all(plain) && path.components().next().is_some();
    is_good.then_some(path)
}

/// Makes a text of the files below a folder.
pub fn from_folder(folder: &Path) -> Vec<u8> {
    let files = cage::files(folder).into_iter();
    from_files(
        files
            .map(|(path, bytes)| (path.as_os_str().as_bytes().to_vec(), bytes))
            .collect(),
    )
}

/// Makes a text of the files of a tar.
pub fn from_tar(tar: &[u8]) -> Vec<u8> {
    let notes = imgconv_model::Notes::default();
    let mut reader = imgconv_tar::Reader::new(tar, &cage::limits(), &notes, "seed");
    let mut files = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        if entry.kind == imgconv_tar::EntryKind::Regular {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            files.push((entry.path, bytes));
        }
    }
    from_files(files)
}

/// Makes a text of files, in which digests and sizes have names.
pub fn from_files(files: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let (mut known, mut sizes) = (BTreeMap::new(), BTreeMap::new());
    let mut parts = Vec::new();
    for (path, bytes) in files {
        let number = parts.len() + 1;
        let mut plain = Vec::new();
        let is_gzip = bytes.starts_with(&[0x1f, 0x8b])
            && flate2::read::MultiGzDecoder::new(&bytes[..])
                .read_to_end(&mut plain)
                .is_ok();
        if !is_gzip {
            plain.clone_from(&bytes);
        }
        let mut flags = Vec::new();
        if plain.len() >= 1024 && plain.len().is_multiple_of(512) && repair::tar(&plain) == plain {
            flags.push(b't');
        }
        if is_gzip {
            flags.push(b'z');
        }
        if flags.is_empty() {
            flags.push(b'-');
        }
        known.insert(sha256_hex(&plain), format!("{{{{{number}=}}}}"));
        known.insert(sha256_hex(&bytes), format!("{{{{{number}}}}}"));
        known.insert(
            sha512_hex(&bytes)[..64].to_owned(),
            format!("{{{{{number}~}}}}"),
        );
        sizes.insert(bytes.len().to_string(), format!("{{{{{number}#}}}}"));
        parts.push(Part {
            flags,
            path,
            content: plain,
        });
    }
    // The chain IDs of engines are digests of two digests.
    loop {
        let mut found = None;
        let digests: Vec<String> = (parts.iter())
            .flat_map(|part| [hex_runs(&part.path), hex_runs(&part.content)])
            .flatten()
            .collect();
        let unknown: Vec<&String> = (digests.iter())
            .filter(|one| !known.contains_key(*one))
            .collect();
        'all: for upper in known.keys().filter(|_| !unknown.is_empty()) {
            for lower in known.keys() {
                let text = format!("sha256:{lower} sha256:{upper}");
                let chain = sha256_hex(text.as_bytes());
                if unknown.contains(&&chain) {
                    found = Some((chain, text));
                    break 'all;
                }
            }
        }
        let Some((chain, text)) = found else { break };
        let number = parts.len() + 1;
        known.insert(chain, format!("{{{{{number}}}}}"));
        parts.push(Part {
            flags: b"x".to_vec(),
            path: Vec::new(),
            content: text.into_bytes(),
        });
    }
    for part in &mut parts {
        part.path = named(&part.path, &known);
        if std::str::from_utf8(&part.content).is_ok() && !part.flags.contains(&b't') {
            part.content = sized(&named(&part.content, &known), &sizes);
        }
    }
    print(&parts)
}

/// Finds the runs of 64 hex digits.
fn hex_runs(text: &[u8]) -> Vec<String> {
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let runs = text.split(|byte| !is_hex(byte));
    runs.filter(|run| run.len() == 64)
        .map(|run| String::from_utf8_lossy(run).into_owned())
        .collect()
}

fn named(text: &[u8], known: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = text.to_vec();
    for run in hex_runs(text) {
        if let Some(name) = known.get(&run) {
            out = replace(&out, run.as_bytes(), name.as_bytes());
        }
    }
    out
}

/// Names the sizes of files in `"size":N`.
fn sized(text: &[u8], sizes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = text.to_vec();
    for (size, name) in sizes.iter().filter(|(size, _)| size.len() > 2) {
        for end in [",", "}"] {
            let old = format!("\"size\":{size}{end}");
            let new = format!("\"size\":{name}{end}");
            out = replace(&out, old.as_bytes(), new.as_bytes());
        }
    }
    out
}

fn replace(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        if text[at..].starts_with(old) {
            out.extend_from_slice(new);
            at += old.len();
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_files_are_named_and_made_again() {
        let inner = b"0123456789".repeat(20);
        let digest = sha256_hex(&inner);
        let outer = format!("{{\"digest\":\"sha256:{digest}\",\"size\":200}}");
        let files = vec![
            (b"outer".to_vec(), outer.clone().into_bytes()),
            (format!("blobs/{digest}").into_bytes(), inner.clone()),
        ];
        let text = from_files(files);
        let shown = String::from_utf8(text.clone()).unwrap();
        assert!(
            shown.contains("\"sha256:{{2}}\",\"size\":{{2#}}}"),
            "{shown}"
        );
        assert!(shown.contains("%%% - blobs/{{2}}\n"), "{shown}");
        assert_eq!(print(&parse(&text)), text);
        let made = make(&parse(&text));
        assert_eq!(made[0].stored, outer.as_bytes());
        assert_eq!(made[1].path, format!("blobs/{digest}").as_bytes());
    }

    #[test]
    fn nothing_is_written_outside() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("in");
        write(
            b"%%% l a\n..\n%%% - a/x\nx\n%%% - ../y\ny\n%%% l b\n..\n%%% l b/c\nz",
            &inner,
        );
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1);
        assert!(inner.join("a/x").is_file());
    }
}
