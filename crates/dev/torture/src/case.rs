//! A failed chain on the disk: the place where the chain starts, as bytes, each layer as a recipe,
//! the steps and the account.

use std::path::Path;

use imgconv_testkit::{read_text, write_file};

use crate::outcome::{Count, Fault, World};
use crate::recipe::Recipe;
use crate::{Failure, Result, chain};

/// Writes `README`, `steps`, the start as a place, and the layers in the form of `testdata/images`.
///
/// # Errors
/// If a file can't be written.
pub fn save(recipe: &Recipe, seed: u64, fault: &Fault, folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|error| Failure::io(folder, &error))?;
    }
    recipe
        .subject
        .write(&folder.join(match recipe.subject.form {
            crate::subject::Form::Layout | crate::subject::Form::Acis => "start",
            crate::subject::Form::DockerArchive => "start.tar",
        }))?;
    let steps: Vec<String> = recipe.steps.iter().map(u64::to_string).collect();
    write_file(
        &folder.join("steps"),
        format!("{}\n", steps.join("\n")).as_bytes(),
    )?;
    let text = format!(
        "seed {seed}: {}\n\n{}\n\n{}",
        fault.class,
        fault.account,
        recipe.subject.text()
    );
    write_file(&folder.join("README"), text.as_bytes())?;
    let images = recipe
        .subject
        .entries
        .iter()
        .flat_map(|entry| &entry.images);
    for (at, image) in images.enumerate() {
        for (number, stored) in image.layers.iter().enumerate() {
            let list = stored.layer.lines().join("\n") + "\n";
            let path = folder.join(format!("image-{at}/layer-{number}.list"));
            write_file(&path, list.as_bytes())?;
        }
    }
    Ok(())
}

/// Runs a saved chain.
///
/// # Errors
/// If the program and the model differ, or the folder holds no chain.
pub fn run(folder: &Path, world: &World) -> std::result::Result<(), Fault> {
    let archive = folder.join("start.tar");
    let start = if archive.is_file() {
        archive
    } else {
        folder.join("start")
    };
    let wrong = |error: std::io::Error| Fault::from(Failure::new(error.to_string()));
    let work = tempfile::tempdir().map_err(wrong)?;
    chain::replay(
        &start,
        &steps(folder)?,
        world,
        work.path(),
        &mut Count::default(),
    )
}

/// Reads the steps of a saved chain.
///
/// # Errors
/// If there are none.
fn steps(folder: &Path) -> Result<Vec<u64>> {
    let text = read_text(&folder.join("steps"))?;
    let number = |line: &str| {
        line.parse()
            .map_err(|_| Failure::new(format!("`{line}` is no step")))
    };
    text.lines().map(number).collect()
}
