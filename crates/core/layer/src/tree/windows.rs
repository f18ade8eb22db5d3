//! Layers of Windows, and the reasons why some of them can't be merged to one.
//!
//! A layer of Windows holds the files of the system below `Files`, and changes of the registry as
//! deltas below `Hives`: Windows applies a delta to the registry of the layers below, so the deltas
//! of two layers can't become one file. Names that differ only by case are one name there
//! (robustness K20). This module reads no registry and changes nothing: it only reports conflicts.

use std::collections::HashMap;

use imgconv_model::quote;

/// The directories at the top of a layer of Windows.
const TOP: [&[u8]; 3] = [b"files", b"hives", b"utilityvm"];

/// The number of a directory, or of a name, and a name.
type Component = (u32, Box<[u8]>);

/// The paths of the layers, as long as they may be layers of Windows.
#[derive(Clone, Debug, Default)]
pub(super) struct Windows {
    /// True if the config of the image names Windows; otherwise the directories must show it.
    pub(super) certain: bool,
    /// True if a path was found that only a layer of Windows has.
    found: bool,
    /// Each path by the number of its directory and its name without case: its own number and its
    /// spelling.
    names: HashMap<Component, Component>,
    /// The first path of each layer whose spelling differs from an earlier one: the layer, both
    /// spellings.
    spelled: Vec<(u32, Vec<u8>, Vec<u8>)>,
    /// The first delta of each layer.
    deltas: Vec<(u32, Vec<u8>)>,
}

impl Windows {
    /// Notes the path of an entry, or the path of a whiteout, of a layer counted from 1. Returns
    /// false if these are not layers of Windows.
    pub(super) fn note(&mut self, path: &[u8], layer: u32) -> bool {
        let mut directory = 0;
        let mut spelled = false;
        let mut folded_path: Vec<u8> = Vec::new();
        let parts = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty());
        for (depth, part) in parts.enumerate() {
            let folded = fold(part);
            if depth == 0 && !self.certain && !TOP.contains(&&*folded) {
                return false;
            }
            if depth < 3 {
                if depth > 0 {
                    folded_path.push(b'/');
                }
                folded_path.extend(&*folded);
            }
            let next = u32::try_from(self.names.len() + 1).unwrap_or(u32::MAX);
            let known = self
                .names
                .entry((directory, folded))
                .or_insert_with(|| (next, part.into()));
            directory = known.0;
            if !spelled && *known.1 != *part {
                spelled = true;
                let is_new = self.spelled.last().is_none_or(|last| last.0 != layer);
                if is_new {
                    self.spelled.push((layer, known.1.to_vec(), path.to_vec()));
                }
            }
        }
        self.found |= folded_path.starts_with(b"hives")
            || folded_path.starts_with(b"utilityvm")
            || folded_path.starts_with(b"files/windows");
        let is_delta = folded_path.starts_with(b"hives/") && folded_path.ends_with(b"_delta");
        if is_delta && self.deltas.last().is_none_or(|last| last.0 != layer) {
            self.deltas.push((layer, path.to_vec()));
        }
        true
    }

    /// Returns the reason why a layer, counted from 0, and all layers above it can't be merged;
    /// `layers` is the number of all layers.
    pub(super) fn conflict(&self, from: usize, layers: usize) -> Option<String> {
        if !self.certain && !self.found {
            return None;
        }
        let is_merged = |layer: u32| layer as usize > from;
        let delta = self.deltas.iter().find(|(layer, _)| is_merged(*layer));
        if let Some((layer, path)) = delta.filter(|_| layers > from + 1) {
            return Some(format!(
                "layer {} changes the registry of Windows by {}: such a delta is applied to the \
                 registry of the layers below, and merging would lose the delta",
                layer - 1,
                quote(path)
            ));
        }
        let spelled = self.spelled.iter().find(|(layer, ..)| is_merged(*layer));
        spelled.map(|(layer, known, path)| {
            format!(
                "layer {} spells {} in another way than before ({}): Windows ignores case, so \
                 both are one name there, and would be two names in one layer",
                layer - 1,
                quote(path),
                quote(known)
            )
        })
    }
}

/// Returns a name without case, as Windows compares it: one character for each.
fn fold(name: &[u8]) -> Box<[u8]> {
    let Ok(text) = std::str::from_utf8(name) else {
        return name.to_ascii_lowercase().into();
    };
    let fold = |c: char| {
        let mut upper = c.to_uppercase();
        let first = upper.next().filter(|_| upper.next().is_none()).unwrap_or(c);
        let mut lower = first.to_lowercase();
        lower
            .next()
            .filter(|_| lower.next().is_none())
            .unwrap_or(first)
    };
    text.chars()
        .map(fold)
        .collect::<String>()
        .into_bytes()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(certain: bool, layers: &[&[&str]]) -> Windows {
        let mut windows = Windows {
            certain,
            ..Windows::default()
        };
        for (i, layer) in layers.iter().enumerate() {
            for path in *layer {
                if !windows.note(path.as_bytes(), i as u32 + 1) {
                    return Windows::default();
                }
            }
        }
        windows
    }

    // robustness K20
    #[test]
    fn deltas_and_spellings_of_the_merged_layers_count() {
        let base: &[&str] = &["Files/Windows/System32/config/SYSTEM", "UtilityVM"];
        let delta: &[&str] = &["Hives", "Hives/System_Delta"];
        let layers = [base, delta, delta];
        let found = windows(false, &layers);
        let told = found.conflict(0, 3).unwrap();
        assert!(told.starts_with("layer 1 "), "{told}");
        assert!(told.contains("\"Hives/System_Delta\""), "{told}");
        assert!(found.conflict(1, 3).is_some());
        // One layer is not merged: the topmost layer stays as it is.
        assert_eq!(found.conflict(2, 3), None);
        let cased: [&[&str]; 2] = [&["Files/App/a.txt", "Hives"], &["Files/app/A.TXT"]];
        let told = windows(false, &cased).conflict(0, 2).unwrap();
        assert!(
            told.contains("\"Files/app/A.TXT\"") && told.contains("\"App\""),
            "{told}"
        );
    }

    #[test]
    fn layers_of_linux_are_left_alone() {
        let layers: [&[&str]; 2] = [&["etc/A", "Hives/x_Delta"], &["etc/a", "Hives/x_Delta"]];
        assert_eq!(windows(false, &layers).conflict(0, 2), None);
        // Directories of these names alone are not enough.
        let layers: [&[&str]; 2] = [&["Files/A"], &["Files/a"]];
        assert_eq!(windows(false, &layers).conflict(0, 2), None);
        assert!(windows(true, &layers).conflict(0, 2).is_some());
    }

    #[test]
    fn case_is_folded_beyond_ascii() {
        assert_eq!(fold("Ä".as_bytes()), fold("ä".as_bytes()));
        assert_ne!(fold("ß".as_bytes()), fold("ss".as_bytes()));
        assert_eq!(&*fold(b"\xffA"), b"\xffa");
    }
}
