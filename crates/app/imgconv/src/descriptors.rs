//! What only the list of a place's entry points says: of itself, and in its descriptors. A layout
//! gets it, other places have no room for it.

use std::collections::{BTreeMap, btree_map::Entry};

use imgconv_model::{Bundle, Child, Env, Outcome as LossKind, Report, Result, TopLevel};
use imgconv_wire::layout::{details, is_name, is_of_bytes};

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

/// Puts together what the lists of all sources say of themselves, for a list that is new; without
/// one all of it is lost, and `why` says so.
pub(crate) fn top_level<'b>(
    bundles: impl Iterator<Item = &'b dyn Bundle>,
    why: Option<&str>,
) -> (TopLevel, Report) {
    let mut all = TopLevel::default();
    let mut report = Report::default();
    for bundle in bundles {
        let own = bundle.top_level();
        let mut merge = |all: &mut BTreeMap<String, String>, own, prefix: &str| {
            for (key, text) in own {
                let field = format!("{prefix}{key}");
                match (why, all.entry(key)) {
                    (Some(why), _) => report.lose(field, LossKind::Dropped, why),
                    (None, Entry::Vacant(free)) => drop(free.insert(text)),
                    (None, Entry::Occupied(other)) if *other.get() == text => {}
                    (None, Entry::Occupied(_)) => {
                        let why = format!("{} says something else than another", bundle.locator());
                        report.lose(field, LossKind::Dropped, why);
                    }
                }
            }
        };
        merge(&mut all.annotations, own.annotations, "index.annotations.");
        merge(&mut all.properties, own.properties, "index.");
    }
    (all, report)
}
