//! Writing tars by hand, apart from the code under test: files of `docker save` around layers.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use imgconv_testkit::{sha256_hex, sha256_of};
use serde_json::json;

use crate::process::Result;

/// Bytes of a block of a tar.
const BLOCK: u64 = 512;

/// Returns the header of a member: a file, or a directory if the name ends with a slash.
pub(super) fn header(name: &str, size: u64) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    block[..name.len()].copy_from_slice(name.as_bytes());
    let is_directory = name.ends_with('/');
    let mut octal = |at: usize, width: usize, value: u64| {
        let text = format!("{value:0width$o}", width = width - 1);
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    octal(100, 8, if is_directory { 0o755 } else { 0o644 });
    octal(108, 8, 0);
    octal(116, 8, 0);
    octal(136, 12, 1_700_000_000);
    if size < 8 << 30 {
        octal(124, 12, size);
    } else {
        // A number of more than eleven digits is written in binary, as GNU tar does.
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[148..156].fill(b' ');
    block[156] = if is_directory { b'5' } else { b'0' };
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    block[148..156].copy_from_slice(text.as_bytes());
    block
}

/// Returns how many bytes fill the last block of a body.
pub(super) fn padding(size: u64) -> usize {
    ((BLOCK - size % BLOCK) % BLOCK) as usize
}

/// A layer: the bytes of its tar, and how many they are.
pub(super) struct Layer {
    pub(super) size: u64,
    pub(super) bytes: Box<dyn Read>,
}

/// An image of a file of `docker save`.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) name: String,
    /// Positions of its layers, base first.
    pub(super) layers: Vec<usize>,
}

/// Writes a file of `docker save` with one image of all layers, `example.com/bench:1`.
pub(super) fn write(path: &Path, layers: Vec<Layer>) -> Result {
    let image = Image {
        name: "example.com/bench:1".to_owned(),
        layers: (0..layers.len()).collect(),
    };
    write_all(path, layers, &[image])
}

/// Writes a file of `docker save` with images that share layers, base first and uncompressed.
pub(super) fn write_all(path: &Path, layers: Vec<Layer>, images: &[Image]) -> Result {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let file = File::create(path).map_err(failed)?;
    let mut tar = BufWriter::with_capacity(1 << 20, file);
    let (mut names, mut diff_ids) = (Vec::new(), Vec::new());
    for (i, layer) in layers.into_iter().enumerate() {
        let name = format!("{}/layer.tar", layer_id(i));
        tar.write_all(&header(&name, layer.size)).map_err(failed)?;
        let mut copied = Copied {
            from: layer.bytes,
            to: &mut tar,
        };
        let (size, digest) = sha256_of(&mut copied).map_err(failed)?;
        if size != layer.size {
            return Err(format!("layer {i} has {size} bytes, not {}", layer.size));
        }
        tar.write_all(&[0; BLOCK as usize][..padding(size)])
            .map_err(failed)?;
        names.push(name);
        diff_ids.push(format!("sha256:{digest}"));
    }
    let (mut documents, mut list) = (Vec::new(), Vec::new());
    for image in images {
        let pick = |of: &[String]| {
            image
                .layers
                .iter()
                .map(|i| of[*i].clone())
                .collect::<Vec<_>>()
        };
        let config = config(&image.name, &pick(&diff_ids));
        let config_name = format!("{}.json", sha256_hex(config.as_bytes()));
        list.push(json!({
            "Config": config_name, "RepoTags": [image.name], "Layers": pick(&names),
        }));
        documents.push((config_name, config));
    }
    documents.push(("manifest.json".to_owned(), json!(list).to_string()));
    if let [image] = images {
        documents.extend(older_documents(image));
    }
    for (name, text) in documents {
        let size = text.len() as u64;
        tar.write_all(&header(&name, size))
            .and_then(|()| tar.write_all(text.as_bytes()))
            .and_then(|()| tar.write_all(&[0; BLOCK as usize][..padding(size)]))
            .map_err(failed)?;
    }
    tar.write_all(&[0; 2 * BLOCK as usize])
        .and_then(|()| tar.flush())
        .map_err(failed)
}

/// The ID of a layer in the manner of engines before 1.10: not a digest, and not checked as one.
fn layer_id(layer: usize) -> String {
    format!("{layer:064x}")
}

/// The documents of engines before 1.10, which docker2aci needs.
fn older_documents(image: &Image) -> Vec<(String, String)> {
    let mut documents = Vec::new();
    let mut parent = None;
    for layer in &image.layers {
        let id = layer_id(*layer);
        let mut json = json!({ "id": id, "architecture": "amd64", "os": "linux" });
        if let Some(parent) = &parent {
            json["parent"] = json!(parent);
        }
        documents.push((format!("{id}/VERSION"), "1.0".to_owned()));
        documents.push((format!("{id}/json"), json.to_string()));
        parent = Some(id);
    }
    let (name, tag) = image
        .name
        .rsplit_once(':')
        .unwrap_or((&image.name, "latest"));
    let names = json!({ name: { tag: parent } });
    documents.push(("repositories".to_owned(), names.to_string()));
    documents
}

/// The config of an image, another for each name.
pub(super) fn config(name: &str, diff_ids: &[String]) -> String {
    json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Cmd": ["/bin/true"], "Labels": { "name": name } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string()
}

/// A reader that copies all bytes to a writer.
struct Copied<'a> {
    from: Box<dyn Read>,
    to: &'a mut dyn Write,
}

impl Read for Copied<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buf)?;
        self.to.write_all(&buf[..count])?;
        Ok(count)
    }
}
