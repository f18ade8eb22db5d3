//! The manifest of the artifact that holds a record of reversal (`docs/reversal.md`).

use imgconv_json::{Map, Value, canonical};
use imgconv_manifest::media_type::OCI_MANIFEST;
use imgconv_model::{Child, Document};

/// The bytes of the config: such an artifact has none of its own (image-spec, "Guidance for an Empty
/// Descriptor").
pub(crate) const EMPTY: &[u8] = b"{}";

/// Makes the manifest of an artifact of that type about an image. The blobs are the config, the record and, for an ACI,
/// its signature.
pub(crate) fn artifact(
    kind: &str,
    subject: &Child,
    (config, layers): (&Child, &[&Child]),
    annotations: Map<String, Value>,
) -> Document {
    let layers: Vec<Value> = layers.iter().copied().map(descriptor).collect();
    let mut manifest = Map::new();
    for (key, value) in [
        ("schemaVersion", Value::from(2)),
        ("mediaType", OCI_MANIFEST.into()),
        ("artifactType", kind.into()),
        ("config", descriptor(config)),
        ("layers", layers.into()),
        ("subject", descriptor(subject)),
        ("annotations", annotations.into()),
    ] {
        manifest.insert(key.into(), value);
    }
    Document {
        kind: OCI_MANIFEST.to_owned(),
        bytes: canonical(&manifest.into()).into(),
    }
}

/// Returns the descriptor by which a list names the artifact: with its type, by which others find it.
pub(crate) fn listed(mut child: Child, kind: &str) -> Child {
    let mut object = match descriptor(&child) {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    object.insert("artifactType".into(), kind.into());
    child.raw = String::from_utf8_lossy(&canonical(&object.into())).into_owned();
    child
}

fn descriptor(child: &Child) -> Value {
    let mut object = Map::new();
    object.insert("mediaType".into(), (&*child.kind).into());
    object.insert("digest".into(), child.digest.to_string().into());
    object.insert("size".into(), child.size.into());
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use imgconv_manifest::media_type::{OCI_EMPTY, REVERSAL};
    use imgconv_model::{Algorithm, Digest};

    use super::*;
    use crate::read::reversal::{FILE, IMAGE_ID};

    #[test]
    fn the_manifest_is_an_artifact_about_the_image() {
        let child = |kind: &str, byte| {
            let digest = Digest::new(Algorithm::Sha256, &[byte; 32]);
            Child::new(kind, digest, u64::from(byte))
        };
        let (config, record) = (child(OCI_EMPTY, 2), child("r", 3));
        let id = Digest::new(Algorithm::Sha512, &[9; 64]);
        let mut annotations = Map::new();
        annotations.insert(IMAGE_ID.into(), id.image_id().into());
        annotations.insert(FILE.into(), "app.aci".into());
        let blobs = (&config, &[&record][..]);
        let made = artifact(REVERSAL, &child("m", 1), blobs, annotations);
        let text = String::from_utf8(made.bytes.to_vec()).expect("the manifest is text");
        let hex = |byte: u8, size| format!("{byte:02x}").repeat(size);
        let expected = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",\
             \"artifactType\":\"application/vnd.imgconv.reversal.v1\",\
             \"config\":{{\"mediaType\":\"{OCI_EMPTY}\",\"digest\":\"sha256:{}\",\"size\":2}},\
             \"layers\":[{{\"mediaType\":\"r\",\"digest\":\"sha256:{}\",\"size\":3}}],\
             \"subject\":{{\"mediaType\":\"m\",\"digest\":\"sha256:{}\",\"size\":1}},\
             \"annotations\":{{\"imgconv.reversal.image-id\":\"sha512-{}\",\
             \"imgconv.reversal.file\":\"app.aci\"}}}}",
            hex(2, 32),
            hex(3, 32),
            hex(1, 32),
            hex(9, 64),
        );
        assert_eq!(text, expected);
    }
}
