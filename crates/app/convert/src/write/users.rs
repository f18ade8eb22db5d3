//! The group of a user that an image names without one, as Docker finds it: in the image's own
//! `/etc/passwd`, which is looked for in the merged root file system.
//!
//! The rules are those of runc's user package, which Docker, podman and containerd share: the first
//! line with the user's name, or with the user's number if the user is a number; fields that are no
//! numbers count as 0; a number that no line has gets group 0.

use std::io::{BufRead as _, BufReader, Read as _};

use imgconv_format_aci::user_without_group;
use imgconv_layer::{Node, Tree};
use imgconv_model::{Env, Error, Image, Report, Result, quote};
use imgconv_pipeline::Merged;
use imgconv_tar::EntryKind;

/// The most bytes of an `/etc/passwd` that are read; a real file with thousands of users has a
/// tenth of it.
const LONGEST: u64 = 4 << 20;

/// The group of a user that an image names without one, in a merged root file system; `None` if the image
/// names a group, or no user. A name that is not found there is reported: Docker would not start the
/// image.
///
/// # Errors
/// If a file can't be read.
pub(crate) fn group_of_user(
    image: &Image,
    merged: &Merged,
    env: &Env,
    report: &mut Report,
) -> Result<Option<u32>> {
    let user = image.config.user.as_deref().and_then(user_without_group);
    let Some(user) = user else { return Ok(None) };
    let number: Option<u32> = user.parse().ok();
    let found = match find(&merged.tree, b"etc/passwd", env.limits.link_hops) {
        Some(node) if node.kind == EntryKind::Regular => {
            if node.size > LONGEST {
                let message = format!(
                    "only the first {LONGEST} bytes of the file are searched for the user {}",
                    quote(&user)
                );
                report.warn("large-passwd", "/etc/passwd", message);
            }
            let contents = merged.contents.open(node.content, node.size);
            search(contents.take(LONGEST), user.as_bytes(), number)?
        }
        _ => None,
    };
    if found.is_none() && number.is_none() {
        let message = format!(
            "{} is not in the image's `/etc/passwd`, so the group of the user is unknown; 0 is \
             used",
            quote(&user)
        );
        report.warn("unknown-user", "config.User", message);
    }
    Ok(Some(found.unwrap_or(0)))
}

/// The group in the first line that matches the user.
fn search(passwd: impl std::io::Read, user: &[u8], number: Option<u32>) -> Result<Option<u32>> {
    for line in BufReader::new(passwd).split(b'\n') {
        let line = line.map_err(|error| Error::from_io(error).at("/etc/passwd"))?;
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let mut fields = text.split(|byte| *byte == b':');
        let name = fields.next().unwrap_or_default();
        let mut fields = fields.skip(1);
        let mut number_of = || -> u32 {
            let field = fields.next().and_then(|field| str::from_utf8(field).ok());
            field.and_then(|field| field.parse().ok()).unwrap_or(0)
        };
        let (uid, gid) = (number_of(), number_of());
        if name == user || number == Some(uid) {
            return Ok(Some(gid));
        }
    }
    Ok(None)
}

/// The node that a path leads to inside the root, over symbolic links; `..` above the root stays
/// there.
fn find<'t>(tree: &'t Tree, path: &[u8], most: u64) -> Option<Node<'t>> {
    let split = |path: &[u8]| -> Vec<Vec<u8>> {
        let parts = path.split(|byte| *byte == b'/');
        parts.rev().map(<[u8]>::to_vec).collect()
    };
    let mut left = split(path);
    let mut at: Vec<Vec<u8>> = Vec::new();
    let mut hops = 0;
    while let Some(part) = left.pop() {
        match &*part {
            b"" | b"." => continue,
            b".." => {
                at.pop();
                continue;
            }
            _ => at.push(part),
        }
        let node = tree.get(&at.join(&b'/'))?;
        if node.kind == EntryKind::Symlink {
            hops += 1;
            if hops > most {
                return None;
            }
            at.pop();
            if node.link.starts_with(b"/") {
                at.clear();
            }
            left.extend(split(node.link));
        }
    }
    tree.get(&at.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k32_a_line_is_found_as_runc_finds_it() {
        let passwd = b"\n  root:x:0:0:root:/root:/bin/sh\n#nobody:x:1:1::/:\nbad:x:y:z\nshort\n\
            nobody:x:65534:99::/:/bin/false\nnobody:x:1:2::/:\n1000:x:7:8::/:\nu:x:1000:9::/:\r\n\
            \xff\xff:x:500:501::/:\nlast:x:9:10";
        for (user, group) in [
            ("root", Some(0)),
            ("nobody", Some(99)),
            ("65534", Some(99)),
            // The name comes first in the file.
            ("1000", Some(8)),
            ("u", Some(9)),
            ("500", Some(501)),
            ("last", Some(10)),
            ("bad", Some(0)),
            ("short", Some(0)),
            ("0", Some(0)),
            ("absent", None),
            ("4242", None),
        ] {
            let found = search(&passwd[..], user.as_bytes(), user.parse().ok()).unwrap();
            assert_eq!(found, group, "{user}");
        }
    }
}
