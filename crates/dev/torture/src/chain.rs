//! Chains of conversions: the program goes from place to place, and after each step the place is
//! read and compared with what the model expects there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgconv_testkit::random::Random;
use imgconv_testkit::registry::{Registry, Stored};
use serde_json::Value;

use crate::facts::{self, Facts};
use crate::place::{self, Family, list_of, text};
use crate::subject::{Form, Subject};
use crate::tree::Tree;
use crate::{Failure, Result, disk};

/// What a run needs besides the subject.
#[derive(Debug)]
pub struct World {
    /// The program under test.
    pub program: PathBuf,
    /// True if umoci judges some trees too.
    pub umoci: bool,
    /// A registry of this thread alone.
    pub registry: Registry,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Chains.
    pub chains: u64,
    /// Images of all subjects.
    pub images: u64,
    /// Conversions and other changes.
    pub steps: u64,
    /// Trees that were compared with the model's.
    pub trees: u64,
    /// Trees of umoci that were compared with the model's.
    pub umoci: u64,
    /// Losses, each `OUTCOME FIELD` in general form, and how often each was reported.
    pub losses: BTreeMap<String, u64>,
    /// Steps that were done twice, to compare digests.
    pub repeated: u64,
}

impl Count {
    /// Adds what another thread did.
    pub fn add(&mut self, other: &Self) {
        self.chains += other.chains;
        self.images += other.images;
        self.steps += other.steps;
        self.trees += other.trees;
        self.umoci += other.umoci;
        self.repeated += other.repeated;
        for (loss, count) in &other.losses {
            *self.losses.entry(loss.clone()).or_default() += count;
        }
    }
}

/// A difference between the program and the model.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind of the difference: shrinking keeps it.
    pub class: String,
    /// The whole account.
    pub account: String,
}

impl Fault {
    fn new(class: &str, account: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            account: account.into(),
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::new("reading", failure.to_string())
    }
}

type Checked<T = ()> = std::result::Result<T, Fault>;

/// The kind of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Layout,
    LayoutArchive,
    DockerArchive,
    Dir,
    Registry,
    Acis,
}

/// What the model believes of an image.
#[derive(Clone, Debug)]
struct Image {
    facts: Facts,
    /// The facts before the image became an ACI: the ACI keeps the documents for the way back.
    kept: Option<Facts>,
    tree: Tree,
    family: Family,
    digest: String,
    /// The digests of the tars of the layers.
    diff_ids: Vec<String>,
    /// True if umoci can read the layers: it knows no zstd.
    old_codecs: bool,
    /// True if the image was an ACI without a version, which its documents still say.
    untagged: bool,
}

/// What the model believes of an entry.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    images: Vec<Image>,
    is_index: bool,
    digest: String,
    /// The digests of documents that the index lists and that are no images.
    inside: Vec<String>,
    /// The digests of documents about the entry.
    about: Vec<String>,
}

/// A place in the middle of a chain.
#[derive(Clone, Debug)]
struct Here {
    kind: Kind,
    locator: String,
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Image {
    fn platform(&self) -> String {
        let part = |key: &str| self.facts.get(key).map(text).unwrap_or_default();
        let (os, architecture, variant) = (part("os"), part("architecture"), part("variant"));
        let slash = if variant.is_empty() { "" } else { "/" };
        format!("{os}/{architecture}{slash}{variant}")
    }
}

/// Runs a chain: the steps are seeds, each of which becomes a step that is possible where the chain
/// stands then.
///
/// # Errors
/// If the program and the model differ.
pub fn run(
    subject: &Subject,
    steps: &[u64],
    world: &World,
    folder: &Path,
    count: &mut Count,
) -> Checked {
    let mut empty = Stored::default();
    empty.referrers = true;
    *world.registry.stored() = empty;
    let mut here = start(subject, folder)?;
    count.chains += 1;
    count.images += subject.images() as u64;
    let mut done = Vec::new();
    for (number, seed) in steps.iter().enumerate() {
        let mut random = Random::new(*seed);
        let mut walk = Walk {
            world,
            folder,
            number,
            random: &mut random,
            count,
            done: &mut done,
        };
        here = match walk.step(&here) {
            Ok(next) => next,
            Err(mut fault) => {
                fault.account = format!("{}\n{}", done.join("\n"), fault.account);
                return Err(fault);
            }
        };
        count.steps += 1;
    }
    Ok(())
}

/// Writes the subject, and compares what the model reads there with what the generator meant.
fn start(subject: &Subject, folder: &Path) -> Checked<Here> {
    let (kind, name, scheme) = match subject.form {
        Form::Layout => (Kind::Layout, "start", "oci"),
        Form::DockerArchive => (Kind::DockerArchive, "start.tar", "docker-archive"),
    };
    let path = folder.join(name);
    subject.write(&path)?;
    let found = read(kind, &path)?;
    let mut entries = Vec::new();
    for entry in &subject.entries {
        let name = full_name(&entry.name);
        let found = found.iter().find(|found| full_name(&found.name) == name);
        let found = found.ok_or_else(|| Fault::new("model", format!("{name} is not written")))?;
        let mut images = Vec::new();
        for (image, read) in entry.images.iter().zip(&found.images) {
            let differences = image.tree()?.differences(&read.tree, true);
            if !differences.is_empty() {
                return Err(Fault::new("model", differences.join("\n")));
            }
            images.push(believed(read, facts::of(read)));
        }
        entries.push(Entry {
            name,
            images,
            is_index: entry.is_index,
            digest: found.digest.clone(),
            inside: found.others.clone(),
            about: Vec::new(),
        });
    }
    for artifact in found.iter().filter(|entry| entry.name.is_empty()) {
        let about = entries
            .iter_mut()
            .find(|entry| Some(&entry.digest) == artifact.subject.as_ref());
        let about = about.ok_or_else(|| Fault::new("model", "an artifact about nothing"))?;
        about.about.push(artifact.digest.clone());
    }
    Ok(Here {
        kind,
        locator: format!("{scheme}:{}", path.display()),
        path,
        entries,
    })
}

fn believed(read: &place::Image, facts: Facts) -> Image {
    Image {
        facts,
        kept: None,
        tree: read.tree.clone(),
        family: read.family,
        digest: read.digest.clone(),
        diff_ids: read
            .layers
            .iter()
            .map(|layer| layer.diff_id.clone())
            .collect(),
        old_codecs: read.layers.iter().all(|layer| layer.compression != "zstd"),
        untagged: false,
    }
}

fn read(kind: Kind, path: &Path) -> Result<Vec<place::Entry>> {
    match kind {
        Kind::Layout => place::layout(path),
        Kind::LayoutArchive => place::layout_archive(path),
        Kind::DockerArchive => place::docker_archive(path),
        Kind::Dir => place::dir(path),
        Kind::Registry => Err(Failure::new("a registry is not read by a path".to_owned())),
        Kind::Acis => acis(path),
    }
}

/// The platform of a report, without the version and the features of the system.
fn plain_platform(report: &Value) -> String {
    let platform = text(&report["platform"]);
    match (platform.find('('), platform.rfind(')')) {
        (Some(from), Some(to)) => format!("{}{}", &platform[..from], &platform[to + 1..]),
        _ => platform,
    }
}

fn acis(folder: &Path) -> Result<Vec<place::Entry>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| Failure::io(folder, &error))? {
        let path = entry.map_err(|error| Failure::io(folder, &error))?.path();
        let mut entry = place::aci(&path)?;
        let file = path.file_name().unwrap_or_default();
        entry.name = file.to_string_lossy().into_owned();
        out.push(entry);
    }
    Ok(out)
}

/// A reference with its host and its tag, as docker fills in what is left out.
fn full_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or_default();
    let name = match name.is_empty() || last.contains(':') {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    };
    let Some((first, _)) = name.split_once('/') else {
        return match &name[..] {
            "" => String::new(),
            _ => format!("docker.io/library/{name}"),
        };
    };
    match first.contains('.') || first.contains(':') || first == "localhost" {
        true => name,
        false => format!("docker.io/{name}"),
    }
}

/// One step.
struct Walk<'a> {
    world: &'a World,
    folder: &'a Path,
    number: usize,
    random: &'a mut Random,
    count: &'a mut Count,
    done: &'a mut Vec<String>,
}

/// How a step changes layers.
#[derive(Clone, Debug, Default)]
struct Change {
    arguments: Vec<String>,
    squash: Option<Squash>,
    compression: Option<&'static str>,
    clamp: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
enum Squash {
    All,
    Last(usize),
    KeepBase(usize),
    AtMost(usize),
}

impl Squash {
    /// The lowest of the merged layers; `None` if no layer is merged.
    fn from(self, count: usize) -> Option<usize> {
        match self {
            Self::All => Some(0),
            Self::Last(last) => Some(count.saturating_sub(last)),
            Self::KeepBase(base) => Some(base).filter(|base| *base < count),
            Self::AtMost(most) => Some(most - 1).filter(|_| most < count),
        }
    }
}

impl Walk<'_> {
    fn step(&mut self, here: &Here) -> Checked<Here> {
        let kinds = [
            Kind::Layout,
            Kind::Layout,
            Kind::LayoutArchive,
            Kind::DockerArchive,
            Kind::Dir,
            Kind::Acis,
            Kind::Acis,
        ];
        let kind = self.random.pick(&kinds);
        let next = self.convert(here, kind)?;
        self.verify(&next)?;
        if self.random.percent(30) {
            self.unpack(&next)?;
        }
        Ok(next)
    }

    fn change(&mut self, to: Kind) -> Change {
        let mut change = Change::default();
        if self.random.percent(30) {
            let n = 1 + self.random.below(3);
            let (squash, arguments) = match self.random.below(4) {
                0 if to != Kind::Acis => {
                    (Squash::Last(n), vec!["--last".to_owned(), n.to_string()])
                }
                1 if to != Kind::Acis => (
                    Squash::KeepBase(n),
                    vec!["--keep-base".to_owned(), n.to_string()],
                ),
                2 if to != Kind::Acis => (
                    Squash::AtMost(n),
                    vec!["--max-layers".to_owned(), n.to_string()],
                ),
                _ => (Squash::All, Vec::new()),
            };
            change.squash = Some(squash);
            change.arguments.push("--squash".to_owned());
            change.arguments.extend(arguments);
        }
        if to != Kind::DockerArchive && self.random.percent(30) {
            let how = match to {
                // Docker's manifests have no type for zstd.
                Kind::Acis | Kind::Dir => self.random.pick(&["gzip", "none"]),
                _ => self.random.pick(&["gzip", "zstd", "none"]),
            };
            change.compression = Some(how);
            change
                .arguments
                .extend(["--compression".to_owned(), how.to_owned()]);
            if self.random.percent(50) {
                change.arguments.push("--force".to_owned());
            }
        }
        if self.random.percent(10) {
            let limit = self.random.pick(&[0, 1_000_000_000, 1_500_000_000]);
            change.clamp = Some(limit);
            change
                .arguments
                .extend(["--clamp-mtime".to_owned(), limit.to_string()]);
        }
        change
    }

    fn convert(&mut self, here: &Here, kind: Kind) -> Checked<Here> {
        let change = self.change(kind);
        let (mut source, mut more) = (here.locator.clone(), Vec::new());
        let mut chosen = here.entries.clone();
        let is_narrow = kind == Kind::Dir
            || (kind == Kind::DockerArchive && chosen.iter().any(|entry| entry.images.len() > 1));
        if is_narrow {
            let mut entry = self.random.pick(&chosen);
            if chosen.len() > 1 || !entry.about.is_empty() {
                // What is not chosen is not lost.
                entry.about.clear();
                source = format!("{source}:{}", entry.name);
            }
            if entry.images.len() > 1 && (kind == Kind::DockerArchive || self.random.percent(50)) {
                let image = self.random.pick(&entry.images);
                more.extend(["--platform".to_owned(), image.platform()]);
                entry.digest = image.digest.clone();
                entry.images = vec![image];
                entry.inside.clear();
                entry.is_index = false;
            }
            chosen = vec![entry];
        }
        if kind != Kind::Dir && chosen.iter().any(|entry| entry.name.is_empty()) {
            let name = format!("example.com/named{}:1", self.number);
            more.extend(["--name".to_owned(), name.clone()]);
            chosen[0].name = name;
        }
        let (scheme, end) = match kind {
            Kind::Layout => ("oci", ""),
            Kind::LayoutArchive => ("oci-archive", ".tar"),
            Kind::DockerArchive => ("docker-archive", ".tar"),
            Kind::Dir => ("dir", ""),
            Kind::Registry => ("docker", ""),
            Kind::Acis => ("aci", ""),
        };
        let path = self.folder.join(format!("{}{end}", self.number));
        let slash = if kind == Kind::Acis { "/" } else { "" };
        let target = format!("{scheme}:{}{slash}", path.display());
        let mut arguments = vec!["convert".to_owned(), source, target];
        arguments.extend(change.arguments.iter().cloned());
        arguments.extend(more);
        let result = self.program(&arguments)?;
        let found = read(kind, &path)?;
        let entries = self.compare(&chosen, kind, &change, &result, &found)?;
        let scheme = if kind == Kind::Acis {
            "aci-tree"
        } else {
            scheme
        };
        let locator = format!("{scheme}:{}", path.display());
        Ok(Here {
            kind,
            locator,
            path,
            entries,
        })
    }

    /// Compares what a step made with what the model expects; returns the new beliefs.
    fn compare(
        &mut self,
        before: &[Entry],
        kind: Kind,
        change: &Change,
        result: &Value,
        found: &[place::Entry],
    ) -> Checked<Vec<Entry>> {
        let mut reports = list_of(&result["images"]);
        let mut all_losses = Vec::new();
        for report in &reports {
            for loss in list_of(&report["losses"]) {
                let loss = format!("{} {}", text(&loss["outcome"]), text(&loss["field"]));
                all_losses.push(loss);
            }
        }
        for loss in &all_losses {
            let general = loss.split(" sha256:").next().unwrap_or_default().to_owned();
            *self.count.losses.entry(general).or_default() += 1;
        }
        let mut out = Vec::new();
        for entry in before {
            let mut after = entry.clone();
            let names = |report: &Value| full_name(&text(&report["name"])) == entry.name;
            let (mine, rest): (Vec<Value>, Vec<Value>) = reports.into_iter().partition(|report| {
                !report["platform"].is_null() && (kind == Kind::Dir || names(report))
            });
            reports = rest;
            if mine.len() != entry.images.len() {
                let many = format!("{}: {} images in the report", entry.name, mine.len());
                return Err(Fault::new("report", many));
            }
            let there = found
                .iter()
                .find(|found| kind == Kind::Dir || full_name(&found.name) == entry.name);
            for image in &mut after.images {
                let platform = image.platform();
                let report = mine
                    .iter()
                    .find(|report| plain_platform(report) == platform);
                let report = match report {
                    Some(report) => report,
                    None if mine.len() == 1 => &mine[0],
                    None => {
                        return Err(Fault::new(
                            "report",
                            format!("{platform} is not in the report"),
                        ));
                    }
                };
                let read = match kind {
                    Kind::Acis => {
                        let file = text(&report["destination"]);
                        let file = file.rsplit('/').next().unwrap_or_default().to_owned();
                        found
                            .iter()
                            .find(|entry| entry.name == file)
                            .map(|entry| &entry.images[0])
                    }
                    _ => {
                        let images = there.map(|entry| &entry.images[..]).unwrap_or_default();
                        let place = |read: &&place::Image| {
                            images.len() == 1
                                || believed(read, facts::of(read)).platform()
                                    == plain_platform(report)
                        };
                        images.iter().find(place)
                    }
                };
                let read = read.ok_or_else(|| {
                    Fault::new("place", format!("{} {platform} is not there", entry.name))
                })?;
                self.image(image, &entry.name, kind, change, report, read)
                    .map_err(|fault| {
                        Fault::new(
                            &fault.class,
                            format!("{} {platform}: {}", entry.name, fault.account),
                        )
                    })?;
            }
            if kind == Kind::Dir {
                after.name = String::new();
            }
            for list in [&mut after.inside, &mut after.about] {
                let mut present = Vec::new();
                for other in list.iter() {
                    let is_there = found
                        .iter()
                        .any(|entry| entry.digest == *other || entry.others.contains(other));
                    let is_lost = all_losses.iter().any(|loss| loss.ends_with(&other[..]));
                    match (is_there, is_lost) {
                        (true, false) => present.push(other.clone()),
                        (false, true) => {}
                        _ => {
                            let state =
                                format!("{other} is there: {is_there}, reported: {is_lost}");
                            return Err(Fault::new("artifact", state));
                        }
                    }
                }
                *list = present;
            }
            if kind == Kind::Acis {
                after.is_index = after.images.len() > 1;
                after.digest = String::new();
            } else if let Some(there) = there {
                after.digest = there.digest.clone();
                after.is_index = there.is_index;
            }
            out.push(after);
        }
        let left = reports
            .iter()
            .filter(|report| !report["platform"].is_null())
            .count();
        if left > 0 {
            return Err(Fault::new(
                "report",
                format!("{left} images too many in the report"),
            ));
        }
        Ok(out)
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
        let from = image.family;
        let to = read.family;
        let is_copy = from == Family::Aci && to == Family::Aci;
        // The facts and the losses.
        let known = match (from, to, &image.kept) {
            (Family::Aci, Family::Oci | Family::Docker, Some(kept)) => kept.clone(),
            _ => image.facts.clone(),
        };
        let (mut losses, mut expected) = match is_copy {
            true => (BTreeSet::new(), known.clone()),
            false => facts::lost(&known, to),
        };
        if kind == Kind::Dir && !name.is_empty() {
            losses.insert("dropped name".to_owned());
        }
        if to == Family::Aci && !is_copy && name.ends_with(":latest") && !image.untagged {
            losses.insert("dropped tag".to_owned());
        }
        let reported: BTreeSet<String> = list_of(&report["losses"])
            .iter()
            .map(|loss| format!("{} {}", text(&loss["outcome"]), text(&loss["field"])))
            .filter(|loss| !loss.contains(" sha256:"))
            .collect();
        let silent: Vec<&String> = losses.difference(&reported).collect();
        let false_ones: Vec<&String> = reported.difference(&losses).collect();
        if !silent.is_empty() || !false_ones.is_empty() {
            let account =
                format!("losses not reported: {silent:?}; reported without a loss: {false_ones:?}");
            return Err(Fault::new("losses", account));
        }
        let mut found = facts::of(read);
        let count = image.diff_ids.len();
        // The lowest layer that is merged, and with it all above.
        let merges = match (change.squash, from, to) {
            (_, _, Family::Aci) => None,
            (Some(squash), Family::Aci, _) => squash.from(1),
            (Some(squash), ..) => squash.from(count),
            (None, ..) => None,
        };
        let layers = match (from, merges) {
            (Family::Aci, _) => 1,
            (_, Some(from)) => from + 1,
            (_, None) => count,
        };
        let left = expected.clone();
        let history = |facts: &mut Facts| facts.remove("history").map(|value| facts::steps(&value));
        let (old, new) = (history(&mut expected), history(&mut found));
        let old = old.map(|steps| match merges {
            Some(from) => facts::merged(steps, from),
            None if from == Family::Aci && to != from && count > 1 => facts::merged(steps, 0),
            None => steps,
        });
        let mut differences = facts::differences(&expected, &found);
        if old != new {
            differences.push(format!("history: expected {old:?}, found {new:?}"));
        }
        if !differences.is_empty() {
            return Err(Fault::new("facts", differences.join("\n")));
        }
        // The layers.
        if to != Family::Aci && read.layers.len() != layers {
            let many = format!("{} layers, expected {layers} of {count}", read.layers.len());
            return Err(Fault::new("layers", many));
        }
        // The tree.
        if let Some(limit) = change.clamp {
            image.tree.clamp(limit);
        }
        let differences = image.tree.differences(&read.tree, true);
        if !differences.is_empty() {
            return Err(Fault::new("tree", differences.join("\n")));
        }
        self.count.trees += 1;
        if to == Family::Aci && !is_copy {
            // Values that were changed stay as they are.
            let changed = |(key, value): (&String, &Value)| {
                let now = left.get(key).unwrap_or(value);
                (key.clone(), now.clone())
            };
            image.kept = Some(known.iter().map(changed).collect());
        } else if to != Family::Aci {
            image.kept = None;
        }
        image.untagged = match to {
            Family::Aci => name.ends_with(":latest"),
            Family::Oci => image.untagged,
            Family::Docker | Family::Rootfs => false,
        };
        image.facts = facts::of(read);
        image.family = to;
        image.digest = read.digest.clone();
        image.old_codecs = read.layers.iter().all(|layer| layer.compression != "zstd");
        if to != Family::Aci {
            image.diff_ids = read
                .layers
                .iter()
                .map(|layer| layer.diff_id.clone())
                .collect();
        }
        Ok(())
    }

    /// The program finds nothing wrong in what it wrote.
    fn verify(&mut self, here: &Here) -> Checked {
        self.call(&["verify", &here.locator])
    }

    /// Unpacks one image, and compares the directory; umoci does the same where it can.
    fn unpack(&mut self, here: &Here) -> Checked {
        let entry = self.random.pick(&here.entries);
        let image = self.random.pick(&entry.images);
        let source = match (here.kind, here.entries.len()) {
            (Kind::Dir | Kind::Acis, _) | (_, 1) => here.locator.clone(),
            _ => format!("{}:{}", here.locator, entry.name),
        };
        if here.kind == Kind::Acis || !entry.about.is_empty() {
            return Ok(());
        }
        let (target, platform) = (self.folder.join("unpacked"), image.platform());
        let text = target.to_string_lossy().into_owned();
        let mut arguments = vec![
            "unpack",
            &source,
            &text,
            "--preserve-privileges",
            "--allow-devices",
        ];
        if entry.images.len() > 1 {
            arguments.extend(["--platform", &platform]);
        }
        self.call(&arguments)?;
        let found = disk::read(&target)?;
        fs::remove_dir_all(&target).map_err(|error| Failure::io(&target, &error))?;
        let differences = image.tree.differences(&found, true);
        if !differences.is_empty() {
            return Err(Fault::new("unpack", differences.join("\n")));
        }
        self.count.trees += 1;
        if self.world.umoci
            && here.kind == Kind::Layout
            && entry.images.len() == 1
            && image.old_codecs
            && self.random.percent(30)
        {
            self.umoci(here, &entry, &image)?;
        }
        Ok(())
    }

    /// Compares the tree that umoci unpacks.
    fn umoci(&mut self, here: &Here, entry: &Entry, image: &Image) -> Checked {
        let target = self.folder.join("bundle");
        let source = format!("{}:{}", here.path.display(), entry.name);
        self.done
            .push(format!("$ umoci raw unpack --image {source}"));
        let mut command = Command::new("umoci");
        command
            .args(["raw", "unpack", "--image", &source])
            .arg(&target);
        let output = command
            .output()
            .map_err(|error| Failure::io(Path::new("umoci"), &error))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Fault::new("umoci", stderr));
        }
        let found = disk::read(&target)?;
        fs::remove_dir_all(&target).map_err(|error| Failure::io(&target, &error))?;
        let differences = image.tree.unlike_umoci(&found);
        if !differences.is_empty() {
            return Err(Fault::new("umoci", differences.join("\n")));
        }
        self.count.umoci += 1;
        Ok(())
    }

    /// Runs the program, which must succeed.
    fn call(&mut self, arguments: &[&str]) -> Checked {
        self.done.push(format!("$ imgconv {}", arguments.join(" ")));
        let mut command = Command::new(&self.world.program);
        command
            .args(arguments)
            .args(["--quiet", "--progress", "none"]);
        command
            .env("TMPDIR", self.folder)
            .env("NO_COLOR", "1")
            .env_remove("SOURCE_DATE_EPOCH");
        let output = command
            .output()
            .map_err(|error| Failure::io(&self.world.program, &error))?;
        if output.status.success() {
            return Ok(());
        }
        let shown = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let class = format!("refused {}", arguments[0]);
        Err(Fault::new(&class, format!("{}: {shown}", output.status)))
    }

    /// Runs the program; returns its report.
    fn program(&mut self, arguments: &[String]) -> Checked<Value> {
        let report = self.folder.join("report.json");
        let _ = fs::remove_file(&report);
        self.done.push(format!("$ imgconv {}", arguments.join(" ")));
        let mut command = Command::new(&self.world.program);
        command
            .args(arguments)
            .args(["--quiet", "--progress", "none", "--report"])
            .arg(&report);
        command
            .env("TMPDIR", self.folder)
            .env("NO_COLOR", "1")
            .env_remove("SOURCE_DATE_EPOCH");
        let output = command
            .output()
            .map_err(|error| Failure::io(&self.world.program, &error))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Fault::new(
                "refused",
                format!("{}: {stderr}", output.status),
            ));
        }
        let text = imgconv_testkit::read_text(&report)?;
        serde_json::from_str(&text).map_err(|error| Fault::new("report", error.to_string()))
    }
}
