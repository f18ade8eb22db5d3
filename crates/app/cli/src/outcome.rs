//! The common part of commands that write images: the call, the printed lines, and the report file.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    path::Path,
    process::ExitCode,
};

use imgconv::{
    ChangeOutcome, Code, Env, Error, ImageOutcome, Locator, Options, Outcome, Result, WholeFile,
    without_numbers,
};

use crate::{
    options::{Common, Writing},
    progress::human,
    screen::{Label, clean, columns, document, json, print, say, say_as},
};

/// The number of kinds of losses and warnings that are printed for an image without `--verbose`.
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
    if piped && std::io::stdout().is_terminal() {
        let message = "the image is not text, and standard output is a terminal";
        return Err(Error::new(Code::Usage, message)
            .at(destination.to_string())
            .hint("redirect the output to a file (`> FILE`) or to a program (`| docker load`)"));
    }
    let sources = writing.source.locators(sources)?;
    let mut env = writing.env(env)?;
    env.places.keep_files = !writing.safety.overwrite;
    reported(writing, common, piped, &env, || {
        let outcome = imgconv::convert(&sources, destination, options, &env)?;
        if options.change && !common.quiet {
            tell_changes(&outcome);
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
    let digests = open_digests(writing, env)?;
    let outcome = work()?;
    if let Some(file) = digests {
        let images = outcome.images.iter();
        let digests = images.flat_map(|image| [image.index.as_deref(), image.digest.as_deref()]);
        // The digest of an index stands before those of its images, once.
        let mut known = BTreeSet::new();
        write_digests(
            file,
            digests.flatten().filter(|digest| known.insert(*digest)),
        )?;
    }
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

/// Opens the file of a page before the work, as [`open_report`] does. `name` is that of the argument.
///
/// # Errors
/// As [`open_report`].
pub(crate) fn open_page(path: &Path, name: &str, env: &Env) -> Result<WholeFile> {
    if path == Path::new("-") {
        let message = format!("`{name}` is a file, but `-` means standard output");
        let hint = "`/dev/stdout` is a file too";
        return Err(Error::new(Code::Usage, message).hint(hint));
    }
    WholeFile::open(path, env).map_err(|error| error.at(format!("`{name}`")))
}

/// Opens the file of digests before the work, as [`open_report`] does.
pub(crate) fn open_digests(writing: &Writing, env: &Env) -> Result<Option<WholeFile>> {
    let open = |path| WholeFile::open(path, env).map_err(|error| error.at("`--digestfile`"));
    let path = writing.digestfile.as_deref();
    let path = path.filter(|_| !writing.safety.dry_run);
    path.map(open).transpose()
}

/// Writes the file of `--digestfile`: a digest in each line.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_digests<'a>(
    file: WholeFile,
    digests: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let lines: String = digests.map(|digest| format!("{digest}\n")).collect();
    file.write(lines.as_bytes())
}

/// Prints the losses and the warnings of an image to standard error. Unless all are wanted, those of
/// one kind are one line with a count, and lost values come before changed and added ones.
fn say_losses(image: &ImageOutcome, all: bool) {
    let name = clean(image.name.as_deref().unwrap_or(&image.source));
    let mut lines = Vec::new();
    for loss in &image.losses {
        let (field, why) = (clean(&loss.field), clean(&loss.why));
        let kind = [&loss.outcome, &field, &why].map(|part| without_numbers(part));
        let line = format!("{name}: {field} {}: {why}", loss.outcome);
        lines.push((kind.join(" "), ("loss".to_owned(), line)));
    }
    if !all {
        // The words of the outcomes are in the order of their weight: dropped, approximated, synthesised.
        let weight = |kind: &str| {
            ["dropped", "approximated"]
                .iter()
                .position(|word| kind.starts_with(word))
        };
        lines.sort_by_key(|(kind, _)| weight(kind).unwrap_or(usize::MAX));
    }
    for warning in &image.warnings {
        let (at, message) = (clean(&warning.at), clean(&warning.message));
        let kind = [&warning.code, &at, &message].map(|part| without_numbers(part));
        let label = format!("warning[{}]", warning.code);
        lines.push((kind.join(" "), (label, format!("{name}: {at}: {message}"))));
    }
    if all {
        let each = |(label, line): &(String, String)| say_as(Label::Warning, label, line);
        lines.iter().for_each(|(_, line)| each(line));
        return;
    }
    let total = lines.len();
    let kinds = collapsed(lines);
    let mut said = 0;
    for ((label, line), count) in kinds.iter().take(MOST) {
        said += count;
        let more = match count {
            1 => String::new(),
            count => format!(" (and {} more of this kind)", count - 1),
        };
        say_as(Label::Warning, label, &format!("{line}{more}"));
    }
    if total > said || kinds.len() < total {
        say(&format!(
            "{name}: {total} losses and warnings in all: `-v` prints each, `--report FILE` writes each"
        ));
    }
}

/// Returns the first line of each kind, in order, with the number of lines of that kind.
fn collapsed<T>(lines: Vec<(String, T)>) -> Vec<(T, usize)> {
    let mut kinds: Vec<(T, usize)> = Vec::new();
    let mut places = BTreeMap::new();
    for (kind, line) in lines {
        let place = *places.entry(kind).or_insert(kinds.len());
        match kinds.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => kinds.push((line, 1)),
        }
    }
    kinds
}

/// Prints a line for each image. If the image itself was `piped` to standard output, the lines go to
/// standard error.
fn print_outcome(outcome: &Outcome, piped: bool, common: &Common) -> Result<()> {
    if common.json {
        return json(outcome);
    }
    let rows: Vec<Vec<String>> = outcome.images.iter().map(result_row).collect();
    let mut text = String::new();
    for (line, image) in columns(&rows).lines().zip(&outcome.images) {
        text.push_str(line);
        text.push('\n');
        text.push_str(&planned_text(image));
    }
    if !piped {
        return print(&text);
    }
    if !common.quiet {
        say(text.trim_end());
    }
    Ok(())
}

/// Returns the columns of an image's line: name, destination, platform, digest, and note.
fn result_row(image: &ImageOutcome) -> Vec<String> {
    let note = match (&image.plan, image.losses.len()) {
        (Some(plan), _) => format!("would be written: {plan}"),
        (None, _) if image.exact => "exact".to_owned(),
        (None, 0) => String::new(),
        (None, 1) => "1 loss".to_owned(),
        (None, n) => format!("{n} losses"),
    };
    let or_dash = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| clean(text));
    vec![
        or_dash(image.name.as_ref()),
        clean(&image.destination),
        or_dash(image.platform.as_ref()),
        or_dash(image.known_by()),
        note,
    ]
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

/// Tells on standard error what `squash` or `recompress` saved, and names the images that did not have
/// to be changed.
fn tell_changes(outcome: &Outcome) {
    for image in &outcome.images {
        let name = clean(image.name.as_deref().unwrap_or(&image.source));
        let platform = image.platform.as_deref().map(clean);
        let is_unchanged = image.digest.is_some() && image.digest == image.source_digest;
        say(&match (is_unchanged, platform, image.change) {
            (true, Some(platform), _) => format!(
                "unchanged: {name} ({platform}): its layers already have the requested form"
            ),
            (true, None, _) => format!("unchanged: {name}: not an image, copied unchanged"),
            (false, platform, Some(change)) => {
                format!(
                    "{name} ({}): {}",
                    platform.unwrap_or_default(),
                    saved(&change)
                )
            }
            (false, _, None) => continue,
        });
    }
}

/// Says what a change of layers saved.
fn saved(change: &ChangeOutcome) -> String {
    let layers = match (change.source_layers, change.layers) {
        (before, after) if before == after => String::new(),
        (before, after) => format!(", {before} layers became {after}"),
    };
    let Some(before) = change.source_bytes.filter(|bytes| *bytes > 0) else {
        return format!("{} of layers{layers}", human(change.bytes));
    };
    let (less, part) = match before.cmp(&change.bytes) {
        Ordering::Less => ("more", change.bytes - before),
        Ordering::Equal | Ordering::Greater => ("saved", before - change.bytes),
    };
    let percent = match u128::from(part) * 100 / u128::from(before) {
        0 if part > 0 => "less than 1".to_owned(),
        percent => percent.to_string(),
    };
    format!(
        "{} of layers became {}: {} {less} ({percent} %){layers}",
        human(before),
        human(change.bytes),
        human(part)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_in_numbers_only_are_of_one_kind() {
        let lines = [
            "layer 9: x",
            "layer 10: x",
            "layer: x",
            "layer 3: y",
            "layer 11: x",
        ];
        let lines = lines.map(|line| (without_numbers(line), line.to_owned()));
        let expected = [("layer 9: x", 3), ("layer: x", 1), ("layer 3: y", 1)];
        let expected = expected.map(|(line, count)| (line.to_owned(), count));
        assert_eq!(collapsed(lines.into()), expected);
    }
}
