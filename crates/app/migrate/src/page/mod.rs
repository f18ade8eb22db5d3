//! The report of a migration as one HTML page: for people, without any other file.
//!
//! The page is whole without its script, which adds search, order and pages to the table of images.
//! A policy in the page allows only its own style and script, by their digests, so that no text of a
//! report can run. The same report gives the same page.

mod bars;
mod escape;
mod figures;

use std::{collections::BTreeMap, fmt::Write as _};

use base64::Engine as _;
use imgconv_model::{Algorithm, Result, html};

use self::{
    bars::{Bar, draw},
    escape::{grouped, human},
    figures::{Figures, GROUPS, Kind, Outcome},
};
use crate::report::{Failure, Merged, Migrated, Migration, Status, Totals};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The most images whose errors are open at first.
const OPEN: usize = 50;
/// The most repositories with a bar of their own.
const REPOSITORIES: usize = 12;

/// Makes the page of a report.
///
/// # Errors
/// [`Code::BadJson`](imgconv_model::Code::BadJson) if the report has outcomes that are not those of a
/// conversion.
pub fn report_page(report: &Merged) -> Result<String> {
    let migration = &report.migration;
    let mut rows = String::new();
    let figures = Figures::of(migration, |image, outcomes| row(&mut rows, image, outcomes))?;
    // Numbers of another hand may not be those of the images.
    let totals = Totals::of(&migration.images, migration.totals.bytes);
    let mut page = head(migration, &totals);
    page += &verdict(report, &totals);
    page += &reasons(migration, Status::Failed, "Failed");
    page += &losses(&figures);
    page += &sizes(&totals, &figures);
    page += &reasons(migration, Status::LeftOut, "Left out");
    page += &table(&rows);
    page += "</body>\n</html>\n";
    Ok(page)
}

/// The source of a style or script in a policy: its SHA-256.
fn source(text: &str) -> String {
    let digest = imgconv_stream::digest(Algorithm::Sha256, text.as_bytes());
    let hex = digest.hex();
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or(0);
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("'sha256-{text}'")
}

fn head(migration: &Migration, totals: &Totals) -> String {
    let share = migration.shard.as_deref();
    let share = share.map_or(String::new(), |share| format!(", share {}", html(share)));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src {}; \
         script-src {}; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Migration: {}</title>\n<style>{STYLE}</style>\n<script>{SCRIPT}</script>\n</head>\n\
         <body>\n<h1>Migration{share}</h1>\n<p class=\"soft\">plan <code>{}</code></p>\n",
        source(STYLE),
        source(SCRIPT),
        summary(totals),
        html(&migration.plan),
    )
}

/// The totals in words.
fn summary(totals: &Totals) -> String {
    let parts = verdicts(totals)
        .into_iter()
        .filter(|(_, count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(_, n, word)| format!("{n} {word}")).collect();
    match parts.is_empty() {
        true => "no images".to_owned(),
        false => parts.join(", "),
    }
}

/// Each status: its class, its number of images, its word.
fn verdicts(totals: &Totals) -> [(&'static str, u64, &'static str); 5] {
    [
        ("done", totals.done, "done"),
        ("kept", totals.kept, "kept"),
        ("failed", totals.failed, "failed"),
        ("left-out", totals.left_out, "left out"),
        ("planned", totals.planned, "planned"),
    ]
}

/// The numbers at the top, and what concerns the whole run.
fn verdict(report: &Merged, totals: &Totals) -> String {
    let Migration {
        warnings, stopped, ..
    } = &report.migration;
    let mut out = String::from("<div class=\"tiles\">\n");
    let tile = |class: &str, count: u64, word: &str| {
        format!(
            "<div class=\"tile\"><b class=\"{class}\">{}</b>{word}</div>\n",
            grouped(count)
        )
    };
    out += &tile("all", totals.images, "images");
    for (class, count, word) in verdicts(totals) {
        if count > 0 || class == "done" || class == "failed" {
            out += &tile(class, count, word);
        }
    }
    out += "</div>\n";
    if let Some(stopped) = stopped {
        let text = failure(stopped);
        out += &format!(
            "<p class=\"note\"><b>Stopped.</b> {text} The same command continues from here.</p>\n"
        );
    }
    for share in &report.missing {
        out += &format!(
            "<p class=\"note\"><b>There is no report of the share {}.</b></p>\n",
            html(share)
        );
    }
    for warning in warnings {
        let text = failure(warning);
        out += &format!("<p class=\"note mild\"><b>Warning.</b> {text}</p>\n");
    }
    out
}

/// An error in a line.
fn failure(failure: &Failure) -> String {
    let mut out = format!("<code>{}</code> ", html(&failure.code));
    if !failure.at.is_empty() {
        out += &format!("{}: ", html(&failure.at.join(" › ")));
    }
    out += &format!("{}.", html(&failure.message));
    if let Some(hint) = &failure.hint {
        out += &format!(" <span class=\"soft\">Hint: {}.</span>", html(hint));
    }
    out
}

/// The images of a status with their errors, by code; the most frequent code first.
fn reasons(migration: &Migration, status: Status, title: &str) -> String {
    let images = migration.images.iter();
    let images = images.filter(|image| image.status == status && image.error.is_some());
    let mut codes: BTreeMap<&str, Vec<&Migrated>> = BTreeMap::new();
    let mut count = 0;
    for image in images {
        count += 1;
        let code = image.error.as_ref().map_or("", |error| &*error.code);
        codes.entry(code).or_default().push(image);
    }
    let mut codes: Vec<(&str, Vec<&Migrated>)> = codes.into_iter().collect();
    if codes.is_empty() {
        return String::new();
    }
    codes.sort_by_key(|(code, images)| (std::cmp::Reverse(images.len()), *code));
    let open = match status == Status::Failed && count <= OPEN {
        true => " open",
        false => "",
    };
    let mut out = format!("<h2>{title}</h2>\n");
    for (code, images) in codes {
        let count = counted(images.len() as u64, "image");
        let _ = write!(
            out,
            "<details{open}><summary>{}: {count}</summary>\n<ul class=\"why\">\n",
            html(code)
        );
        for image in images {
            let Some(error) = &image.error else { continue };
            let text = failure(error);
            let _ = writeln!(out, "<li><b>{}</b><br>{text}</li>", html(&image.name));
        }
        out += "</ul></details>\n";
    }
    out
}

/// A number with its noun.
fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{} {noun}s", grouped(count)),
    }
}

/// The losses and the warnings by kind.
fn losses(figures: &Figures) -> String {
    let mut out = String::new();
    let losses = figures.losses();
    if !losses.is_empty() {
        out += "<h2>Losses</h2>\n\
                <p class=\"soft\">Fields that the target can't hold, or holds in another form. Losses \
                that differ only in a number are one line, with the number of the first.</p>\n\
                <table class=\"kinds\"><thead><tr><th>outcome</th><th>field</th><th class=\"n\">images</th>\
                <th class=\"n\">times</th><th>why</th></tr></thead>\n<tbody>\n";
        let line = |kind: &Kind| {
            let (what, field, why) = (html(&kind.what), html(&kind.field), html(&kind.why));
            let (images, times) = (kind.images, kind.times);
            format!(
                "<tr><td>{what}</td><td><code>{field}</code></td><td class=\"n\">{images}</td>\
                 <td class=\"n\">{times}</td><td>{why}</td></tr>\n"
            )
        };
        out.extend(losses.into_iter().map(line));
        out += "</tbody></table>\n";
    }
    let warnings = figures.warnings();
    if !warnings.is_empty() {
        out += "<h2>Irregularities</h2>\n\
                <table class=\"kinds\"><thead><tr><th>code</th><th>first message</th>\
                <th class=\"n\">images</th><th class=\"n\">times</th></tr></thead>\n<tbody>\n";
        let line = |kind: &Kind| {
            let (what, why) = (html(&kind.what), html(&kind.why));
            let (images, times) = (kind.images, kind.times);
            format!(
                "<tr><td><code>{what}</code></td><td>{why}</td><td class=\"n\">{images}</td>\
                 <td class=\"n\">{times}</td></tr>\n"
            )
        };
        out.extend(warnings.into_iter().map(line));
        out += "</tbody></table>\n";
    }
    out
}

/// The bytes before and after, what sharing saved, and the repositories.
fn sizes(totals: &Totals, figures: &Figures) -> String {
    let (stored, alone) = (figures.stored(), figures.alone);
    let mut out = String::from("<h2>Bytes</h2>\n<div class=\"charts\">\n");
    let bar = |label: &str, length: u64| Bar {
        label: label.to_owned(),
        length,
        value: human(length),
    };
    let mut bars = vec![bar("source, each layer once", totals.bytes)];
    let mut note = String::new();
    if stored > 0 {
        bars.push(bar("destination", stored));
        bars.push(bar("if no layer were shared", alone));
        let saved = alone.saturating_sub(stored);
        let share = (u128::from(saved) * 100).checked_div(u128::from(alone));
        note = format!(
            "Sharing layers saves {} ({} %).",
            human(saved),
            share.unwrap_or(0)
        );
    }
    let (finished, all) = (totals.done + totals.kept, totals.images);
    if finished < all {
        note += &format!(
            " The source has the bytes of all images, the destination those of {} of {}.",
            grouped(finished),
            grouped(all),
        );
    }
    out += &chart("Before and after", &bars, &note);
    if stored > 0 {
        let shared = figures.sharing().into_iter().zip(GROUPS);
        let bars = shared.filter(|(group, _)| group.layers > 0);
        let bars = bars.map(|(group, (_, label))| Bar {
            label: format!("in {label}"),
            length: group.layers,
            value: match group.saved {
                0 => format!("{}, {}", counted(group.layers, "layer"), human(group.bytes)),
                saved => format!("{}, saves {}", counted(group.layers, "layer"), human(saved)),
            },
        });
        let bars: Vec<Bar> = bars.collect();
        if !bars.is_empty() {
            out += &chart("Layers by the images that share them", &bars, "");
        }
    }
    let mut repositories: Vec<_> = figures.repositories.iter().collect();
    repositories.sort_by_key(|(name, it)| (std::cmp::Reverse(it.bytes), *name));
    let mut bars: Vec<Bar> = Vec::new();
    let rest = repositories.split_off(repositories.len().min(REPOSITORIES));
    for (name, repository) in repositories {
        let (images, bytes) = (counted(repository.images, "image"), repository.bytes);
        bars.push(Bar {
            label: name.clone(),
            length: bytes,
            value: format!("{images}, {}", human(bytes)),
        });
    }
    if !bars.is_empty() {
        let others = rest
            .iter()
            .map(|(_, it)| it.bytes)
            .fold(0, u64::saturating_add);
        let note = match rest.len() {
            0 => String::new(),
            n => format!("{n} other repositories have {}.", human(others)),
        };
        out += &chart("Repositories", &bars, &note);
    }
    out + "</div>\n"
}

fn chart(title: &str, bars: &[Bar], note: &str) -> String {
    let mut out = format!(
        "<div class=\"chart\"><h3>{title}</h3>\n{}",
        draw(title, bars)
    );
    if !note.is_empty() {
        out += &format!("<p class=\"soft\">{}</p>\n", html(note.trim()));
    }
    out + "</div>\n"
}

fn table(rows: &str) -> String {
    let columns = ["Status", "Name", "Platform", "Old digest", "New digest"];
    let mut out = String::from("<h2>Images</h2>\n<table id=\"images\"><thead><tr>");
    out.extend(columns.map(|name| format!("<th>{name}</th>")));
    out + "<th class=\"n\">Size</th><th class=\"n\">Losses</th></tr></thead>\n<tbody id=\"rows\">\n"
        + rows
        + "</tbody></table>\n"
}

/// Adds the rows of an image: one for each name and platform.
fn row(out: &mut String, image: &Migrated, outcomes: &[Outcome]) {
    let status = image.status.to_string();
    let mut add =
        |name: &str, platform: &str, digests: [&str; 2], size: Option<u64>, losses: usize| {
            let [old, new] = digests.map(html);
            let (name, platform, from) = (html(name), html(platform), html(&image.source));
            let size = size.map_or("<td class=\"n\"></td>".to_owned(), |size| {
                format!("<td class=\"n\" data-v=\"{size}\">{}</td>", human(size))
            });
            let losses = if losses == 0 {
                String::new()
            } else {
                losses.to_string()
            };
            let _ = writeln!(
                out,
                "<tr><td class=\"{status}\">{status}</td><td>{name}<small>{from}</small></td>\
             <td>{platform}</td><td class=\"d\">{old}</td><td class=\"d\">{new}</td>{size}\
             <td class=\"n\">{losses}</td></tr>"
            );
        };
    if outcomes.is_empty() {
        let new = image.digest.as_deref().unwrap_or_default();
        add(&image.name, "", ["", new], image.source_bytes, 0);
    }
    for outcome in outcomes {
        let layers = outcome.layers.iter().map(|layer| layer.size);
        let size = match outcome.layers.is_empty() {
            true if outcomes.len() == 1 => image.file_bytes.or(image.source_bytes),
            true => None,
            false => Some(layers.fold(0, u64::saturating_add)),
        };
        let digests = [outcome.before(), outcome.after()].map(Option::unwrap_or_default);
        let name = outcome.name.as_deref().unwrap_or(&image.name);
        let platform = outcome.platform.as_deref().unwrap_or_default();
        add(name, platform, digests, size, outcome.losses());
    }
}

#[cfg(test)]
mod tests;
