//! The image that a signature or an attestation in a layout of `cosign save` is about. Such a
//! layout marks the kind of each entry by the annotation `kind`.

use imgconv_json::{Value, base64, parse};
use imgconv_manifest::find_document;
use imgconv_model::{Bundle, Child, Digest, Env, Result, RootEntry};

use super::node::Node;

/// The annotation of an entry.
const KIND: &str = "kind";
const PREFIX: &str = "dev.cosignproject.cosign/";
/// The kinds of entries that signatures and attestations are about.
const IMAGES: &[&str] = &["image", "imageIndex"];
/// Enough for the signed text of a signature.
const MOST_BLOBS: usize = 4;

/// Goes through the entries of a layout in their order.
#[derive(Debug, Default)]
pub struct Signed {
    /// The last image that was met.
    image: Option<Digest>,
}

impl Signed {
    /// Returns the image that an entry is about: the one that the signed text names, else the image
    /// before the entry. `None` if the entry is no signature.
    ///
    /// # Errors
    /// If the signed text can't be read.
    pub(super) fn subject(
        &mut self,
        entry: &RootEntry,
        node: &Node,
        bundle: &dyn Bundle,
        env: &Env,
    ) -> Result<Option<Digest>> {
        let Some((child, kind)) = kind(entry) else {
            return Ok(None);
        };
        if IMAGES.contains(&kind) {
            self.image = Some(child.digest);
            return Ok(None);
        }
        let Node::Opaque { opaque, .. } = node else {
            return Ok(self.image);
        };
        let blobs = opaque.blobs.iter();
        let json = blobs.filter(|blob| blob.kind.ends_with("json"));
        for blob in json.take(MOST_BLOBS) {
            if blob.size > env.limits.manifest {
                continue;
            }
            let text = find_document(bundle, blob, &env.limits)?;
            let named = parse(&text.bytes, &env.limits, "signed text").ok();
            if let Some(subject) = named.as_ref().and_then(|value| named_in(value, env)) {
                return Ok(Some(subject));
            }
        }
        Ok(self.image)
    }
}

/// The name of an entry about an image, for reports.
pub(crate) fn field(entry: &RootEntry) -> Option<String> {
    let (child, kind) = kind(entry)?;
    Some(format!("{PREFIX}{kind} {}", child.digest))
}

/// Says whether a layout of `cosign save` marks an entry as a document about an image.
pub(super) fn is_about_image(entry: &RootEntry) -> bool {
    kind(entry).is_some_and(|(_, kind)| !IMAGES.contains(&kind))
}

fn kind(entry: &RootEntry) -> Option<(&Child, &str)> {
    let child = entry.child.as_ref()?;
    Some((child, child.annotations.get(KIND)?.strip_prefix(PREFIX)?))
}

/// Reads the digest in a signed text: a simple signing document, or an in-toto statement in its
/// envelope.
fn named_in(value: &Value, env: &Env) -> Option<Digest> {
    let simple = value.pointer("/critical/image/docker-manifest-digest");
    if let Some(text) = simple.and_then(Value::as_str) {
        return Digest::parse(text).ok();
    }
    let payload = base64(value.get("payload")?.as_str()?)?;
    let statement = parse(&payload, &env.limits, "statement").ok()?;
    let hex = statement.pointer("/subject/0/digest/sha256")?.as_str()?;
    Digest::parse(&format!("sha256:{hex}")).ok()
}
