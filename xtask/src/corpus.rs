//! `cargo xtask corpus`: runs the cases of `testdata/corpus`, builds recipes, blesses golden files.
//!
//! `cargo test` runs the same cases; this task is for changing them.

use std::path::Path;

use imgconv_testkit::corpus::{self, Verdict};
use imgconv_testkit::{ImageRecipe, build, case::Case, write_file};

use crate::process::{Profile, Result, operands, program, root};

/// Runs `run`, `build` or `bless`.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let testdata = root().join("testdata");
    let yes = arguments.contains(&"--yes");
    match operands("corpus", arguments)?.as_slice() {
        ["run"] => run_cases(&testdata, "", arguments),
        ["run", filter] => run_cases(&testdata, filter, arguments),
        ["build", name, folder] => build_recipe(&testdata, name, Path::new(folder)),
        ["bless"] => bless(&testdata, "", yes, arguments),
        ["bless", filter] => bless(&testdata, filter, yes, arguments),
        _ => Err(
            "usage: cargo xtask corpus run [CASE] | build NAME DIR | bless [CASE] [--yes]".into(),
        ),
    }
}

fn selected(testdata: &Path, filter: &str) -> Result<Vec<Case>> {
    let cases = corpus::cases(testdata).map_err(|e| e.to_string())?;
    let cases: Vec<_> = cases
        .into_iter()
        .filter(|case| case.id.contains(filter))
        .collect();
    if cases.is_empty() {
        return Err(format!("no case is named `{filter}`"));
    }
    Ok(cases)
}

fn run_cases(testdata: &Path, filter: &str, arguments: &[&str]) -> Result {
    let program = program(arguments, Profile::Dev)?;
    let digests = corpus::digests(testdata).map_err(|e| e.to_string())?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in selected(testdata, filter)? {
        match corpus::check(&case, testdata, &program, &digests) {
            Verdict::Passed => {
                passed += 1;
                println!("ok    {}", case.id);
            }
            Verdict::Failed(text) => {
                failed += 1;
                println!("FAIL  {}\n{text}", case.id);
            }
            Verdict::Skipped(why) => {
                skipped += 1;
                println!("skip  {} ({why})", case.id);
            }
        }
    }
    println!("corpus: {passed} passed, {failed} failed, {skipped} skipped");
    match failed {
        0 => Ok(()),
        _ => Err("a case of the corpus failed".into()),
    }
}

fn build_recipe(testdata: &Path, name: &str, folder: &Path) -> Result {
    let image =
        ImageRecipe::load(&testdata.join("images").join(name)).map_err(|e| e.to_string())?;
    if image.layers.len() <= 1 {
        let path = folder.join(format!("{name}.aci"));
        let bytes = build::aci_bytes(&image).map_err(|e| e.to_string())?;
        write_file(&path, &bytes).map_err(|e| e.to_string())?;
        println!("{}", path.display());
    }
    let layout = folder.join(name);
    build::layout(&[image], &layout).map_err(|e| e.to_string())?;
    println!("{}", layout.display());
    Ok(())
}

fn bless(testdata: &Path, filter: &str, yes: bool, arguments: &[&str]) -> Result {
    let program = program(arguments, Profile::Dev)?;
    let mut digests = corpus::digests(testdata).map_err(|e| e.to_string())?;
    let (mut changed, mut refused) = (0, 0);
    for case in selected(testdata, filter)? {
        if !case.spec.skip.is_empty() {
            continue;
        }
        match corpus::blessing(&case, testdata, &program, &digests) {
            Err(failure) => {
                refused += 1;
                println!("== {}: case.toml does not hold\n{failure}", case.id);
            }
            Ok(blessing) if blessing.diff.is_empty() => {}
            Ok(blessing) => {
                changed += 1;
                println!("== {}\n{}", case.id, blessing.diff);
                if yes {
                    blessing
                        .write(&case, &mut digests)
                        .map_err(|e| e.to_string())?;
                }
            }
        }
    }
    if yes {
        let text = corpus::print_digests(&digests);
        write_file(&testdata.join("digests.toml"), text.as_bytes()).map_err(|e| e.to_string())?;
    }
    let done = if yes {
        "written"
    } else {
        "would change; `--yes` writes them"
    };
    println!("corpus: {changed} {done}, {refused} refused");
    match refused {
        0 => Ok(()),
        _ => Err("what case.toml promises is not blessed".into()),
    }
}
