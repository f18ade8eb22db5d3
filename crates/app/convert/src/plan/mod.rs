//! Planning: all decisions before a byte is written, as [`data::Plan`].

pub mod data;
pub(crate) mod docker_record;
mod documents;
mod foreign;
pub(crate) mod lost;
mod reversal;
pub mod stream_names;
pub(crate) mod streams;

use imgconv_model::{Report, Result};

use self::data::Plan;
use crate::{choose::request::Request, read::root::SourceRoot};

/// Plans what becomes of roots. `lost` holds the own fields of the sources' lists that the
/// destination has no place for.
///
/// # Errors
/// If an image can't be written in the target format, or an option forbids it.
pub fn plan<'s>(
    roots: &'s [SourceRoot<'s>],
    request: &Request<'_>,
    lost: Report,
) -> Result<Plan<'s>> {
    reversal::check(request)?;
    let mut plan = match request.target.is_stream() {
        true => streams::plan(roots, request)?,
        false => documents::plan(roots, request)?,
    };
    plan.left_behind.merge(lost);
    Ok(plan)
}
