//! From bytes back to text: a tar as recipe lines, an ACI or a layout as documents and lines.
//!
//! The text is stored in golden files, so a change of format shows in review as text. A damaged
//! file is a failure here, not a finding.

use std::fs;
use std::io::Read;
use std::path::Path;

use imgconv_model::{Limits, Notes};
use imgconv_tar::{EntryKind, Reader};
use serde_json::Value;

use crate::recipe::{self, Body};
use crate::{Failure, Result, sha256_hex, sha256_of};

/// The largest body that is printed in full.
const INLINE: u64 = 4096;

/// Prints an uncompressed tar as recipe lines, in its own order.
pub fn tar_lines(tar: &mut dyn Read, what: &str) -> Result<Vec<String>> {
    let notes = Notes::default();
    let mut reader = Reader::new(tar, &Limits::default(), &notes, what);
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut body = Body::Bytes(Vec::new());
        if entry.kind == EntryKind::Regular {
            let wrong = |e| Failure::from(imgconv_model::Error::io(e, what));
            body = if entry.size <= INLINE {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map_err(wrong)?;
                Body::Bytes(bytes)
            } else {
                let (size, hex) = sha256_of(&mut reader).map_err(wrong)?;
                Body::Digest(size, hex)
            };
        }
        lines.push(recipe::line(&entry, &body));
    }
    Ok(lines)
}

/// Prints the output of the program at `path`: an ACI, a layout, or a folder of ACIs.
pub fn output(path: &Path) -> Result<String> {
    let mut out = String::new();
    if path.is_file() {
        let bytes = fs::read(path).map_err(|e| Failure::io(path, &e))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        tar_text(&mut out, &format!("file {name}"), &bytes)?;
    } else if path.join("oci-layout").is_file() {
        layout(&mut out, path)?;
    } else {
        for name in names(path)? {
            out += &output(&path.join(name))?;
        }
    }
    Ok(out)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Failure::io(folder, &e))? {
        let entry = entry.map_err(|e| Failure::io(folder, &e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Prints every file of a layout: documents first (from `index.json` down), then other blobs.
fn layout(out: &mut String, folder: &Path) -> Result<()> {
    let marker = crate::read_text(&folder.join("oci-layout"))?;
    section(out, "oci-layout", "", &marker);
    let index = crate::read_text(&folder.join("index.json"))?;
    section(out, "index.json", "", &pretty(&index)?);
    let mut wanted = digests(&index)?;
    let mut next = 0;
    let mut tars = String::new();
    while next < wanted.len() {
        let digest = wanted[next].clone();
        next += 1;
        let path = folder.join("blobs").join(digest.replacen(':', "/", 1));
        let Ok(bytes) = fs::read(&path) else {
            section(out, &digest, "missing", "");
            continue;
        };
        if bytes.starts_with(b"{") {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            section(
                out,
                &digest,
                &format!("{} bytes", bytes.len()),
                &pretty(&text)?,
            );
            for more in digests(&text)? {
                if !wanted.contains(&more) {
                    wanted.push(more);
                }
            }
        } else {
            tar_text(&mut tars, &digest, &bytes)?;
        }
    }
    out.push_str(&tars);
    for algorithm in names(&folder.join("blobs"))? {
        for hex in names(&folder.join("blobs").join(&algorithm))? {
            let digest = format!("{algorithm}:{hex}");
            if !wanted.contains(&digest) {
                section(out, &digest, "nothing refers to it", "");
            }
        }
    }
    Ok(())
}

fn section(out: &mut String, title: &str, remark: &str, body: &str) {
    let gap = if remark.is_empty() { "" } else { ", " };
    *out += &format!("== {title}{gap}{remark}\n");
    *out += body.trim_end();
    if !body.is_empty() {
        out.push('\n');
    }
}

fn pretty(text: &str) -> Result<String> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| Failure::new(format!("not JSON ({e}): {text}")))?;
    serde_json::to_string_pretty(&value).map_err(|e| Failure::new(e.to_string()))
}

/// The digests of all descriptors of a document, in order.
fn digests(text: &str) -> Result<Vec<String>> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| Failure::new(format!("not JSON: {e}")))?;
    let mut out = Vec::new();
    for key in ["manifests", "config", "layers", "subject"] {
        let list = match &value[key] {
            Value::Array(list) => list.clone(),
            other => vec![other.clone()],
        };
        for descriptor in list {
            if let Some(digest) = descriptor["digest"].as_str() {
                out.push(digest.to_owned());
            }
        }
    }
    Ok(out)
}

/// Prints a tar, compressed or not; a JSON member `manifest` in full.
fn tar_text(out: &mut String, title: &str, stored: &[u8]) -> Result<()> {
    let (compression, tar) = expand(stored, title)?;
    let remark = format!(
        "{} bytes, {compression}; tar of {} bytes, sha256:{}",
        stored.len(),
        tar.len(),
        sha256_hex(&tar)
    );
    let lines = match tar_lines(&mut &tar[..], title) {
        Ok(lines) => lines,
        Err(_) => {
            section(
                out,
                title,
                &format!("{} bytes, not a tar", stored.len()),
                "",
            );
            return Ok(());
        }
    };
    section(out, title, &remark, &lines.join("\n"));
    if let Some(manifest) = aci_manifest(&tar) {
        section(out, &format!("{title} manifest"), "", &pretty(&manifest)?);
    }
    Ok(())
}

fn aci_manifest(tar: &[u8]) -> Option<String> {
    let notes = Notes::default();
    let mut reader = Reader::new(tar, &Limits::default(), &notes, "manifest");
    while let Some(entry) = reader.next_entry().ok()? {
        if entry.path == b"manifest" {
            let mut text = String::new();
            reader.read_to_string(&mut text).ok()?;
            return Some(text);
        }
    }
    None
}

fn expand(stored: &[u8], what: &str) -> Result<(&'static str, Vec<u8>)> {
    let mut tar = Vec::new();
    let (name, result) = if stored.starts_with(&[0x1f, 0x8b]) {
        (
            "gzip",
            flate2::read::MultiGzDecoder::new(stored).read_to_end(&mut tar),
        )
    } else if stored.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::new(stored);
        (
            "zstd",
            decoder.and_then(|mut decoder| decoder.read_to_end(&mut tar)),
        )
    } else {
        tar = stored.to_vec();
        ("plain", Ok(0))
    };
    result.map_err(|e| Failure::new(format!("{what}: {name}: {e}")))?;
    Ok((name, tar))
}
