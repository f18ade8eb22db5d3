//! How `layout rm` and `layout tag` print names.

use crate::screen::clean;

/// The names of an entry of the index, `-` if it has none.
pub(super) fn joined(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        names => clean(&names.join(" = ")),
    }
}
