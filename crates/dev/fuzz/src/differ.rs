//! The members of tars as lines of JSON, for comparing with the readers of Go and Python.
//!
//! A tar that imgconv reads must have the same members there: what another program unpacks is what was converted. What
//! imgconv refuses is not compared.

use std::fs;
use std::io;
use std::path::Path;

use imgconv_tar::EntryKind;
use imgconv_testkit::sha256_hex;
use serde_json::json;

use crate::{repair, targets};

/// Reads the files of some folders as tars, with right checksums. The tars that imgconv reads are written to `out`,
/// and their members to `out/ours.jsonl`. Returns the number of tars.
///
/// # Errors
/// If a file can't be read or written.
pub fn write(folders: &[&Path], out: &Path) -> io::Result<usize> {
    fs::create_dir_all(out)?;
    let (mut lines, mut count) = (String::new(), 0);
    for folder in folders {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            paths.push(entry?.path());
        }
        paths.sort();
        for path in paths {
            let tar = repair::tar(&fs::read(path)?);
            let Ok(members) = targets::members(&tar[..]) else {
                continue;
            };
            let file = out.join(format!("{}.tar", &sha256_hex(&tar)[..16]));
            fs::write(&file, &tar)?;
            let members: Vec<_> = members
                .iter()
                .map(|(entry, body)| line(entry, body))
                .collect();
            lines += &json!({ "file": file.to_string_lossy(), "members": members }).to_string();
            lines.push('\n');
            count += 1;
        }
    }
    fs::write(out.join("ours.jsonl"), lines)?;
    Ok(count)
}

/// A member: name and target of a link in hexadecimal digits, kind, mode, owner, group, seconds, size, digest.
fn line(entry: &imgconv_tar::Entry, body: &[u8]) -> serde_json::Value {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let size = match entry.kind {
        EntryKind::Regular => entry.size,
        _ => 0,
    };
    json!([
        hex(&entry.path),
        format!("{:?}", entry.kind),
        entry.mode,
        entry.uid,
        entry.gid,
        entry.mtime.seconds,
        size,
        hex(&entry.link),
        sha256_hex(body),
    ])
}
