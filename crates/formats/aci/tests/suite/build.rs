//! Archives and images as literals.

use std::{io::Read, sync::Arc};

use imgconv_format_aci::{Aci, Decoded, ExpectedImage, decode_stream};
use imgconv_model::{Blob, Env, Error, Facts, Image, Platform, Report, Result, StreamFormat};
use imgconv_tar::{END, Entry, EntryKind, head, padding};

/// A manifest with nothing but what is required.
pub(crate) const SMALL: &str =
    r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"}"#;

pub(crate) fn env() -> Env {
    Env::new("/tmp", Platform::new("linux", "amd64"))
}

pub(crate) fn blob(bytes: &[u8]) -> Blob {
    Blob {
        facts: Facts::default(),
        bytes: Arc::new(Arc::<[u8]>::from(bytes)),
    }
}

/// One member. `text` is `NAME`, `NAME/`, `NAME=CONTENT`, `NAME=>HARD LINK`, `NAME->SYMLINK`,
/// `NAME|` (a FIFO).
pub(crate) fn member(text: &str) -> (Entry, Vec<u8>) {
    let mut entry = Entry::new(Vec::new(), EntryKind::Regular);
    let mut body = Vec::new();
    let path = if let Some((path, target)) = text.split_once("=>") {
        entry.kind = EntryKind::HardLink;
        entry.link = target.into();
        path
    } else if let Some((path, target)) = text.split_once("->") {
        entry.kind = EntryKind::Symlink;
        entry.link = target.into();
        path
    } else if let Some((path, content)) = text.split_once('=') {
        body = content.into();
        path
    } else if let Some(path) = text.strip_suffix('|') {
        entry.kind = EntryKind::Fifo;
        path
    } else {
        if text.ends_with('/') {
            entry.kind = EntryKind::Directory;
            entry.mode = 0o755;
        }
        text
    };
    entry.path = path.into();
    entry.size = body.len() as u64;
    (entry, body)
}

pub(crate) fn tar_of(members: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (entry, body) in members {
        out.extend(head(entry).unwrap());
        out.extend(body);
        out.resize(out.len() + padding(entry.size), 0);
    }
    out.extend(END);
    out
}

pub(crate) fn tar(members: &[&str]) -> Vec<u8> {
    let members: Vec<_> = members.iter().map(|text| member(text)).collect();
    tar_of(&members)
}

/// An archive of a manifest, `rootfs` and members below it.
pub(crate) fn aci(manifest: &str, members: &[&str]) -> Vec<u8> {
    let manifest = format!("manifest={manifest}");
    let mut all = vec![&*manifest, "rootfs/"];
    all.extend(members);
    tar(&all)
}

pub(crate) fn decode_with(bytes: &[u8], env: &Env) -> Result<Decoded> {
    decode_stream(&blob(bytes), "test.aci", &ExpectedImage::default(), env)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded> {
    decode_with(bytes, &env())
}

pub(crate) fn layer(decoded: &Decoded) -> Result<Vec<u8>> {
    read(decoded.image.layers[0].blob.open()?)
}

pub(crate) fn read(mut reader: impl Read) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.read_to_end(&mut out).map_err(Error::from_io)?;
    Ok(out)
}

/// Reads an ACI to its end, both passes.
pub(crate) fn both(bytes: &[u8]) -> Result<Vec<String>> {
    let decoded = decode(bytes)?;
    Ok(names(&layer(&decoded)?))
}

/// The members of a tar, in the notation of [`member`], without contents.
pub(crate) fn names(tar: &[u8]) -> Vec<String> {
    let env = env();
    let mut reader = imgconv_tar::Reader::new(tar, &env.limits, &env.notes, "test");
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let text = String::from_utf8_lossy(&entry.path).into_owned();
        let link = String::from_utf8_lossy(&entry.link).into_owned();
        names.push(match entry.kind {
            EntryKind::HardLink => format!("{text}=>{link}"),
            EntryKind::Symlink => format!("{text}->{link}"),
            EntryKind::Fifo => format!("{text}|"),
            _ => text,
        });
    }
    names
}

/// The warnings of both passes over an ACI.
pub(crate) fn warnings(bytes: &[u8]) -> Vec<&'static str> {
    let env = env();
    let decoded = decode_with(bytes, &env).unwrap();
    layer(&decoded).unwrap();
    env.notes
        .take()
        .warnings
        .iter()
        .map(|warning| warning.code)
        .collect()
}

pub(crate) fn encode(image: &Image) -> Result<(Vec<u8>, Report)> {
    let mut report = Report::default();
    let stream = Aci.encode(image, None, &env(), &mut report)?;
    Ok((read(stream.open()?)?, report))
}

/// The manifest of an ACI, as text.
pub(crate) fn manifest_of(aci: &[u8]) -> String {
    let decoded = decode(aci).unwrap();
    let original = &decoded.image.originals.last().unwrap().document.bytes;
    String::from_utf8(original.to_vec()).unwrap()
}

pub(crate) fn losses(report: &Report) -> Vec<String> {
    let mut report = report.clone();
    report.sort();
    let one = |loss: &imgconv_model::Loss| format!("{} {}", loss.field, loss.outcome);
    report.losses.iter().map(one).collect()
}
