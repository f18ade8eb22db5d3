//! Layers that get a table of contents.

use std::sync::atomic::Ordering;

use imgconv_chunked::{Scheme, encode};
use imgconv_model::{
    Algorithm, Code, Compression, Digest, Env, Error, Event, Facts, Layer, Result, SealedLayer,
    Step,
};
use imgconv_stream::{Encoding, Verified};

use super::Sealer;
use crate::budget::{Budget, Tar};

impl Sealer<'_> {
    /// Compresses the tar of a layer so that single files can be fetched from it. What is claimed of
    /// the tar is verified on the same pass; with eStargz the tar that is written is another.
    pub(super) fn index(
        &self,
        layer: &Layer,
        what: &str,
        encoding: &Encoding,
        budget: &Budget,
        env: &Env,
    ) -> Result<SealedLayer> {
        let Encoding { compression, level } = *encoding;
        let work = || -> Result<SealedLayer> {
            let scheme = Scheme::of(compression).ok_or_else(|| {
                Error::new(
                    Code::Usage,
                    format!("no table of contents with {compression}"),
                )
            })?;
            let algorithm = layer
                .diff_id
                .as_ref()
                .map_or(Algorithm::Sha256, Digest::algorithm);
            let claimed = Facts {
                digest: layer.diff_id,
                size: None,
            };
            let tar = Tar::open(layer, budget, env, what)?;
            let mut tar = Verified::new(tar, &claimed, format!("the tar of {what}"));
            let mut writer = self.sink.writer()?;
            let id = env.next_id.fetch_add(1, Ordering::Relaxed);
            let bytes = layer.blob.facts.size;
            env.progress.event(Event::Begin { id, what, bytes });
            let encoded = encode(
                &mut tar,
                &mut writer,
                scheme,
                level,
                algorithm,
                self.pool,
                env,
                (id, what),
            );
            env.progress.event(Event::End { id });
            let encoded = encoded?;
            writer.finish(&encoded.digest, encoded.size)?;
            Ok(SealedLayer {
                digest: encoded.digest,
                size: encoded.size,
                compression,
                diff_id: encoded.content,
                step: match compression {
                    Compression::Gzip => Step::Rewrite,
                    _ => Step::Recompress,
                },
                annotations: encoded.annotations,
            })
        };
        work().map_err(|error| error.at(what))
    }
}
