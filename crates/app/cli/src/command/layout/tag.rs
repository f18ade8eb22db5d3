//! The command `layout tag`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, Result, Tagged};

use super::names::joined;
use crate::{
    options::{Common, RefName, SymlinkedBlobs},
    screen::{clean, say, show},
};

const EXAMPLES: &str = "\
Examples:
  imgconv layout tag out example.com/app:1.0 stable
  imgconv layout tag out '#0' example.com/app:1.0";

/// Add a name to an image of a layout
///
/// If another image has the name, that image loses it. An image that loses its only name stays in the
/// index without a name.
///
/// REF is a full reference, a tag that is unique in the layout, `@sha256:…`, or `#N`, a position from 0
/// (quoted: `'#0'`). Other programs take no lock when they write a layout, so such a program that runs
/// at the same time may overwrite the change.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tag {
    /// Directory of the layout
    layout: String,
    /// Reference of the image
    #[arg(value_name = "REF")]
    reference: String,
    /// Full reference to add, or a tag to add in the repository of the image
    #[arg(value_name = "NEWNAME")]
    name: String,
    /// Value of the annotation `org.opencontainers.image.ref.name`
    #[arg(long, value_enum, default_value_t = RefName::Full, value_name = "WHAT")]
    ref_name: RefName,
    #[command(flatten)]
    blobs: SymlinkedBlobs,
}

impl Tag {
    pub(crate) fn run(&self, common: &Common, mut env: Env) -> Result<ExitCode> {
        self.blobs.apply(&mut env);
        let (layout, reference, name) = (&self.layout, &self.reference, &self.name);
        let tagged = imgconv::tag_in_layout(layout, reference, name, self.ref_name.into(), &env)?;
        if !common.quiet {
            warn(&tagged);
        }
        let line = format!("{} {}\n", clean(&tagged.name), tagged.digest);
        show(common.json, &tagged, &line)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints losses, and warns about images that lost the name.
fn warn(tagged: &Tagged) {
    let name = clean(&tagged.name);
    for loss in &tagged.losses {
        let (field, why) = (clean(&loss.field), clean(&loss.why));
        say(&format!("loss: {name}: {field} {}: {why}", loss.outcome));
    }
    for other in &tagged.moved_from {
        let kept = match other.kept_without_name {
            true => "; it has no other name and stays in the index without a name",
            false => "",
        };
        let (digest, names) = (&other.digest, joined(&other.names));
        say(&format!(
            "warning[moved]: {name}: {digest} was called {names}{kept}"
        ));
    }
}
