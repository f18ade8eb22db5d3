//! The part of a [`Run`](crate::run::Run) that follows the user's policies: which layers are wanted,
//! which digests must stay, and with which key a manifest is signed.

use std::{io::Read as _, path::Path};

use imgconv_format_docker_v2s1::{SigningKey, sign};
use imgconv_model::{
    Child, Code, Digest, Document, Error, Extensions, FormatId, Image, Limits, Outcome as LossKind,
    Report, Result, quote,
};
use imgconv_pipeline::{LayerStep, Plan};

use crate::{
    foreign,
    options::{Foreign, Options},
    run::Run,
    source::ImageNode,
};

/// The one format that has signatures inside.
pub(crate) const SCHEMA1: FormatId = FormatId::DOCKER_V2S1;

/// An archive's entry has no digest: its config identifies the image.
const ARCHIVE: FormatId = FormatId::DOCKER_ARCHIVE;

/// A key is a few hundred bytes.
const KEY_BYTES: u64 = 1 << 20;

/// Reads the key that the user named, if the target has signatures.
///
/// # Errors
/// [`Code::Usage`] if it has none, or what was named is no private key; if it can't be read.
pub(crate) fn signing_key(options: &Options, target: FormatId) -> Result<Option<SigningKey>> {
    let Some(path) = &options.sign_key else {
        return Ok(None);
    };
    if target != SCHEMA1 {
        let message = format!("`--sign-key` signs {SCHEMA1}, and {target} is written");
        let hint = format!("`{SCHEMA1}+dir:PATH` is a destination of that format");
        return Err(Error::new(Code::Usage, message).hint(hint));
    }
    read_key(path)
        .map(Some)
        .map_err(|error| error.at(path.display().to_string()))
}

fn read_key(path: &Path) -> Result<SigningKey> {
    let mut bytes = Vec::new();
    imgconv_fs::open_given(path)
        .and_then(|file| file.take(KEY_BYTES + 1).read_to_end(&mut bytes))
        .map_err(Error::from_io)?;
    if bytes.len() as u64 > KEY_BYTES {
        return Err(Limits::exceeded("key_file", KEY_BYTES, "the signing key"));
    }
    SigningKey::from_jwk(&bytes).map_err(|error| {
        // It is the user's, not a part of what is read.
        Error::new(Code::Usage, error.to_string())
            .hint("`--sign-key` takes a private key on P-256 as a JSON Web Key")
    })
}

impl Run<'_> {
    /// Signs the manifest that is about to be written, if there is a key.
    pub(crate) fn signed(&self, root: Document) -> Result<Document> {
        let Some(key) = self.key else {
            return Ok(root);
        };
        let bytes = sign(&root.bytes, key).map_err(|error| match error.code() {
            Code::Usage => error.hint("leave out `--sign-key`: it stays signed as it is"),
            _ => error,
        })?;
        Ok(Document {
            kind: imgconv_format_docker_v2s1::SIGNED.to_owned(),
            bytes: bytes.into(),
        })
    }

    /// Deals with layers that may be had from elsewhere, as the user asked.
    /// `place` is where the image comes from.
    pub(crate) fn foreign(
        &self,
        image: &mut Image,
        place: &str,
        report: &mut Report,
    ) -> Result<()> {
        match self.options.foreign {
            Foreign::Keep => Ok(()),
            Foreign::Fail => match image.layers.iter().position(|layer| !layer.urls.is_empty()) {
                Some(i) => Err(refuse_foreign(image, i)),
                None => Ok(()),
            },
            Foreign::Drop => {
                drop_foreign(image, report);
                Ok(())
            }
            Foreign::Fetch => foreign::fetch(image, place, self.env),
        }
    }

    /// Refuses an image that is, or would be, written under other digests than it was read.
    /// `written` are the manifest and config as they are known; the config is known exactly
    /// whenever the manifest is.
    pub(crate) fn preserve(
        &self,
        (node, to): (&ImageNode, FormatId),
        image: &Image,
        plan: &Plan,
        written: (&Child, Option<Digest>),
    ) -> Result<()> {
        if !self.options.preserve_digests {
            return Ok(());
        }
        let from = node.format.id();
        let mut changes = Vec::new();
        if from != to {
            changes.push(format!("the manifest and the config ({from} becomes {to})"));
        }
        for step in &plan.steps {
            match step {
                LayerStep::Keep(_) => {}
                LayerStep::Recompress(i, encoding) => {
                    // What is stored without a digest has none that could change.
                    if let Some(digest) = image.layers[*i].blob.facts.digest {
                        let compression = encoding.compression;
                        changes.push(format!(
                            "layer {i} ({digest}, compressed anew as {compression})"
                        ));
                    }
                }
                LayerStep::Squash(0, _) => changes.push("the layers (merged to one)".to_owned()),
                LayerStep::Squash(from, _) => {
                    changes.push(format!("layers {from} and above (merged to one)"));
                }
            }
        }
        // If nothing is known to change, what is written is known to the byte.
        if changes.is_empty() {
            let (manifest, config) = written;
            let other_config = config != node.config_digest(&self.env.limits);
            let same = node.child.as_ref().map(|child| child.digest) == Some(manifest.digest);
            if to != ARCHIVE && !same {
                changes.push("the manifest".to_owned());
            }
            if other_config && (to == ARCHIVE || !same) {
                changes.push("the config".to_owned());
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        Err(digests_change(&changes.join(", ")))
    }

    /// Refuses an index that is written under another digest than it was read, or not at all.
    pub(crate) fn preserve_index(&self, child: &Child, written: Option<&Child>) -> Result<()> {
        let what = match written {
            _ if !self.options.preserve_digests => return Ok(()),
            Some(written) if written.digest == child.digest => return Ok(()),
            Some(_) => "the index (it would list other documents)".to_owned(),
            None => format!("the index ({} has none)", self.target.id()),
        };
        Err(digests_change(&what).at(format!("index {}", child.digest)))
    }
}

/// The error for what `--preserve-digests` forbids.
pub(crate) fn digests_change(what: &str) -> Error {
    let message = format!("`--preserve-digests` refuses: this would change: {what}");
    Error::new(Code::Denied, message).hint("`--dry-run` without it shows what would be done")
}

fn urls(image: &Image, i: usize) -> String {
    let all: Vec<String> = image.layers[i].urls.iter().take(5).map(quote).collect();
    all.join(", ")
}

fn refuse_foreign(image: &Image, i: usize) -> Error {
    let digest = image.layers[i].blob.facts.digest;
    let digest = digest.map_or_else(String::new, |digest| format!(" ({digest})"));
    let message = format!("a foreign layer, said to be at {}", urls(image, i));
    Error::new(Code::Denied, message)
        .at(format!("layer {i}{digest}"))
        .hint("`--foreign keep` lists it as it is, `--foreign drop` leaves it out")
}

/// Leaves out every layer with URLs, and all that is said of it.
fn drop_foreign(image: &mut Image, report: &mut Report) {
    let stays: Vec<bool> = image.layers.iter().map(|l| l.urls.is_empty()).collect();
    if !stays.contains(&false) {
        return;
    }
    for (i, _) in stays.iter().enumerate().filter(|(_, stays)| !**stays) {
        let why = format!("a foreign layer, said to be at {}", urls(image, i));
        report.lose(format!("layers[{i}]"), LossKind::Dropped, why);
    }
    let mut layer = stays.iter();
    image
        .layers
        .retain(|_| *layer.next().expect("one for each layer"));
    let named = image.history.iter().filter(|step| !step.empty_layer);
    if named.count() == stays.len() {
        let mut layer = stays.iter();
        image
            .history
            .retain(|step| step.empty_layer || *layer.next().expect("counted above"));
    }
    // Fields of a layer's descriptor are named by its position.
    let extensions = std::mem::take(&mut image.extensions);
    image.extensions = extensions
        .into_iter()
        .filter_map(|((format, path), raw)| Some(((format, renumber(&path, &stays)?), raw)))
        .collect::<Extensions>();
}

/// Renames `manifest.layers.N…` to where layer N is now; `None` if it is gone.
fn renumber(path: &str, stays: &[bool]) -> Option<String> {
    const LAYERS: &str = "manifest.layers.";
    let position = path
        .strip_prefix(LAYERS)
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(i, rest)| Some((i.parse::<usize>().ok()?, rest)));
    match position {
        Some((i, rest)) if i < stays.len() => {
            let before = stays[..i].iter().filter(|stays| **stays).count();
            stays[i].then(|| format!("{LAYERS}{before}.{rest}"))
        }
        _ => Some(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_layer_follow_it() {
        let stays = [true, false, true];
        let new = |path: &str| renumber(path, &stays);
        assert_eq!(new("manifest.layers.0.x").unwrap(), "manifest.layers.0.x");
        assert_eq!(new("manifest.layers.1.x"), None);
        assert_eq!(
            new("manifest.layers.2.x.y").unwrap(),
            "manifest.layers.1.x.y"
        );
        assert_eq!(new("manifest.layersX").unwrap(), "manifest.layersX");
    }
}
