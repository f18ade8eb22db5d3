//! The common part of commands that write images: the call, the printed lines, and the report file.

use std::{path::Path, process::ExitCode};

use imgconv::{Code, Env, Error, ImageOutcome, Locator, Options, Outcome, Result, WholeFile};

use crate::{
    options::{Common, Writing},
    screen::{clean, document, json, print, say},
};

/// The number of losses, and of warnings, that are printed for an image without `--verbose`.
const MOST: usize = 20;

/// Converts images and prints the written names and digests.
///
/// # Errors
/// The errors of [`imgconv::convert`], and of options that contradict each other.
pub(crate) fn write(
    sources: &[String],
    destination: &Locator,
    options: &Options,
    writing: &Writing,
    common: &Common,
    env: Env,
) -> Result<ExitCode> {
    // If the image itself goes to standard output, the lines about it can't.
    let piped = destination.location == "-" && !options.dry_run;
    if common.json && piped {
        let message = "`--json` and the image can't both go to standard output";
        return Err(Error::new(Code::Usage, message).hint("`--report FILE` writes the same JSON"));
    }
    let sources = writing.source.locators(sources)?;
    let mut env = writing.env(env)?;
    env.places.keep_files = !writing.safety.overwrite;
    reported(writing, common, piped, &env, || {
        let outcome = imgconv::convert(&sources, destination, options, &env)?;
        if options.change && !common.quiet {
            unchanged(&outcome);
        }
        Ok(outcome)
    })
}

/// Runs work that writes images, prints the outcome, and writes it to the report file.
///
/// # Errors
/// The errors of the work, and of a report file that can't be written.
pub(crate) fn reported(
    writing: &Writing,
    common: &Common,
    piped: bool,
    env: &Env,
    work: impl FnOnce() -> Result<Outcome>,
) -> Result<ExitCode> {
    let report = open_report(writing.report.as_deref(), env)?;
    let outcome = work()?;
    if let Some(report) = report {
        report.write(document(&outcome).as_bytes())?;
    }
    if !common.quiet {
        for image in &outcome.images {
            say_losses(image, common.verbose > 0);
        }
    }
    print_outcome(&outcome, piped, common)?;
    Ok(ExitCode::SUCCESS)
}

/// Opens the report file before the work, so that an unwritable file is an error before anything is
/// written.
///
/// # Errors
/// [`Code::Usage`] for `-`, and the error of a file that can't be made.
pub(crate) fn open_report(path: Option<&Path>, env: &Env) -> Result<Option<WholeFile>> {
    let Some(path) = path else { return Ok(None) };
    if path == Path::new("-") {
        let message = "`--report` writes a file, but `-` means standard output";
        let hint = "`--json` prints the same document to standard output";
        return Err(Error::new(Code::Usage, message).hint(hint));
    }
    let opened = WholeFile::open(path, env).map_err(|error| error.at("`--report`"))?;
    Ok(Some(opened))
}

/// Prints the losses and the warnings of an image to standard error.
fn say_losses(image: &ImageOutcome, all: bool) {
    let name = clean(image.name.as_deref().unwrap_or(&image.source));
    let most = if all { usize::MAX } else { MOST };
    for loss in image.losses.iter().take(most) {
        let (field, why) = (clean(&loss.field), clean(&loss.why));
        say(&format!("loss: {name}: {field} {}: {why}", loss.outcome));
    }
    for warning in image.warnings.iter().take(most) {
        let (at, message) = (clean(&warning.at), clean(&warning.message));
        say(&format!(
            "warning[{}]: {name}: {at}: {message}",
            warning.code
        ));
    }
    let hidden =
        image.losses.len().saturating_sub(most) + image.warnings.len().saturating_sub(most);
    if hidden > 0 {
        say(&format!(
            "{name}: {hidden} more losses and warnings: `-v` prints all, `--report FILE` writes all"
        ));
    }
}

/// Prints a line for each image. If the image itself was `piped` to standard output, the lines go to
/// standard error.
fn print_outcome(outcome: &Outcome, piped: bool, common: &Common) -> Result<()> {
    if common.json {
        return json(outcome);
    }
    let mut text = String::new();
    for image in &outcome.images {
        let name = clean(image.name.as_deref().unwrap_or("-"));
        match (&image.digest, &image.plan) {
            (Some(digest), _) => text.push_str(&format!("{name} {digest}\n")),
            (None, Some(plan)) => {
                text.push_str(&format!("{name} would be written: {plan}\n"));
                text.push_str(&planned_text(image));
            }
            (None, None) => text.push_str(&format!("{name} -\n")),
        }
    }
    if !piped {
        return print(&text);
    }
    if !common.quiet {
        say(text.trim_end());
    }
    Ok(())
}

/// Returns the lines of a dry run: what would become of each document and layer of an image, and why.
fn planned_text(image: &ImageOutcome) -> String {
    let mut text = String::new();
    let Some(planned) = &image.planned else {
        return text;
    };
    for document in &planned.documents {
        let digest = document.digest.as_deref().unwrap_or_default();
        let line = format!("  {}: {} {digest}", document.role, document.becomes);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for layer in &planned.layers {
        let from = match layer.from[..] {
            [one] => format!("layer {one}"),
            [first, .., last] => format!("layers {first} to {last}"),
            [] => "no layer".to_owned(),
        };
        let source = layer.source.as_deref().map(|digest| format!(" {digest}"));
        text.push_str(&format!(
            "  {from}{}: {} ({}): {}\n",
            source.unwrap_or_default(),
            layer.step,
            layer.compression,
            layer.why
        ));
    }
    text
}

/// Names on standard error the images that `squash` or `recompress` did not have to change.
fn unchanged(outcome: &Outcome) {
    for image in &outcome.images {
        if image.digest.is_none() || image.digest != image.source_digest {
            continue;
        }
        let name = clean(image.name.as_deref().unwrap_or(&image.source));
        say(&match &image.platform {
            Some(platform) => format!(
                "unchanged: {name} ({}): its layers already have the requested form",
                clean(platform)
            ),
            None => format!("unchanged: {name}: not an image, copied unchanged"),
        });
    }
}
