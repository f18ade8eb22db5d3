//! Layers that get a table of contents.

use imgconv_chunked::{Scheme, encode};
use imgconv_model::{Algorithm, Code, Digest, Env, Error, Facts, Layer, Result, SealedLayer, Step};
use imgconv_stream::{Encoding, Verified};

use super::sealer::Sealer;
use crate::{
    budget::{Budget, Tar},
    watch::watch,
};

impl Sealer<'_> {
    /// Compresses the tar of a layer so that single files can be fetched from it. The claimed diff
    /// ID is verified during the same read; with eStargz the written tar differs from the source's.
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
            let mut writer = self.sink.writer()?;
            let encoded = watch(layer, what, env, |layer, env, id| {
                let tar = Tar::open(layer, budget, env, what)?;
                let mut tar = Verified::new(tar, &claimed, format!("the tar of {what}"));
                encode(
                    &mut tar,
                    &mut writer,
                    scheme,
                    level,
                    algorithm,
                    self.pool,
                    env,
                    (id, what),
                )
            })?;
            writer.finish(&encoded.digest, encoded.size)?;
            Ok(SealedLayer {
                digest: encoded.digest,
                size: encoded.size,
                compression,
                diff_id: encoded.content,
                step: Step::Recompress,
                annotations: encoded.annotations,
            })
        };
        work().map_err(|error| error.at(what))
    }
}
