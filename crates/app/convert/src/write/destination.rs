//! The place that a conversion writes to.

use imgconv_model::BundleSink;
use imgconv_pipeline::Sealer;
use imgconv_stream::Pool;

/// Where a plan is written.
#[derive(Debug)]
pub struct Destination<'a> {
    /// Takes blobs.
    pub sink: &'a dyn BundleSink,
    /// Writes layers to the sink.
    pub sealer: &'a Sealer<'a>,
    /// The threads that compress.
    pub pool: &'a Pool,
}
