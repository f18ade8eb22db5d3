//! A failed chain made smaller, as long as it fails in the same way.

use crate::outcome::{Count, Fault, World};
use crate::recipe::{Recipe, once};
use crate::subject::{Aci, Form};

use serde_json::{Map, Value};

/// The most runs for one failure.
const RUNS: usize = 600;

/// A small chain that fails.
#[derive(Debug)]
pub struct Small {
    /// The chain.
    pub recipe: Recipe,
    /// Its fault.
    pub fault: Fault,
}

/// Takes away steps, entries, images, artifacts, layers, members and fields, one kind after the
/// other, and again until nothing more can go.
pub fn shrink(recipe: Recipe, fault: &Fault, world: &World) -> Small {
    let mut small = Small {
        recipe,
        fault: fault.clone(),
    };
    let mut runs = 0;
    loop {
        let mut is_smaller = false;
        for candidates in [steps, entries, parts, layers, members, fields] {
            let mut at = 0;
            while let Some(smaller) = candidates(&small.recipe, at) {
                runs += 1;
                if runs > RUNS {
                    return small;
                }
                match once(&smaller, world, &mut Count::default()) {
                    Err(fault) if fault.class == small.fault.class => {
                        small = Small {
                            recipe: smaller,
                            fault,
                        };
                        is_smaller = true;
                    }
                    _ => at += 1,
                }
            }
        }
        if !is_smaller {
            return small;
        }
    }
}

/// Without one step, the last first: the steps after the failure go at once.
fn steps(recipe: &Recipe, at: usize) -> Option<Recipe> {
    let last = recipe.steps.len().checked_sub(at + 1)?;
    let mut smaller = recipe.clone();
    smaller.steps.remove(last);
    Some(smaller)
}

/// Without one entry.
fn entries(recipe: &Recipe, at: usize) -> Option<Recipe> {
    let mut smaller = recipe.clone();
    let subject = &mut smaller.subject;
    if subject.form == Form::Acis {
        return acis(recipe, at);
    }
    if at >= subject.entries.len() || subject.entries.len() == 1 {
        return None;
    }
    subject.entries.remove(at);
    Some(smaller)
}

/// Without one dependency, one ACI that no other needs, a whitelist, or a field of a manifest.
fn acis(recipe: &Recipe, at: usize) -> Option<Recipe> {
    let mut candidates = Vec::new();
    for (number, aci) in recipe.subject.acis.iter().enumerate() {
        let mut add = |change: &dyn Fn(&mut Vec<Aci>)| {
            let mut smaller = recipe.clone();
            change(&mut smaller.subject.acis);
            candidates.push(smaller);
        };
        let is_needed = |other: &Aci| other.dependencies.contains(&number);
        if recipe.subject.acis.len() > 1 && !recipe.subject.acis.iter().any(is_needed) {
            add(&|acis| {
                acis.remove(number);
                for below in acis.iter_mut().flat_map(|aci| &mut aci.dependencies) {
                    *below -= usize::from(*below > number);
                }
            });
        }
        for below in 0..aci.dependencies.len() {
            add(&|acis| {
                acis[number].dependencies.remove(below);
            });
        }
        for path in 0..aci.whitelist.len() {
            add(&|acis| drop(acis[number].whitelist.remove(path)));
        }
        for key in aci.manifest.keys() {
            add(&|acis| drop(acis[number].manifest.remove(key)));
        }
        for key in aci
            .manifest
            .get("app")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::keys)
        {
            let is_needed = ["exec", "user", "group"].contains(&key.as_str());
            if !is_needed {
                add(&|acis| {
                    if let Some(app) = acis[number]
                        .manifest
                        .get_mut("app")
                        .and_then(Value::as_object_mut)
                    {
                        app.remove(key);
                    }
                });
            }
        }
        let items: Vec<_> = aci.layer.items().collect();
        for (item, _) in items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.entry.path != b"manifest")
        {
            add(&|acis| acis[number].layer = acis[number].layer.without(item..item + 1));
        }
        if aci.ending != 0 || aci.is_packed || aci.pins {
            add(&|acis| {
                let aci = &mut acis[number];
                (aci.ending, aci.is_packed, aci.pins) = (0, false, false);
            });
        }
    }
    candidates.into_iter().nth(at)
}

/// Without one image of an index, without the artifacts, or without the attestation.
fn parts(recipe: &Recipe, at: usize) -> Option<Recipe> {
    let mut smaller = recipe.clone();
    let mut left = at;
    for entry in &mut smaller.subject.entries {
        if entry.images.len() > 1 {
            if left < entry.images.len() {
                entry.images.remove(left);
                return Some(smaller);
            }
            left -= entry.images.len();
        }
        for is_there in [
            !entry.artifacts.is_empty(),
            entry.attested,
            entry.is_index && entry.images.len() == 1,
        ] {
            if is_there && left == 0 {
                match (entry.artifacts.is_empty(), entry.attested) {
                    (false, _) => entry.artifacts.clear(),
                    (true, true) => entry.attested = false,
                    (true, false) => entry.is_index = false,
                }
                return Some(smaller);
            }
            left -= usize::from(is_there);
        }
    }
    None
}

/// Without one layer.
fn layers(recipe: &Recipe, at: usize) -> Option<Recipe> {
    let mut smaller = recipe.clone();
    let mut left = at;
    for image in smaller.subject.images_mut() {
        if image.layers.len() > 1 {
            if left < image.layers.len() {
                image.layers.remove(left);
                return Some(smaller);
            }
            left -= image.layers.len();
        }
    }
    None
}

/// Without some members of one layer: half of them, a quarter, one.
fn members(recipe: &Recipe, at: usize) -> Option<Recipe> {
    let mut smaller = recipe.clone();
    let mut left = at;
    let images = smaller.subject.images_mut();
    for stored in images.into_iter().flat_map(|image| &mut image.layers) {
        let count = stored.layer.items().count();
        let mut size = count;
        while size > 0 {
            let pieces = count.div_ceil(size);
            if left < pieces {
                let from = left * size;
                stored.layer = stored.layer.without(from..(from + size).min(count));
                return Some(smaller);
            }
            left -= pieces;
            size /= 2;
        }
    }
    None
}

/// Without one field of a config, without its annotations, history or compression.
fn fields(recipe: &Recipe, at: usize) -> Option<Recipe> {
    let mut smaller = recipe.clone();
    let mut left = at;
    for image in smaller.subject.images_mut() {
        let run = image.config.get("config").and_then(|run| run.as_object());
        let run: Vec<String> = run
            .map(|run| run.keys().cloned().collect())
            .unwrap_or_default();
        if let Some(key) = run.get(left) {
            if let Some(run) = image
                .config
                .get_mut("config")
                .and_then(|run| run.as_object_mut())
            {
                run.remove(key);
            }
            return Some(smaller);
        }
        left -= run.len();
        let needed = ["architecture", "os", "variant"];
        let keys = image
            .config
            .keys()
            .filter(|key| !needed.contains(&key.as_str()));
        let keys: Vec<String> = keys.cloned().collect();
        if let Some(key) = keys.get(left) {
            image.config.remove(key);
            return Some(smaller);
        }
        left -= keys.len();
        let keys: Vec<String> = image.annotations.keys().cloned().collect();
        if let Some(key) = keys.get(left) {
            image.annotations.remove(key);
            return Some(smaller);
        }
        left -= keys.len();
        if image.history {
            if left == 0 {
                image.history = false;
                return Some(smaller);
            }
            left -= 1;
        }
        for stored in &mut image.layers {
            if stored.compression != "none" {
                if left == 0 {
                    stored.compression = "none";
                    return Some(smaller);
                }
                left -= 1;
            }
        }
    }
    None
}
