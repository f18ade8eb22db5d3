//! The comparison after a step: what the place holds, with what it must hold.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::belief::{Entry, Exact, Image, Kind, full_name, plain_platform, platform};
use crate::facts::{self, Facts};
use crate::outcome::{Checked, Fault};
use crate::place::{self, Family, list_of, text};
use crate::step::{Change, Walk};
use crate::tree::Tree;

/// A loss as one text, `OUTCOME FIELD`.
fn loss(loss: &Value) -> String {
    format!("{} {}", text(&loss["outcome"]), text(&loss["field"]))
}

/// Says whether losses name a document.
fn is_in(losses: &[String], document: &str) -> bool {
    losses.iter().any(|loss| loss.ends_with(document))
}

/// Each artifact is there, or reported as lost; those that are there stay in the list.
fn artifacts(
    list: &mut Vec<String>,
    is_there: impl Fn(&str) -> bool,
    is_lost: impl Fn(&str) -> bool,
) -> Checked {
    let mut present = Vec::new();
    for other in list.iter() {
        match (is_there(other), is_lost(other)) {
            (true, false) => present.push(other.clone()),
            (false, true) => {}
            (is_there, is_lost) => {
                let state = format!("{other} is there: {is_there}, reported: {is_lost}");
                return Err(Fault::new("artifact", state));
            }
        }
    }
    *list = present;
    Ok(())
}

impl Walk<'_> {
    /// Compares what a step made with what the model expects; returns the new beliefs.
    pub(crate) fn compare(
        &mut self,
        before: &[Entry],
        kind: Kind,
        change: &Change,
        mut reports: Vec<Value>,
        found: &[place::Entry],
    ) -> Checked<Vec<Entry>> {
        let losses = reports.iter().flat_map(|report| list_of(&report["losses"]));
        let losses: Vec<String> = losses.map(|value| loss(&value)).collect();
        for loss in &losses {
            let general = loss.split(" sha256:").next().unwrap_or_default().to_owned();
            *self.count.losses.entry(general).or_default() += 1;
        }
        let is_single = matches!(kind, Kind::Dir | Kind::Registry);
        let mut out = Vec::new();
        for entry in before {
            let mut after = entry.clone();
            after.name = entry.name_in(kind, change.restores()).to_owned();
            let name = after.name.clone();
            let is_mine = |report: &Value| {
                let is_named = full_name(&text(&report["name"])) == name;
                !report["platform"].is_null() && (is_single || is_named)
            };
            let (mine, rest): (Vec<Value>, _) = reports.into_iter().partition(is_mine);
            reports = rest;
            if mine.len() != entry.images.len() {
                let many = format!("{name}: {} images in the report", mine.len());
                return Err(Fault::new("report", many));
            }
            let is_here = |found: &&place::Entry| {
                is_single && !found.images.is_empty() || full_name(&found.name) == name
            };
            let there: Vec<&place::Entry> = found.iter().filter(is_here).collect();
            for image in &mut after.images {
                let place = format!("{name} {}", image.platform());
                let report = mine
                    .iter()
                    .find(|report| plain_platform(report) == image.platform());
                let report = match report.or(mine.first().filter(|_| mine.len() == 1)) {
                    Some(report) => report,
                    None => return Err(Fault::new("report", format!("{place} is not there"))),
                };
                let mut all = there.iter().flat_map(|entry| &entry.images);
                let is_one = all.clone().count() == 1;
                let wanted = plain_platform(report);
                let read = all.find(|read| is_one || platform(&facts::of(read)) == wanted);
                let read =
                    read.ok_or_else(|| Fault::new("place", format!("{place} is not there")))?;
                self.image(image, &name, kind, change, report, read)
                    .map_err(|fault| {
                        Fault::new(&fault.class, format!("{place}: {}", fault.account))
                    })?;
            }
            if is_single {
                after.name = match kind {
                    Kind::Registry => text(&mine[0]["name"]),
                    _ => String::new(),
                };
            }
            let records: Vec<&Exact> = entry
                .images
                .iter()
                .filter_map(|image| image.exact.as_deref())
                .collect();
            if kind == Kind::Acis {
                // A record that gave back its ACI is in that ACI.
                after.about.retain(|other| {
                    let mut of_it = records.iter().filter(|exact| exact.record == *other);
                    !of_it.any(|exact| {
                        after
                            .images
                            .iter()
                            .any(|image| image.digest == exact.image.digest)
                    })
                });
            }
            // Another index may list the same document, so what this one lists is looked up in it.
            let of_mine = mine.iter().flat_map(|report| list_of(&report["losses"]));
            let of_mine: Vec<String> = of_mine.map(|value| loss(&value)).collect();
            let is_inside = |other: &str| {
                let mut others = there.iter().flat_map(|entry| &entry.others);
                others.any(|found| found == other)
            };
            let is_lost = |other: &str| match is_inside(other) {
                true => is_in(&of_mine, other),
                false => is_in(&losses, other),
            };
            artifacts(&mut after.inside, is_inside, is_lost)?;
            let is_about = |other: &str| {
                let is_it = |entry: &place::Entry| {
                    entry.digest == other || entry.others.iter().any(|found| found == other)
                };
                found.iter().any(is_it)
            };
            artifacts(&mut after.about, is_about, |other| is_in(&losses, other))?;
            for image in &mut after.images {
                if image
                    .exact
                    .as_ref()
                    .is_some_and(|exact| !after.about.contains(&exact.record))
                {
                    image.exact = None;
                }
            }
            if change.reversible {
                for (image, before) in after.images.iter_mut().zip(&entry.images) {
                    let is_it = |report: &&Value| plain_platform(report) == before.platform();
                    let report = mine.iter().find(is_it).unwrap_or(&Value::Null);
                    let record = text(&report["reversal"]["digest"]);
                    let is_there = found.iter().any(|entry| entry.digest == record);
                    if record.is_empty() || !is_there {
                        return Err(Fault::new("record", format!("{record:?} is not there")));
                    }
                    after.about.push(record.clone());
                    image.exact = Some(Box::new(Exact {
                        record,
                        name: entry.name.clone(),
                        image: before.clone(),
                    }));
                }
            }
            match there.first() {
                Some(there) if kind != Kind::Acis => {
                    after.digest = there.digest.clone();
                    after.is_index = there.is_index;
                }
                _ => {
                    after.is_index = after.images.len() > 1;
                    after.digest = String::new();
                }
            }
            out.push(after);
        }
        if reports.iter().any(|report| !report["platform"].is_null()) {
            return Err(Fault::new(
                "report",
                "the report has images that were not asked for",
            ));
        }
        let known: usize = out.iter().map(|entry| entry.images.len()).sum();
        let there: usize = found.iter().map(|entry| entry.images.len()).sum();
        match known == there {
            true => Ok(out),
            false => Err(Fault::new(
                "place",
                format!("{there} images, expected {known}"),
            )),
        }
    }

    /// Compares one image with what it must have become, and takes over what it is now.
    fn image(
        &mut self,
        image: &mut Image,
        name: &str,
        kind: Kind,
        change: &Change,
        report: &Value,
        read: &place::Image,
    ) -> Checked {
        let (from, to) = (image.family, read.family);
        if to == Family::Aci
            && change.restores()
            && let Some(exact) = image.exact.take()
        {
            return self.restored(image, *exact, report, read);
        }
        let is_copy = from == Family::Aci && to == Family::Aci;
        // Documents that are kept for the way back give back what they hold.
        let known = match (from, to, &image.kept) {
            (Family::Aci, Family::Oci | Family::Docker, Some(kept)) => kept.clone(),
            _ => image.facts.clone(),
        };
        let (mut losses, mut expected) = match is_copy {
            true => (BTreeSet::new(), known.clone()),
            false => facts::lost(&known, to),
        };
        if to == Family::Aci
            && let Some(aci) = &image.aci
        {
            let own = aci.0.iter().filter(|(key, _)| {
                facts::is_of_aci(key) && !["dependencies", "pathWhitelist"].contains(&key.as_str())
            });
            expected.extend(own.map(|(key, value)| (key.clone(), value.clone())));
            // The label of the ACI that comes back means an annotation too, which was not there.
            let key = "annotations.org.opencontainers.image.version";
            if aci.1.is_none()
                && image.untagged
                && !expected.contains_key(key)
                && !name.ends_with(":latest")
            {
                losses.insert(
                    "synthesised annotations.\"org.opencontainers.image.version\"".to_owned(),
                );
                let version = name.rsplit(':').next().unwrap_or_default();
                expected.insert(key.to_owned(), Value::from(version));
            }
        }
        if kind == Kind::Dir && !name.is_empty() {
            losses.insert("dropped name".to_owned());
        }
        self.losses(&losses, report)?;
        let mut found = facts::of(read);
        let count = match (from, &image.rendered) {
            // Dependencies that are met twice may be one layer.
            (Family::Aci, Some(_)) => read.layers.len(),
            (Family::Aci, None) => 1,
            _ => image.diff_ids.len(),
        };
        // The lowest layer that is merged, and with it all above.
        let merges = match (change.squash, from, to) {
            (_, _, Family::Aci) => None,
            (Some(_), Family::Aci, _) if image.rendered.is_some() => None,
            (Some(squash), ..) => squash.from(count),
            (None, ..) => None,
        };
        let layers = match (from, merges) {
            (_, Some(from)) => from + 1,
            (_, None) => count,
        };
        let left = expected.clone();
        let history = |facts: &mut Facts| facts.remove("history").map(|value| facts::steps(&value));
        let (old, new) = (history(&mut expected), history(&mut found));
        let old = old.map(|steps| match merges {
            Some(from) => facts::merged(steps, from),
            None if from == Family::Aci && to != from && facts::layers(&steps) > 1 => {
                facts::merged(steps, 0)
            }
            None => steps,
        });
        let mut differences = facts::differences(&expected, &found);
        if old != new {
            differences.push(format!("history: expected {old:?}, found {new:?}"));
        }
        if !differences.is_empty() {
            return Err(Fault::new("facts", differences.join("\n")));
        }
        self.layers(image, layers, change, kind, read)?;
        if to != Family::Aci
            && let Some(rendered) = image.rendered.take()
        {
            image.tree = rendered;
        }
        if let Some(limit) = change.clamp {
            image.tree.clamp(limit);
        }
        image.stargz |= change.compression == Some("estargz");
        self.tree(image, &read.tree)?;
        let kept = match (to, image.aci.take()) {
            _ if is_copy => image.kept.clone(),
            (Family::Aci, Some(aci)) => aci.1,
            (Family::Aci, None) => {
                // Values that were changed stay as they are.
                let now = |(key, value): (&String, &Value)| {
                    (key.clone(), left.get(key).unwrap_or(value).clone())
                };
                Some(known.iter().map(now).collect())
            }
            (Family::Oci, aci) if from == Family::Oci => {
                image.aci = aci;
                None
            }
            _ => None,
        };
        let aci = match (from, to) {
            (Family::Aci, Family::Oci) => Some(Box::new((image.facts.clone(), image.kept.take()))),
            (Family::Oci, Family::Oci) => image.aci.take(),
            _ => None,
        };
        let untagged = match to {
            // Only an ACI that comes back has no version for `latest`.
            Family::Aci | Family::Oci => image.untagged,
            Family::Docker | Family::Rootfs => false,
        };
        let before = std::mem::replace(image, Image::of(read));
        (image.kept, image.untagged, image.stargz) = (kept, untagged, before.stargz);
        (image.tree, image.exact, image.aci) = (before.tree, before.exact, aci);
        image.rendered = before.rendered.filter(|_| is_copy);
        if to == Family::Aci {
            image.diff_ids = before.diff_ids;
            image.is_text = before.is_text;
        }
        Ok(())
    }

    /// The record beside an image gave back the very ACI that the image was made of.
    fn restored(
        &mut self,
        image: &mut Image,
        exact: Exact,
        report: &Value,
        read: &place::Image,
    ) -> Checked {
        self.losses(&BTreeSet::new(), report)?;
        if read.digest != exact.image.digest || report["exact"] != true {
            let ids = format!("{} is not {}", read.digest, exact.image.digest);
            return Err(Fault::new("exact", ids));
        }
        self.tree(&exact.image, &read.tree)?;
        *image = exact.image;
        self.count.exact += 1;
        Ok(())
    }

    /// The layers are as many as expected, compressed as requested, and those that nothing changes
    /// are the same bytes.
    fn layers(
        &self,
        image: &Image,
        layers: usize,
        change: &Change,
        kind: Kind,
        read: &place::Image,
    ) -> Checked {
        if read.family == Family::Aci {
            return Ok(());
        }
        let count = image.diff_ids.len();
        if read.layers.len() != layers {
            let many = format!("{} layers, expected {layers} of {count}", read.layers.len());
            return Err(Fault::new("layers", many));
        }
        let codec = match change.compression {
            Some("zstd" | "zstd:chunked") => Some("zstd"),
            Some("gzip" | "estargz") => Some("gzip"),
            Some(_) => Some("none"),
            None if matches!(kind, Kind::DockerArchive | Kind::DockerArchives) => Some("none"),
            None => None,
        };
        for layer in &read.layers {
            if codec.is_some_and(|codec| codec != layer.compression) {
                let how = format!("a layer is {}, requested was {codec:?}", layer.compression);
                return Err(Fault::new("codec", how));
            }
        }
        let is_kept = change.clamp.is_none()
            && change.compression != Some("estargz")
            && image.family != Family::Aci;
        let same = if change.squash.is_some() {
            layers.saturating_sub(1)
        } else {
            layers
        };
        let ids = read.layers.iter().map(|layer| &layer.diff_id);
        if is_kept && !ids.take(same).eq(image.diff_ids.iter().take(same)) {
            return Err(Fault::new(
                "layers",
                "a layer was changed that had to be kept",
            ));
        }
        let is_untouched = is_kept && change.squash.is_none() && change.compression.is_none();
        let is_oci = image.family == Family::Oci && read.family == Family::Oci;
        if is_untouched && is_oci && image.digest != read.digest {
            let digests = format!("{} became {}", image.digest, read.digest);
            return Err(Fault::new("digest", digests));
        }
        Ok(())
    }

    /// The losses of a report are exactly those that the model expects; artifacts are counted apart.
    pub(crate) fn losses(&self, expected: &BTreeSet<String>, report: &Value) -> Checked {
        let reported = list_of(&report["losses"]);
        let reported = reported.iter().map(loss);
        let reported: BTreeSet<String> =
            reported.filter(|loss| !loss.contains(" sha256:")).collect();
        let silent: Vec<&String> = expected.difference(&reported).collect();
        let untrue: Vec<&String> = reported.difference(expected).collect();
        match silent.is_empty() && untrue.is_empty() {
            true => Ok(()),
            false => {
                let account =
                    format!("not reported: {silent:?}; reported without a loss: {untrue:?}");
                Err(Fault::new("losses", account))
            }
        }
    }

    /// The files of an image are those that were found.
    pub(crate) fn tree(&mut self, image: &Image, found: &Tree) -> Checked {
        let mut found = found.clone();
        if image.stargz {
            found.forget_stargz();
        }
        let differences = image.tree.differences(&found, true);
        if !differences.is_empty() {
            return Err(Fault::new("tree", differences.join("\n")));
        }
        self.count.trees += 1;
        Ok(())
    }
}
