//! Layers whose tars an engine did not keep: they are made anew from extracted files.

use imgconv_model::{Outcome, Report};

/// Reports that a layer is made anew: the loss of its diff ID, and the warning that its bytes are not
/// verified. `i` is the position of the layer, `place` names it in messages.
pub fn report_remade(i: usize, place: String, report: &mut Report) {
    let why = "the engine kept no record of the layer's tar, so the tar is made anew from the extracted \
               files, and has another diff ID";
    report.lose(format!("layers.{i}.diff_id"), Outcome::Approximated, why);
    let message = "the layer is made of extracted files, which have no digest to verify";
    report.warn("remade-layer", place, message);
}
