//! Chains of conversions: the program goes from place to place, and after each step the place is
//! read and compared with what the model expects there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imgconv_testkit::random::Random;
use imgconv_testkit::registry::{Registry, Stored};

use crate::Failure;
use crate::belief::{Entry, Here, Image, Kind, full_name, read};
use crate::subject::{Form, Subject};
use crate::tree::Tree;
use crate::walk::Walk;

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
    /// ACIs that came back byte for byte.
    pub exact: u64,
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
        self.exact += other.exact;
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
    /// Makes a fault of a kind.
    pub fn new(class: &str, account: impl Into<String>) -> Self {
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

/// The result of a check.
pub type Checked<T = ()> = std::result::Result<T, Fault>;

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
        Form::Acis => (Kind::Acis, "start", "aci-tree"),
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
            images.push(Image::of(read));
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
    for aci in &subject.acis {
        let name = match aci.version.as_str() {
            "" => aci.name.clone(),
            version => format!("{}:{version}", aci.name),
        };
        let read = found.iter().find(|found| found.name == name);
        let read = read.ok_or_else(|| Fault::new("model", format!("{name} is not written")))?;
        let mut image = Image::of(&read.images[0]);
        let mut tree = Tree::default();
        tree.add_all(&aci.members())?;
        let differences = tree.differences(&image.tree, false);
        if !differences.is_empty() {
            return Err(Fault::new("model", differences.join("\n")));
        }
        image.untagged = aci.version.is_empty();
        if !aci.dependencies.is_empty() || !aci.whitelist.is_empty() {
            image.rendered = Some(aci.rendered(&subject.acis)?);
        }
        entries.push(Entry {
            name: full_name(&name),
            images: vec![image],
            is_index: false,
            digest: String::new(),
            inside: Vec::new(),
            about: Vec::new(),
        });
    }
    for artifact in found.iter().filter(|entry| entry.name.is_empty() && kind != Kind::Acis) {
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
