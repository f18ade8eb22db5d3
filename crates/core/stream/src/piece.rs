//! Compressing pieces of content that the caller splits: each piece becomes a whole gzip member or
//! zstd frame, with the same encoders as [`encode`](crate::encode()).

use imgconv_model::{Compression, Result};

use crate::{
    Encoding, Level,
    block::{Compressors, Method},
};

/// Compresses pieces, from any number of threads. The output of a piece depends on its bytes and
/// the [`Encoding`] alone.
pub struct PieceEncoder(Compressors);

impl PieceEncoder {
    /// Makes an encoder.
    ///
    /// # Errors
    /// The errors of [`Encoding::check`].
    pub fn new(compression: Compression, level: Level) -> Result<Self> {
        let method = Method::of(&Encoding { compression, level })?;
        Ok(Self(Compressors::new(method)))
    }

    /// Returns a piece as a whole member or frame. Memory is the piece and its output.
    ///
    /// # Errors
    /// If the library fails.
    pub fn compress(&self, piece: &[u8]) -> Result<Vec<u8>> {
        let mut packed = Vec::new();
        self.0.compress(piece, &mut packed)?;
        packed.shrink_to_fit();
        Ok(packed)
    }
}

impl std::fmt::Debug for PieceEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PieceEncoder").finish_non_exhaustive()
    }
}
