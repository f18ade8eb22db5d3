//! The names of the images, from containerd's database.

use std::{collections::BTreeMap, fs::File};

use imgconv_bolt::{Bucket, Database, Item};
use imgconv_model::{Child, Code, Digest, Error, Limits, Result, quote};

use crate::varint::varint;

/// An image that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// The namespaces that have that image under that name, in order.
    pub(crate) namespaces: Vec<String>,
    pub(crate) child: Child,
}

/// The contents of the database.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The images, by their names and then their digests.
    pub(crate) images: Vec<Named>,
    /// Every namespace that has images.
    pub(crate) namespaces: Vec<String>,
    /// The images with an unreadable descriptor: the name, and the error.
    pub(crate) broken: Vec<(String, Error)>,
}

/// Reads every name of every namespace, or of the wanted namespace.
pub(crate) fn read(file: File, wanted: Option<&str>, limits: &Limits) -> Result<Names> {
    let database = Database::open(file)?;
    let mut found: BTreeMap<(String, Digest), Named> = BTreeMap::new();
    let mut names = Names::default();
    let Some(version) = database.root().bucket(b"v1")? else {
        return Ok(names);
    };
    let mut count = 0u64;
    version.each(|namespace, item| {
        let Item::Bucket(bucket) = item else {
            return Ok(());
        };
        let namespace = String::from_utf8_lossy(namespace).into_owned();
        let Some(images) = bucket.bucket(b"images")? else {
            return Ok(());
        };
        let mut any = false;
        images.each(|name, item| {
            let Item::Bucket(image) = item else {
                return Ok(());
            };
            any = true;
            if wanted.is_some_and(|wanted| wanted != namespace) {
                return Ok(());
            }
            count += 1;
            if count > limits.graph_nodes {
                let what = "the number of images";
                return Err(Limits::exceeded("graph_nodes", limits.graph_nodes, what));
            }
            let name = String::from_utf8_lossy(name).into_owned();
            match target(&image) {
                Ok(child) => {
                    let key = (name.clone(), child.digest);
                    let named = found.entry(key).or_insert_with(|| Named {
                        name,
                        namespaces: Vec::new(),
                        child,
                    });
                    named.namespaces.push(namespace.clone());
                }
                Err(error) => names.broken.push((name, error)),
            }
            Ok(())
        })?;
        if any {
            names.namespaces.push(namespace);
        }
        Ok(())
    })?;
    names.images = found.into_values().collect();
    Ok(names)
}

/// Reads the descriptor of an image.
fn target(image: &Bucket<'_>) -> Result<Child> {
    let bad = |why: String| Error::new(Code::BadManifest, why);
    let Some(target) = image.bucket(b"target")? else {
        return Err(bad("the image has no descriptor".to_owned()));
    };
    let mut fields: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    target.each(|key, item| {
        if let Item::Value(value) = item {
            fields.insert(key.to_vec(), value);
        }
        Ok(())
    })?;
    let text = |key: &str| -> Result<String> {
        let value = fields.get(key.as_bytes()).cloned().unwrap_or_default();
        String::from_utf8(value).map_err(|_| bad(format!("the field `{key}` is not text")))
    };
    let digest = Digest::parse(&text("digest")?)?;
    let size = fields
        .get(b"size".as_slice())
        .and_then(|bytes| signed(bytes));
    let size = size.ok_or_else(|| bad("the field `size` is no size".to_owned()))?;
    Ok(Child::new(text("mediatype")?, digest, size))
}

/// Reads a signed varint of Go's `encoding/binary` that is not below zero.
fn signed(bytes: &[u8]) -> Option<u64> {
    // The lowest bit is the sign.
    let value = varint(bytes)?;
    (value & 1 == 0).then_some(value >> 1)
}

/// Makes the error for a namespace that has no images.
pub(crate) fn no_namespace(wanted: &str, namespaces: &[String]) -> Error {
    let message = format!("there is no namespace {} with images", quote(wanted));
    let known: Vec<String> = namespaces.iter().map(quote).collect();
    let hint = match known.is_empty() {
        true => "no namespace has any".to_owned(),
        false => format!("there are {}", known.join(", ")),
    };
    Error::new(Code::Missing, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::signed;

    #[test]
    fn sizes_are_read_as_go_writes_them() {
        // From Go: binary.PutVarint of 0, 1, 63, 64, 426 and 1 << 62.
        for (bytes, value) in [
            (&[0x00][..], Some(0)),
            (&[0x02], Some(1)),
            (&[0x7e], Some(63)),
            (&[0x80, 0x01], Some(64)),
            (&[0xd4, 0x06], Some(426)),
            (
                &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
                Some(1 << 62),
            ),
            (&[0x01], None),
            (&[0x80], None),
            (&[], None),
            (&[0xff; 11], None),
        ] {
            assert_eq!(signed(bytes), value, "{bytes:?}");
        }
    }
}
