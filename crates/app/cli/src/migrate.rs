//! The command `migrate`: from arguments to a call of the library, and its report to the screen.

use std::process::ExitCode;

use imgconv::{Merged, MigrateOptions, Migrated, Migration, Notes, Rules, Shard, Status as Became};
use imgconv_model::{Code, Env, Error, Result};
use serde::Serialize;

use crate::{
    args::{Migrate, MigrateCommand, Shared, Split},
    commands::{conversion_options, open_report},
    failure::Status,
    render::{self, clean, say},
    tags,
};

/// Runs `migrate`.
pub(crate) fn run(args: &Migrate, shared: &Shared, env: &Env) -> Result<ExitCode> {
    if let Some(MigrateCommand::MergeReports { reports }) = &args.command {
        return merge(&imgconv::merge_reports(reports)?, shared);
    }
    let [Some(source), Some(destination)] = [&args.source, &args.destination] else {
        return Err(Error::new(
            Code::Usage,
            "`migrate` needs a source and a destination",
        ));
    };
    let mut options = MigrateOptions {
        conversion: conversion_options(&args.conversion)?,
        rules: Rules::read(&args.only, &args.exclude, &args.rename)?,
        split: matches!(args.split, Some(Split::Repo)),
        shard: args.shard.as_deref().map(Shard::parse).transpose()?,
        journal: args.journal.clone(),
        site: args.site.then(|| tags::site(&args.of_site, env)),
        ignore_space: args.ignore_space,
    };
    options.conversion.host.clone_from(&args.of_site.host);
    if options.conversion.name.is_some() {
        let message = "`--name` names one image, and a migration is of many";
        return Err(Error::new(Code::Usage, message)
            .hint("`--rename 'REGEX=REPLACEMENT'` gives images other names"));
    }
    let report = args.conversion.writing.report.as_deref();
    let report = report.map(|path| open_report(path, env)).transpose()?;
    let source = args.conversion.writing.from.locator(source)?;
    let destination = args.to.locator(destination)?;
    let env = &Env {
        keep_files: !args.conversion.writing.overwrite,
        ..env.clone()
    };
    let migration = imgconv::migrate(&source, &destination, &options, env)?;
    if let Some(report) = report {
        let text = serde_json::to_string(&migration);
        let text = text.map_err(|error| Error::new(Code::Io, error.to_string()))?;
        report.write(format!("{}\n", render::clean_json(&text)).as_bytes())?;
    }
    show(&migration, &migration, shared)?;
    Ok(match options.conversion.dry_run {
        true if migration.totals.failed == 0 => ExitCode::SUCCESS,
        dry => code(&migration, dry),
    })
}

fn merge(merged: &Merged, shared: &Shared) -> Result<ExitCode> {
    show(merged, &merged.migration, shared)?;
    for share in &merged.missing {
        say(&format!("error: there is no report of the share {share}"));
    }
    Ok(match merged.missing[..] {
        [] => code(&merged.migration, false),
        _ => Status::Failed.into(),
    })
}

/// Done is what has no image that failed or is still to be done. Where `--strict` refused images and
/// nothing else is wrong, the exit code says so, as for one image. In a `dry` run nothing is to be done.
fn code(migration: &Migration, dry: bool) -> ExitCode {
    let totals = &migration.totals;
    let left = |image: &&Migrated| {
        image.status == Became::Failed || !dry && image.status == Became::Planned
    };
    let refused = |image: &Migrated| {
        let code = image.error.as_ref().map(|error| &*error.code);
        image.status == Became::Failed && code == Some(Code::Strict.as_str())
    };
    if totals.failed + totals.planned == 0 && migration.stopped.is_none() {
        return ExitCode::SUCCESS;
    }
    match migration.stopped.is_none() && migration.images.iter().filter(left).all(refused) {
        true => crate::env::ended(Status::Refused),
        false => crate::env::ended(Status::Failed),
    }
}

/// Prints a line for each image, and what went wrong to standard error.
fn show(document: &impl Serialize, migration: &Migration, shared: &Shared) -> Result<()> {
    if !shared.quiet {
        for warning in &migration.warnings {
            let at = clean(&warning.at.join(" › "));
            let message = clean(&warning.message);
            say(&format!("warning[{}]: {at}: {message}", warning.code));
            if let Some(hint) = &warning.hint {
                say(&format!("  hint: {}", clean(hint)));
            }
        }
        for image in migration
            .images
            .iter()
            .filter(|image| image.error.is_some())
        {
            complain(image);
        }
        for image in &migration.images {
            if image.notes != Notes::default() && shared.verbose > 0 {
                let Notes { losses, warnings } = image.notes;
                let name = clean(&image.name);
                say(&format!("{name}: {losses} losses, {warnings} warnings"));
            }
        }
        let of = |count: fn(&Notes) -> usize| -> usize {
            migration
                .images
                .iter()
                .map(|image| count(&image.notes))
                .sum()
        };
        let (losses, warnings) = (of(|notes| notes.losses), of(|notes| notes.warnings));
        if losses + warnings > 0 {
            say(&format!(
                "{losses} losses and {warnings} warnings in all: `--report FILE` has them, \
                 `--strict` refuses such images"
            ));
        }
        if let Some(stopped) = &migration.stopped {
            say(&format!(
                "stopped: {}: the same command goes on from here",
                clean(&stopped.message)
            ));
        }
    }
    if shared.json {
        return render::json(document);
    }
    let mut text = String::new();
    for image in &migration.images {
        let digest = image.digest.as_deref().unwrap_or("-");
        text.push_str(&format!(
            "{:8} {} {digest}\n",
            image.status,
            clean(&image.name)
        ));
    }
    let totals = &migration.totals;
    let mut parts = vec![format!("{} images", totals.images)];
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
    text.push_str(&format!(
        "{}, {} bytes of layers in the source\n",
        parts.join(", "),
        totals.bytes
    ));
    render::print(&text)
}

fn complain(image: &Migrated) {
    let Some(error) = &image.error else { return };
    let what = match image.status {
        Became::Failed => format!("error[{}]", error.code),
        _ => image.status.to_string(),
    };
    let mut places: Vec<&str> = error.at.iter().map(|place| &**place).collect();
    if places.is_empty() {
        places.push(&image.source);
    }
    say(&format!(
        "{what}: {}: {}",
        clean(&places.join(" › ")),
        clean(&error.message)
    ));
    if let Some(hint) = &error.hint {
        say(&format!("  hint: {}", clean(hint)));
    }
}
