//! A root file system without a description: a flat tar, as `docker export` makes one, plain or
//! compressed.
//!
//! [`Rootfs`] is the format. An image of this format has one layer, and nothing says how the image is
//! called, what it runs on, or how it is run. Any tar looks like one, so that only a place of the
//! family [`FormatFamily::Rootfs`] gives such images ([`StreamFacts::describes`]).

#![deny(missing_docs)]

mod loss;
mod read;
mod write;

use std::sync::{Arc, OnceLock};

use imgconv_model::{
    Blob, Capabilities, Code, Compression, DecodedStream, Env, Error, FormatFacts, FormatFamily,
    FormatId, Image, Layer, Open, Report, Result, StreamFacts, StreamFormat,
};

/// The facts of the format.
static FACTS: FormatFacts = FormatFacts {
    id: FormatId::ROOTFS,
    family: FormatFamily::Rootfs,
    about: "root file system without a description, as a flat tar (`docker export`)",
    capabilities: Capabilities {
        max_layers: Some(1),
        compressions: &[Compression::None, Compression::Gzip, Compression::Zstd],
        annotations: false,
        index: false,
        opaque: false,
        root_kinds: &[],
    },
};

/// The facts of the stream.
static STREAM: StreamFacts = StreamFacts {
    noun: "a flat tar",
    suffix: ".tar",
    describes: false,
};

/// The format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rootfs;

impl StreamFormat for Rootfs {
    fn facts(&self) -> &'static FormatFacts {
        &FACTS
    }

    fn stream_facts(&self) -> &'static StreamFacts {
        &STREAM
    }

    /// Says whether a file begins as a tar, perhaps compressed.
    fn recognise(&self, stream: &Blob) -> bool {
        read::is_tar(stream)
    }

    fn decode(&self, stream: &Blob, what: &str, env: &Env) -> Result<DecodedStream> {
        let layer = read::Flat {
            blob: stream.clone(),
            limits: env.limits,
            notes: env.notes.clone(),
            what: what.to_owned(),
        };
        let layer = Layer::made(Arc::new(layer));
        let image = Image {
            layers: vec![layer],
            ..Image::default()
        };
        // An image without a description has no ID of its own.
        let digest = Arc::new(OnceLock::new());
        Ok(DecodedStream { image, digest })
    }

    fn encode(
        &self,
        image: &Image,
        _group: Option<u32>,
        env: &Env,
        report: &mut Report,
    ) -> Result<Arc<dyn Open>> {
        if image.layers.len() > 1 {
            let count = image.layers.len();
            let message = format!("a flat tar has one layer, the image has {count}");
            return Err(Error::new(Code::Unsupported, message).hint("squash the image"));
        }
        loss::report(image, report);
        Ok(Arc::new(write::Flat {
            layer: image.layers.first().cloned(),
            limits: env.limits,
            notes: env.notes.clone(),
        }))
    }
}
