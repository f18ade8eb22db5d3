//! Layers with a table of contents, from which a runtime can fetch single files while it starts a
//! container; for all other readers they are plain layers.
//!
//! - [eStargz](Scheme::Estargz) is gzip. Its table is a file at the end of the tar, so the tar
//!   is made anew and has another diff ID.
//! - [zstd:chunked](Scheme::ZstdChunked) is zstd. Its table is in a frame that decoders skip, so
//!   the tar stays the same, to the byte.
//!
//! In both schemes every chunk of a file is compressed separately. The position and content of the
//! chunks depend on the tar and the level alone: the bytes are the same at any number of threads.

mod cut;
mod estargz;
mod output;
mod scheme;
mod tar_split;
mod toc;
mod zstd_chunked;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

use imgconv_model::{Algorithm, Digest, Env, Error, Result};
use imgconv_stream::{Hasher, Level, PieceEncoder, Pool, digest};
use rayon::prelude::*;

pub use crate::scheme::Scheme;
use crate::{
    cut::{Cutter, Piece},
    output::Output,
};

/// The result of [`encode`].
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The digest of the uncompressed tar that was written, the diff ID.
    pub content: Digest,
    /// The SHA-256 of the written bytes.
    pub digest: Digest,
    /// The written size in bytes.
    pub size: u64,
    /// The annotations that a reader needs to find and verify the table.
    pub annotations: BTreeMap<String, String>,
}

/// Reads the tar `source` to its end and writes it as a layer with a table of contents; `hash` is
/// the algorithm of the diff ID, `what` names the layer in warnings, and bytes are reported as
/// [`Event::Advance`](imgconv_model::Event::Advance) of `id`.
///
/// Memory is two batches of pieces, about 16 MiB and their output, and below a kilobyte for each
/// entry: the table is written at the end.
///
/// # Errors
/// The errors of the source, the tar and the sink; [`Code::Usage`](imgconv_model::Code::Usage) for
/// a level that does not exist; [`Code::Unsupported`](imgconv_model::Code::Unsupported) for entries
/// that a table can't describe: names that are not UTF-8, times outside the years 0 to 9999, and
/// with zstd:chunked sparse files; [`Code::Limit`](imgconv_model::Code::Limit) if the table would
/// be longer than readers accept.
#[expect(
    clippy::too_many_arguments,
    reason = "one call with all that a layer needs, as for the plain encoder"
)]
pub fn encode(
    source: &mut (dyn Read + Send),
    sink: &mut (dyn Write + Send),
    scheme: Scheme,
    level: Level,
    hash: Algorithm,
    pool: &Pool,
    env: &Env,
    (id, what): (u64, &str),
) -> Result<Encoded> {
    let pieces = PieceEncoder::new(scheme.compression(), level)?;
    let source: Box<dyn Read + Send> = match scheme {
        Scheme::Estargz => estargz::tar(source, env, what)?,
        Scheme::ZstdChunked => Box::new(source),
    };
    let mut cutter = Cutter::new(source, scheme, hash, &pieces, env, (id, what));
    let mut output = Output {
        sink,
        hasher: Hasher::new(Algorithm::Sha256),
        size: 0,
    };
    let mut batch = cutter.next_batch()?;
    while !batch.is_empty() {
        let (packed, next) =
            pool.install(|| rayon::join(|| pack(&batch, &pieces, env), || cutter.next_batch()));
        for (piece, packed) in batch.iter().zip(packed?) {
            let start = output.size;
            output.write(&packed.bytes)?;
            place(
                &mut cutter,
                scheme,
                piece,
                packed.digest,
                start..output.size,
            );
        }
        batch = next?;
    }
    let annotations = match scheme {
        Scheme::Estargz => estargz::finish(&mut cutter, &pieces, &mut output)?,
        Scheme::ZstdChunked => zstd_chunked::finish(&mut cutter, &pieces, &mut output)?,
    };
    output.sink.flush().map_err(Error::from_io)?;
    Ok(Encoded {
        content: cutter.content.finish(),
        digest: output.hasher.finish(),
        size: output.size,
        annotations,
    })
}

/// The output of a piece.
struct Packed {
    bytes: Vec<u8>,
    /// The digest of the chunk at its start.
    digest: Option<Digest>,
}

/// Compresses every piece of a batch; the error is that of the first bad piece, whatever the
/// timing.
fn pack(batch: &[Piece], pieces: &PieceEncoder, env: &Env) -> Result<Vec<Packed>> {
    let results: Vec<Result<Packed>> = batch
        .par_iter()
        .map(|piece| {
            env.check_cancelled()?;
            let chunk = piece.chunk.map(|chunk| &piece.content[..chunk.length]);
            Ok(Packed {
                bytes: pieces.compress(&piece.content)?,
                digest: chunk.map(|chunk| digest(Algorithm::Sha256, chunk)),
            })
        })
        .collect();
    results.into_iter().collect()
}

/// Records in the table where a piece was written.
fn place(
    cutter: &mut Cutter<'_>,
    scheme: Scheme,
    piece: &Piece,
    digest: Option<Digest>,
    at: std::ops::Range<u64>,
) {
    let (Some(chunk), Some(digest)) = (piece.chunk, digest) else {
        return;
    };
    let digest = digest.to_string();
    cutter.rows[chunk.row].offset = at.start;
    if scheme == Scheme::ZstdChunked {
        cutter.rows[chunk.file].end_offset = at.end;
    }
    if chunk.whole {
        cutter.rows[chunk.file].digest = Some(digest.clone());
    }
    if !chunk.whole || scheme == Scheme::Estargz {
        cutter.rows[chunk.row].chunk_digest = Some(digest);
    }
}
