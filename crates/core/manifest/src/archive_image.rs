//! One image as docker stores and saves it: a config and plain layers, which have names.
//!
//! Files of `docker save` and the data of an engine hold such images. There is no manifest of a
//! registry; the root document is an entry of `manifest.json`, as `docker save` has written it
//! since Docker 1.10. The format reads the config.

use imgconv_json::{Map, Value, canonical};
use imgconv_model::{Algorithm, Child, Document};
use imgconv_stream::digest;

use crate::media_type;

/// The kind of a root document that is one entry of `manifest.json`.
pub const KIND: &str = media_type::ARCHIVE_IMAGE;

/// The field of a root document that lists the positions of layers whose tars the engine did not
/// keep: these tars are made anew from extracted files, and the diff IDs of the config do not hold
/// for them. The field belongs to this project; docker writes none.
pub const REMADE: &str = "RemadeLayers";

/// Makes the root document of an image. `config` and `layers` (base first) are the names by which
/// [`NamedBlobs::member`](imgconv_model::NamedBlobs::member) finds the bytes; a name
/// `blobs/sha256/HEX` also claims their digest. `remade` are the positions that [`REMADE`] lists.
pub fn document(config: &str, layers: &[String], remade: &[usize]) -> Document {
    let mut entry = Map::new();
    entry.insert("Config".into(), Value::from(config));
    entry.insert("RepoTags".into(), Value::Null);
    let layers = layers.iter().map(|name| Value::from(&**name)).collect();
    entry.insert("Layers".into(), Value::Array(layers));
    if !remade.is_empty() {
        entry.insert(REMADE.into(), Value::from(remade.to_vec()));
    }
    Document {
        kind: KIND.to_owned(),
        bytes: canonical(&Value::Object(entry)).into(),
    }
}

/// Makes the descriptor of a root document.
pub fn child(document: &Document) -> Child {
    let bytes = &document.bytes;
    Child::new(KIND, digest(Algorithm::Sha256, bytes), bytes.len() as u64)
}
