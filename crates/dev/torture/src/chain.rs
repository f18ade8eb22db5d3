//! Chains of conversions: the program goes from place to place, and after each step the place is
//! read and compared with what the model expects there.

use std::path::Path;

use imgconv_testkit::random::Random;
use imgconv_testkit::registry::Stored;

use crate::belief::{Entry, Here, Image, Kind, full_name, read};
use crate::outcome::{Checked, Count, Fault, World};
use crate::step::Walk;
use crate::subject::{Form, Subject};
use crate::tree::Tree;

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
    let here = start(subject, folder)?;
    count.chains += 1;
    count.images += subject.images() as u64;
    go(here, steps, world, folder, count)
}

/// Runs the steps of a saved chain from the saved place, of which the model believes what it reads.
///
/// # Errors
/// If the program and the model differ, or an ACI has dependencies, which are not read.
pub fn replay(
    place: &Path,
    steps: &[u64],
    world: &World,
    folder: &Path,
    count: &mut Count,
) -> Checked {
    let is_layout = place.join("index.json").is_file();
    let (kind, scheme) = match (is_layout, place.is_dir()) {
        (true, _) => (Kind::Layout, "oci"),
        (false, true) => (Kind::Acis, "aci-tree"),
        (false, false) => (Kind::DockerArchive, "docker-archive"),
    };
    let found = read(kind, place)?;
    let (about, named): (Vec<_>, Vec<_>) = found
        .iter()
        .partition(|entry| entry.subject.is_some() && entry.images.is_empty());
    let mut entries = Vec::new();
    for entry in named {
        let images: Vec<Image> = entry.images.iter().map(Image::of).collect();
        if images
            .iter()
            .any(|image| image.facts.contains_key("dependencies"))
        {
            return Err(Fault::new(
                "model",
                "the dependencies of an ACI are not read",
            ));
        }
        let is_about =
            |other: &&&crate::place::Entry| other.subject.as_ref() == Some(&entry.digest);
        entries.push(Entry {
            name: full_name(&entry.name),
            images,
            is_index: entry.is_index,
            digest: entry.digest.clone(),
            inside: entry.others.clone(),
            about: about
                .iter()
                .filter(is_about)
                .map(|other| other.digest.clone())
                .collect(),
        });
    }
    let locator = format!("{scheme}:{}", place.display());
    let path = place.to_path_buf();
    let here = Here {
        kind,
        locator,
        path,
        entries,
    };
    go(here, steps, world, folder, count)
}

fn go(mut here: Here, steps: &[u64], world: &World, folder: &Path, count: &mut Count) -> Checked {
    let mut empty = Stored::default();
    empty.referrers = true;
    *world.registry.stored() = empty;
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
    for artifact in found
        .iter()
        .filter(|entry| entry.name.is_empty() && kind != Kind::Acis)
    {
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
