//! The documents of a source image that an ACI carries along: the format that wrote them reads them
//! again when the ACI is converted to a format that has more fields than appc.

use std::sync::Arc;

use imgconv_model::{
    Artifact, Blob, Bundle, Code, Digest, Document, Env, Error, Extras, Facts, Format, FormatId,
    History, Image, NamedBlobs, Notes, Report, Result, Root, RootEntry,
};
use imgconv_stream::{Verified, read_to_limit};

use imgconv_locate::catalog;

/// Restores the facts of an image that appc has no fields for: the history, the stop signal, and
/// the fields that only the first format has.
///
/// The ACI's own fields have priority. Fields of the first format's manifest are not restored,
/// because that manifest names other layers.
pub fn restore(image: &mut Image, env: &Env, report: &mut Report) {
    let aci = FormatId::ACI;
    let manifest = image
        .originals
        .iter()
        .find(|original| original.format != aci && original.role == "manifest");
    let Some(manifest) = manifest else { return };
    let Some(Format::Documents(format)) = catalog::format(manifest.format.0) else {
        return;
    };
    let documents = Documents {
        config: image.original(manifest.format, "config").cloned(),
    };
    // Irregularities were reported when the ACI was made.
    let env = &env.with_notes(&Notes::default());
    match format.decode(&manifest.document, &documents, env, &mut Report::default()) {
        Ok(Artifact::Image(was)) => adopt(image, *was),
        Ok(Artifact::Index(_) | Artifact::Opaque(_)) => {}
        Err(error) => {
            let message =
                format!("the documents that the ACI carries along can't be used: {error}");
            report.warn("bad-original", format!("{} manifest", format.id()), message);
        }
    }
}

fn adopt(image: &mut Image, was: Image) {
    image.history = fitting(was.history, image);
    image.config.stop_signal = was.config.stop_signal;
    let of_config = was
        .extensions
        .into_iter()
        .filter(|((_, path), _)| !path.starts_with("manifest."));
    image.extensions.extend(of_config);
}

/// The history, if it fits the present layers: all of them, or fewer because the last ones were
/// merged, as every squash does.
fn fitting(history: Vec<History>, image: &Image) -> Vec<History> {
    let named = history.iter().filter(|step| !step.empty_layer).count();
    match image.layers.len() {
        layers if layers == named => history,
        layers if (1..named).contains(&layers) => {
            History::merged(history, layers - 1, image.created.clone())
        }
        _ => Vec::new(),
    }
}

/// The carried documents, without any layer: layers are named and never read.
#[derive(Debug)]
struct Documents {
    config: Option<Document>,
}

impl Documents {
    /// The bytes of the config, or none. Stand-ins for layers have them too and are never read.
    fn stand_in(&self, facts: Facts) -> Blob {
        let config = self.config.as_ref();
        let bytes: Arc<[u8]> = config.map_or_else(|| Arc::from([]), |it| Arc::clone(&it.bytes));
        let bytes = Arc::new(bytes);
        Blob { facts, bytes }
    }
}

impl Bundle for Documents {
    fn locator(&self) -> String {
        "the documents in the ACI".to_owned()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(Vec::new())
    }

    fn root(&self, _: &RootEntry) -> Result<Root> {
        Err(missing("a root"))
    }

    /// The only document that a manifest of an image refers to.
    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        let Some(config) = &self.config else {
            return Err(missing("the config"));
        };
        let reader = Box::new(std::io::Cursor::new(Arc::clone(&config.bytes)));
        let reader = Verified::new(reader, facts, "config");
        Ok(Document {
            kind: kind.to_owned(),
            bytes: read_to_limit(reader, limit, "config")?.into(),
        })
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        Ok(self.stand_in(facts.clone()))
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            members: Some(self),
            ..Extras::default()
        }
    }
}

impl NamedBlobs for Documents {
    /// An archive's entry names its config, which is read, and its layers, which are not.
    fn member(&self, _: &str, facts: &Facts) -> Result<Blob> {
        Ok(self.stand_in(facts.clone()))
    }

    fn layer_of(&self, _: &Digest) -> Result<Option<(String, Blob)>> {
        Ok(None)
    }
}

fn missing(what: &str) -> Error {
    Error::new(Code::Missing, format!("{what} is not carried along"))
}
