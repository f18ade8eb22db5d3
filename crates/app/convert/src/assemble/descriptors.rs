//! Facts that only the list of a place's entry points holds: the list's own fields, and the fields
//! of its descriptors. A layout can store them; other destinations can't.

use std::collections::{BTreeMap, btree_map::Entry};

use imgconv_layout::{details, is_name};
use imgconv_manifest::is_of_bytes;
use imgconv_model::{Child, Digest, Env, Outcome as LossKind, Report, Result, TopLevel};

use super::subject;
use crate::{choose::request::Request, plan::lost::is_content, read::source::Source};

/// Copies the fields of a source root's descriptor to the descriptor of the written root, except
/// fields that are no longer true.
pub(crate) fn carry(new: Child, listed: &Child, env: &Env, report: &mut Report) -> Result<Child> {
    let mut annotations = listed.annotations.clone();
    if new.digest != listed.digest {
        subject::drop_soci_of_descriptor(&mut annotations, listed, report);
        lose_of_bytes(listed, env, report)?;
    }
    let platform = listed.platform.clone().filter(|own| !own.os.is_empty());
    Ok(Child {
        platform: platform.or(new.platform),
        annotations,
        raw: listed.raw.clone(),
        ..new
    })
}

/// Reports the fields of a descriptor that were valid for the old bytes of its document only.
fn lose_of_bytes(listed: &Child, env: &Env, report: &mut Report) -> Result<()> {
    for field in details(listed, &env.limits)? {
        if is_of_bytes(&field) && !is_content(&field) {
            let why = format!(
                "the field describes {}, and that document was rewritten",
                listed.digest
            );
            report.lose(format!("index.manifests.{field}"), LossKind::Dropped, why);
        }
    }
    Ok(())
}

/// Describes a document that was written anew for an entry of an index, whose other fields stay.
pub(crate) fn of_entry(
    new: Child,
    listed: &Child,
    request: &Request<'_>,
    report: &mut Report,
) -> Result<Child> {
    let mut annotations = listed.annotations.clone();
    // Where there is no index, all fields of the entry are reported.
    if request.capabilities.index {
        subject::drop_soci_of_descriptor(&mut annotations, listed, report);
        lose_of_bytes(listed, request.env, report)?;
    }
    Ok(Child {
        platform: listed.platform.clone().or(new.platform),
        annotations,
        raw: listed.raw.clone(),
        ..new
    })
}

/// Updates the annotations for names whose text is a digest, as containerd writes them for images
/// without a name. The old digest no longer names a root that was written anew. `config` is the
/// digest of the new config.
pub(crate) fn renew_digests(
    new: &mut Child,
    listed: &Child,
    config: Option<String>,
    report: &mut Report,
) {
    if new.digest == listed.digest {
        return;
    }
    let known = new.annotations.clone().into_iter();
    for (key, text) in known.filter(|(key, _)| is_name(key)) {
        let Ok(digest) = Digest::parse(text.trim_start_matches('@')) else {
            continue;
        };
        let field = format!("index.manifests.annotations.{key}");
        let why = format!("the annotation held {text}, and the image was rewritten");
        if digest == listed.digest {
            let now = text.replace(&digest.to_string(), &new.digest.to_string());
            new.annotations.insert(key, now);
            report.lose(field, LossKind::Approximated, why);
        } else if config.as_deref() != Some(&*digest.to_string()) {
            new.annotations.remove(&key);
            report.lose(field, LossKind::Dropped, why);
        }
    }
}

/// The room that a destination has for the own fields of the sources' lists.
#[derive(Debug)]
pub enum Room {
    /// The destination's list is new and takes all fields.
    New,
    /// The destination has no list, or one for each image; the text is the reason.
    None(&'static str),
    /// The destination has a list already, which keeps its own fields.
    There(TopLevel),
}

/// Merges the own fields of the lists of all sources for a new list. At other destinations, fields
/// that the existing list does not have already are lost.
pub fn top_level<'s>(
    sources: impl IntoIterator<Item = &'s Source>,
    room: &Room,
) -> (TopLevel, Report) {
    let mut all = match room {
        Room::New | Room::None(_) => TopLevel::default(),
        Room::There(there) => there.clone(),
    };
    let mut report = Report::default();
    let lists = sources
        .into_iter()
        .flat_map(|source| source.bundle.top_levels(&source.entries));
    for (place, own) in lists {
        let mut merge = |all: &mut BTreeMap<String, String>, own, prefix: &str| {
            for (key, text) in own {
                let field = format!("{prefix}{key}");
                match (room, all.entry(key)) {
                    (Room::None(why), _) => report.lose(field, LossKind::Dropped, *why),
                    (_, Entry::Occupied(other)) if *other.get() == text => {}
                    (Room::There(_), _) => {
                        let why = "the destination already has an index, and that index keeps its \
                                   own value";
                        report.lose(field, LossKind::Dropped, why);
                    }
                    (Room::New, Entry::Vacant(free)) => drop(free.insert(text)),
                    (Room::New, Entry::Occupied(_)) => {
                        let why = format!(
                            "the value of {place} differs from the value of another source"
                        );
                        report.lose(field, LossKind::Dropped, why);
                    }
                }
            }
        };
        merge(&mut all.annotations, own.annotations, "index.annotations.");
        merge(&mut all.properties, own.properties, "index.");
    }
    match room {
        Room::New => (all, report),
        Room::None(_) | Room::There(_) => (TopLevel::default(), report),
    }
}
