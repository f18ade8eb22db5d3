//! What only the list of a place's entry points says: of itself, and in its descriptors. A layout
//! gets it, other places have no room for it.

use std::collections::{BTreeMap, btree_map::Entry};

use imgconv_layout::{details, is_name, is_of_bytes};
use imgconv_model::{Child, Digest, Env, Outcome as LossKind, Report, Result, TopLevel};

use crate::source::Source;

/// Makes the descriptor of what a root has become say what the root's own did, except what is no
/// longer true.
pub(crate) fn carry(new: Child, listed: &Child, env: &Env, report: &mut Report) -> Result<Child> {
    if new.digest != listed.digest {
        for field in details(listed, &env.limits)? {
            if is_of_bytes(&field) && !is_content(&field) {
                let why = format!("it is of {}, which was written anew", listed.digest);
                report.lose(format!("index.manifests.{field}"), LossKind::Dropped, why);
            }
        }
    }
    let platform = listed.platform.clone().filter(|own| !own.os.is_empty());
    Ok(Child {
        platform: platform.or(new.platform),
        annotations: listed.annotations.clone(),
        raw: listed.raw.clone(),
        ..new
    })
}

/// Says whether a field only repeats what the root is: without it nothing is lost.
fn is_content(field: &str) -> bool {
    field == "data"
}

/// Brings texts in the place of names up to date that are digests, as containerd calls images that
/// nobody named: those of a root that was written anew name it no more. `config` is the new one.
pub(crate) fn renew_digests(
    new: &mut Child,
    listed: &Child,
    config: Option<String>,
    report: &mut Report,
) {
    if new.digest == listed.digest {
        return;
    }
    let known: Vec<(String, String)> = new
        .annotations
        .iter()
        .filter(|(key, _)| is_name(key))
        .map(|(key, text)| (key.clone(), text.clone()))
        .collect();
    for (key, text) in known {
        let Ok(digest) = Digest::parse(text.trim_start_matches('@')) else {
            continue;
        };
        let field = format!("index.manifests.annotations.{key}");
        if digest == listed.digest {
            let now = text.replace(&digest.to_string(), &new.digest.to_string());
            new.annotations.insert(key, now);
            let why = format!("it was {text}, and the image was written anew");
            report.lose(field, LossKind::Approximated, why);
        } else if config.as_deref() != Some(&*digest.to_string()) {
            new.annotations.remove(&key);
            let why = format!("it was {text}, and the image was written anew");
            report.lose(field, LossKind::Dropped, why);
        }
    }
}

/// Reports what a descriptor says where none is written. Names are for others.
pub(crate) fn lose(listed: &Child, why: &str, env: &Env, report: &mut Report) -> Result<()> {
    for field in details(listed, &env.limits)? {
        if is_content(&field) {
            continue;
        }
        if !field.strip_prefix("annotations.").is_some_and(is_name) {
            report.lose(format!("index.manifests.{field}"), LossKind::Dropped, why);
        }
    }
    Ok(())
}

/// The place that a destination has for what the lists of its sources say of themselves.
#[derive(Debug)]
pub(crate) enum Room {
    /// Its list is new, and says all of it.
    New,
    /// The destination has no list, or one for each image; why.
    None(&'static str),
    /// The destination has a list already, which keeps its own.
    There(TopLevel),
}

/// Puts together what the lists of all sources say of themselves, for a list that is new; elsewhere
/// what is not said there already is lost.
pub(crate) fn top_level<'s>(
    sources: impl Iterator<Item = &'s Source>,
    room: &Room,
) -> (TopLevel, Report) {
    let mut all = match room {
        Room::New | Room::None(_) => TopLevel::default(),
        Room::There(there) => there.clone(),
    };
    let mut report = Report::default();
    let lists = sources.flat_map(|source| source.bundle.top_levels(&source.entries));
    for (place, own) in lists {
        let mut merge = |all: &mut BTreeMap<String, String>, own, prefix: &str| {
            for (key, text) in own {
                let field = format!("{prefix}{key}");
                match (room, all.entry(key)) {
                    (Room::None(why), _) => report.lose(field, LossKind::Dropped, *why),
                    (_, Entry::Occupied(other)) if *other.get() == text => {}
                    (Room::There(_), _) => {
                        let why = "the destination has an index already, which keeps its own";
                        report.lose(field, LossKind::Dropped, why);
                    }
                    (Room::New, Entry::Vacant(free)) => drop(free.insert(text)),
                    (Room::New, Entry::Occupied(_)) => {
                        let why = format!("{place} says something else than another");
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
