//! How the result of a migration is printed, and its exit code.

use std::process::ExitCode;

use imgconv::{Code, Migrated, Migration, Notes, Result, Status as ImageStatus, Totals};
use serde::Serialize;
use serde_json::Value;

use crate::{
    exit::{self, Status},
    options::Common,
    screen::{self, Label, clean, say, say_as, warn},
};

/// Prints a line for each image and the totals to standard output, and problems to standard error.
/// With `--json`, standard output gets `document` instead.
pub(super) fn show(
    document: &impl Serialize,
    migration: &Migration,
    common: &Common,
) -> Result<()> {
    say_problems(migration, common);
    screen::show(common.json, document, &text(migration))
}

/// The exit code of a migration: success if no image failed or is still to be copied. If `--strict`
/// refused images and there is no other failure, the exit code is that of `--strict`, as for a
/// conversion of one image. After a dry run, planned images count as success.
pub(super) fn exit_code(migration: &Migration, dry_run: bool) -> ExitCode {
    let totals = &migration.totals;
    if dry_run && totals.failed == 0
        || totals.failed + totals.planned == 0 && migration.stopped.is_none()
    {
        return ExitCode::SUCCESS;
    }
    let unfinished = |image: &&Migrated| {
        image.status == ImageStatus::Failed || !dry_run && image.status == ImageStatus::Planned
    };
    let refused = |image: &Migrated| {
        let code = image.error.as_ref().map(|error| &*error.code);
        image.status == ImageStatus::Failed && code == Some(Code::Strict.as_str())
    };
    let mut left = migration.images.iter().filter(unfinished);
    match migration.stopped.is_none() && left.all(refused) {
        true => exit::unsuccessful(Status::Refused),
        false => exit::unsuccessful(Status::Failed),
    }
}

/// Prints warnings, failures, and the numbers of losses; failures alone with `--quiet`.
fn say_problems(migration: &Migration, common: &Common) {
    if !common.quiet {
        for warning in &migration.warnings {
            warn(&warning.code, &warning.at.join(" › "), &warning.message);
            if let Some(hint) = &warning.hint {
                say_as(Label::Hint, "  hint", &clean(hint));
            }
        }
    }
    for image in &migration.images {
        if !common.quiet || image.status == ImageStatus::Failed {
            say_error(image);
        }
    }
    if !common.quiet {
        say_all_notes(migration, common.verbose > 0);
    }
    if let Some(stopped) = &migration.stopped {
        let places = stopped.at.iter().map(|place| clean(place) + ": ");
        let place: String = places.collect();
        let (message, hint) = (clean(&stopped.message), stopped.hint.as_deref());
        say(&format!("stopped: {place}{message}"));
        let hint = hint.map_or_else(|| "the same command continues from here".to_owned(), clean);
        say_as(Label::Hint, "  hint", &hint);
    }
}

/// Prints the numbers of losses and warnings, and with `verbose` each of them.
fn say_all_notes(migration: &Migration, verbose: bool) {
    let (mut all_losses, mut all_warnings) = (0, 0);
    for image in &migration.images {
        let Notes { losses, warnings } = image.notes;
        all_losses += losses;
        all_warnings += warnings;
        if verbose && image.notes != Notes::default() {
            say_notes(image);
        }
    }
    if all_losses + all_warnings > 0 {
        say(&format!(
            "{all_losses} losses and {all_warnings} warnings in all: `--report FILE` writes them, \
             `--strict` refuses such images"
        ));
    }
}

/// Prints each loss and each warning of an image.
fn say_notes(image: &Migrated) {
    let name = clean(&image.name);
    let outcomes: Vec<Value> = serde_json::from_str(image.outcomes.get()).unwrap_or_default();
    for outcome in &outcomes {
        let list = |member: &str| outcome[member].as_array().into_iter().flatten();
        for loss in list("losses") {
            let [field, kind, why] =
                ["field", "outcome", "why"].map(|member| text_of(loss, member));
            say_as(
                Label::Warning,
                "loss",
                &format!("{name}: {field} {kind}: {why}"),
            );
        }
        for warning in list("warnings") {
            let [code, at, message] =
                ["code", "at", "message"].map(|member| text_of(warning, member));
            let word = format!("warning[{code}]");
            say_as(Label::Warning, &word, &format!("{name}: {at}: {message}"));
        }
    }
}

fn text_of(value: &Value, member: &str) -> String {
    clean(value[member].as_str().unwrap_or_default())
}

/// Prints the error of an image, if there is one.
fn say_error(image: &Migrated) {
    let Some(error) = &image.error else { return };
    let (label, word) = match image.status {
        ImageStatus::Failed => (Label::Error, format!("error[{}]", error.code)),
        _ => (Label::Warning, image.status.to_string()),
    };
    let mut places: Vec<&str> = error.at.iter().map(|place| &**place).collect();
    if places.is_empty() {
        places.push(&image.source);
    }
    let (at, message) = (clean(&places.join(" › ")), clean(&error.message));
    say_as(label, &word, &format!("{at}: {message}"));
    if let Some(hint) = &error.hint {
        say_as(Label::Hint, "  hint", &clean(hint));
    }
}

fn text(migration: &Migration) -> String {
    let mut text = String::new();
    for image in &migration.images {
        let digest = image.digest.as_deref().unwrap_or("-");
        let name = clean(&image.name);
        text.push_str(&format!("{:8} {name} {digest}\n", image.status));
    }
    text + &summary(&migration.totals)
}

fn summary(totals: &Totals) -> String {
    let mut parts = vec![match totals.images {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    }];
    for (count, what) in [
        (totals.done, "done"),
        (totals.kept, "kept"),
        (totals.failed, "failed"),
        (totals.left_out, "left out"),
        (totals.planned, "planned"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let parts = parts.join(", ");
    format!("{parts}, {} bytes of layers in the source\n", totals.bytes)
}
