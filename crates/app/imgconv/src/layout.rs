//! The maintenance of an OCI layout directory: removing names, adding names, freeing space. Images
//! are never changed, and a layout in an archive is never written to.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_layout::{Item, Names, address, describe};
use imgconv_manifest::{Part, find_document, references};
use imgconv_model::{
    Code, Digest, Env, Error, Name, Publication, Report, Result, RootEntry, Transport, quote,
};
pub use imgconv_transport_oci_layout::Sweep;
use imgconv_transport_oci_layout::{OCI_LAYOUT, RefName, edit};
use serde::Serialize;

use imgconv_convert::outcome::{LossOutcome, losses};
use imgconv_locate::{
    locator::{Locator, Reference},
    select::{by_name, select},
};

/// A descriptor that was taken out of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Removed {
    /// The names that the descriptor had.
    pub names: Vec<String>,
    /// The digest of the image; null if the descriptor has no readable digest.
    pub digest: Option<String>,
    /// True if no other descriptor lists the image: `gc` frees the blobs that only the image refers
    /// to.
    pub last: bool,
    /// The listed referrers of the image, which keep its blobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept_by: Vec<String>,
}

/// A name that an image got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tagged {
    /// The name by which the image is found.
    pub name: String,
    /// The image.
    pub digest: String,
    /// The images that had the name, each with its new state.
    pub moved_from: Vec<MovedFrom>,
    /// The parts of the name that could not be written.
    pub losses: Vec<LossOutcome>,
}

/// An image that lost a name to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MovedFrom {
    /// The names that the image's descriptor lost.
    pub names: Vec<String>,
    /// The image.
    pub digest: String,
    /// True if the image has no other descriptor, so that this one stays, without a name.
    pub kept_without_name: bool,
}

/// The freed space, or the space to free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Freed {
    /// True if nothing was removed.
    pub dry_run: bool,
    /// The blobs, in order.
    pub blobs: Vec<FreedBlob>,
    /// The sum of the blobs' sizes in bytes.
    pub total: u64,
    /// The number of unreferenced blobs that are too young.
    pub young: u64,
    /// The leftovers of killed writers.
    pub directories: Vec<String>,
}

/// A blob that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FreedBlob {
    /// The digest of the blob.
    pub digest: String,
    /// The size of the blob in bytes.
    pub size: u64,
}

/// Removes the descriptors of images from a layout's index: all of them or, if a reference means no
/// entry or several entries, none. Blobs stay.
///
/// # Errors
/// The errors of reading the layout; [`Code::Missing`] or [`Code::Ambiguous`] for a reference.
pub fn remove(layout: &str, references: &[String], env: &Env) -> Result<Vec<Removed>> {
    let path = place(layout)?;
    let mut removed = edit(&path, env, |index| {
        let entries = index.entries();
        let known = Known::of(&entries);
        let mut positions = BTreeSet::new();
        for text in references {
            positions.extend(pick(&entries, &known, &Reference::parse(text)?)?);
        }
        let taken: Vec<(Vec<String>, Option<Digest>)> = positions
            .iter()
            .map(|at| &index.items[*at])
            .map(|one| (one.names().texts(), one.digest()))
            .collect();
        index.remove(&positions);
        let left: BTreeSet<Digest> = index.items.iter().filter_map(Item::digest).collect();
        let tell = |(names, digest): (Vec<String>, Option<Digest>)| Removed {
            names,
            last: digest.is_none_or(|digest| !left.contains(&digest)),
            digest: digest.map(|digest| digest.to_string()),
            kept_by: Vec::new(),
        };
        Ok(taken.into_iter().map(tell).collect::<Vec<_>>())
    })?;
    let about = referrers(&path, env);
    for one in removed.iter_mut().filter(|one| one.last) {
        let about = one.digest.as_ref().and_then(|digest| about.get(digest));
        one.kept_by = about.cloned().unwrap_or_default();
    }
    Ok(removed)
}

/// The referrers in the list, as far as they can be read, by the digests of their subjects.
fn referrers(path: &str, env: &Env) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let Ok(bundle) = OCI_LAYOUT.open(path, env) else {
        return found;
    };
    for entry in bundle.roots().unwrap_or_default() {
        let Some(child) = entry.child else { continue };
        let document = find_document(&*bundle, &child, &env.limits);
        let read = document.and_then(|it| references(&child.kind, &it.bytes, &env.limits));
        let list = read.ok().flatten().map(|read| read.list);
        for subject in list.unwrap_or_default() {
            if subject.part == Part::Subject {
                let about = found.entry(subject.digest.to_string()).or_default();
                about.push(child.digest.to_string());
            }
        }
    }
    found
}

/// Gives an image of a layout one more name, as a conversion would write it: a bare word is a tag
/// of the image's repository. Another image with that name loses it; the last descriptor of that
/// image stays, without a name.
///
/// # Errors
/// The errors of the layout, the reference or the name.
pub fn tag(
    layout: &str,
    reference: &str,
    name: &str,
    ref_name: RefName,
    env: &Env,
) -> Result<Tagged> {
    let reference = Reference::parse(reference)?;
    if !matches!(Reference::parse(name)?, Reference::Name(_)) {
        let message = format!("{} can't be a name", quote(name));
        return Err(Error::new(Code::Usage, message).hint("give a full reference or a tag"));
    }
    edit(&place(layout)?, env, |index| {
        let chosen = select(index.roots(), Some(&reference))?;
        let nothing = || Error::new(Code::Missing, "the place has no images");
        let entry = chosen.into_iter().next().ok_or_else(nothing)?;
        entry.check()?;
        let root = entry.child.clone().ok_or_else(nothing)?;
        let full = name
            .contains(['/', ':', '@'])
            .then(|| Name::parse_reference(name).ok());
        let full = full.flatten();
        if let Some(digest) = full.as_ref().and_then(|name| name.digest)
            && digest != root.digest
        {
            let what = format!("the digest in the name {}", quote(name));
            return Err(Error::mismatch(what, digest, root.digest));
        }
        let (name, given) = match full {
            Some(full) => (Some(full), None),
            None => (entry.name, Some(name.to_owned())),
        };
        let publication = Publication {
            name,
            reference: given,
            ..Publication::of(root)
        };
        let mut report = Report::default();
        let names = Names::write(&publication, ref_name, &mut report)?;
        let digest = publication.root.digest;
        let moved = index.give(describe(&publication, &names, &env.limits)?, &env.limits)?;
        Ok(Tagged {
            name: address(&names, &digest),
            digest: digest.to_string(),
            moved_from: moved
                .into_iter()
                .map(|one| MovedFrom {
                    names: one.names,
                    digest: one.digest.to_string(),
                    kept_without_name: one.kept,
                })
                .collect(),
            losses: losses(report.losses),
        })
    })
}

/// Removes the blobs that nothing in a layout refers to, and the leftovers of killed writers.
///
/// # Errors
/// The errors of documents and blobs that `index.json` leads to; nothing was removed then.
pub fn gc(layout: &str, sweep: &Sweep, env: &Env) -> Result<Freed> {
    let swept = imgconv_transport_oci_layout::gc(&place(layout)?, sweep, env)?;
    let blob = |(digest, size): &(Digest, u64)| FreedBlob {
        digest: digest.to_string(),
        size: *size,
    };
    Ok(Freed {
        dry_run: sweep.dry_run,
        total: swept.blobs.iter().map(|(_, size)| size).sum(),
        blobs: swept.blobs.iter().map(blob).collect(),
        young: swept.young,
        directories: swept.directories,
    })
}

/// Reads the user's name of the layout: a path, or a locator of a directory.
fn place(text: &str) -> Result<String> {
    let locator = Locator::source(text)?;
    if locator.transport.place() != OCI_LAYOUT.place() {
        let message = "the place is no OCI layout in a directory, and nothing else can be changed";
        return Err(Error::new(Code::Unsupported, message).at(locator.to_string()));
    }
    match locator.reference {
        None => Ok(locator.location),
        Some(reference) => {
            let message = format!("{} belongs after the layout", quote(reference.to_string()));
            Err(Error::new(Code::Usage, message).at(locator.location))
        }
    }
}

/// Entries by every text and digest that they have, so that many references are looked up without
/// looking at all entries for each.
#[derive(Default)]
struct Known {
    texts: BTreeMap<String, Vec<usize>>,
    digests: BTreeMap<Digest, Vec<usize>>,
}

impl Known {
    fn of(entries: &[RootEntry]) -> Self {
        let mut known = Self::default();
        for (at, entry) in entries.iter().enumerate() {
            for text in &entry.texts {
                known.texts.entry(text.clone()).or_default().push(at);
            }
            if let Some(child) = &entry.child {
                known.digests.entry(child.digest).or_default().push(at);
            }
        }
        known
    }
}

/// The positions of the single entry that a reference means; repeated entries count as one.
fn pick(entries: &[RootEntry], known: &Known, reference: &Reference) -> Result<Vec<usize>> {
    let at = |found: Option<&Vec<usize>>| -> Vec<&RootEntry> {
        let found = found.into_iter().flatten();
        found.map(|at| &entries[*at]).collect()
    };
    let matches: Vec<&RootEntry> = match reference {
        Reference::Position(n) => entries.get(*n).into_iter().collect(),
        Reference::Digest(wanted) => at(known.digests.get(wanted)),
        Reference::Name(text) => match known.texts.get(text) {
            Some(found) => at(Some(found)),
            None => by_name(entries, text),
        },
    };
    let Some(first) = matches.first() else {
        // Reports the same error as every other command.
        select(entries.to_vec(), Some(reference))?;
        return Ok(Vec::new());
    };
    let is_same = |e: &&RootEntry| e.digest() == first.digest() && e.texts == first.texts;
    if !matches.iter().all(is_same) {
        let show = |entry: &&RootEntry| {
            let names: Vec<String> = entry.texts.iter().map(quote).collect();
            let digest = entry.digest().map(|digest| format!(" (@{digest})"));
            let digest = digest.unwrap_or_default();
            format!("#{} {}{digest}", entry.position, names.join(" = "))
        };
        let list: Vec<String> = matches.iter().take(20).map(show).collect();
        let message = format!("{} matches several entries", quote(reference.to_string()));
        return Err(
            Error::new(Code::Ambiguous, message).hint(format!("use one of: {}", list.join(", ")))
        );
    }
    Ok(matches.iter().map(|entry| entry.position).collect())
}
