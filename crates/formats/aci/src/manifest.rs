//! The image manifest: every field of the appc schema 0.8.11, read and checked.
//!
//! The checks are those of `actool validate`, and those of the specification that `actool` leaves
//! out. Fields of tools before appc 0.6 are read by their later names, see `old.rs`. Fields beyond
//! the schema stay in [`Manifest::raw`], which is the document.

mod check;
mod isolator;
mod old;
mod schema;

use imgconv_json::Value;
use imgconv_model::{Error, Limits, Notes, Result, quote};

pub(crate) use self::schema::find;
pub use self::schema::{
    App, AppPort, Dependency, EventHandler, Manifest, MountPoint, Pair, Renamed, VERSION, to_map,
};

/// Reads and checks the bytes of a manifest.
///
/// # Errors
/// [`imgconv_model::Code::BadJson`] for text that is not strict JSON, and the errors of
/// [`validate`].
pub fn parse(bytes: &[u8], limits: &Limits, notes: &Notes) -> Result<Manifest> {
    let value = imgconv_json::parse(bytes, limits, "manifest")?;
    validate(&value, notes)
}

/// Checks a manifest. Irregularities with one reading go to `notes`.
///
/// # Errors
/// The first of [`violations`].
pub fn validate(value: &Value, notes: &Notes) -> Result<Manifest> {
    let (manifest, violations) = read(value, notes);
    match violations.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(manifest),
    }
}

fn read(value: &Value, notes: &Notes) -> (Manifest, Vec<Error>) {
    let Some(modern) = old::modern(value) else {
        return check::check(value, notes);
    };
    for Renamed {
        list,
        index,
        was,
        is,
    } in &modern.renamed
    {
        let message = format!("{} is no name by appc's rules; read as `{is}`", quote(was));
        notes.warn(
            "renamed",
            format!("manifest › app.{list}[{index}].name"),
            message,
        );
    }
    let (mut manifest, violations) = check::check(&modern.value, notes);
    (manifest.old, manifest.renamed) = (true, modern.renamed);
    (manifest, violations)
}

/// Returns all errors of a manifest, in the order of the schema. Each names the field, the expected
/// and the found value; the codes are `bad-manifest` for a wrong type or an impossible value,
/// `bad-name` for a broken grammar, `bad-digest` for a malformed image ID, `ambiguous` for
/// duplicates, and `bad-json` for a field name that differs from a known one in case only.
pub fn violations(value: &Value) -> Vec<Error> {
    read(value, &Notes::default()).1
}
