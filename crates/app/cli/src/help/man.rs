//! The man pages: one for each command, with every option that the command accepts.

use std::{io::Write as _, path::Path};

use clap::Command;
use clap_mangen::Man;
use imgconv::{Error, Result};

use super::topics::{ENVIRONMENT, EXIT_CODES, FILES, LOCATORS, TOPICS};

/// Writes the page of the program and those of all commands.
///
/// # Errors
/// If a file can't be written; the error names the directory.
pub(crate) fn write(program: &Command, directory: &Path) -> Result<()> {
    let failed = |error| Error::io(error, directory.display().to_string());
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut program = described(program.clone());
    program.build();
    write_pages(&program, &[], directory).map_err(failed)
}

/// Makes the renderer print the description of every option: it leaves out those that are hidden in
/// short help.
fn described(command: Command) -> Command {
    command
        .mut_args(|argument| argument.hide_short_help(false))
        .mut_subcommands(described)
}

/// Writes the page of a command and those of the commands below it; `parents` are the names of the
/// pages above.
fn write_pages(command: &Command, parents: &[String], directory: &Path) -> std::io::Result<()> {
    let name = page_name(command);
    let text = page(command.clone(), &name, parents)?;
    std::fs::File::create(directory.join(format!("{name}.1")))?.write_all(&text)?;
    let parents = [parents, &[name]].concat();
    for sub in command.get_subcommands() {
        write_pages(sub, &parents, directory)?;
    }
    Ok(())
}

fn page_name(command: &Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or(command.get_name()).to_owned()
}

fn page(mut command: Command, name: &str, parents: &[String]) -> std::io::Result<Vec<u8>> {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let examples = command.get_after_help();
    let examples = examples.map_or_else(String::new, ToString::to_string);
    let mut topics = TOPICS.iter().filter(|topic| topic.concerns(&command));
    let has_locators = topics.any(|topic| topic.text() == LOCATORS);
    let children: Vec<String> = command.get_subcommands().map(page_name).collect();
    let is_root = parents.is_empty();
    let man = Man::new(command.override_usage(usage));
    let mut text = Vec::new();
    let (title, version) = (name.to_uppercase(), env!("CARGO_PKG_VERSION"));
    writeln!(
        text,
        ".TH \"{title}\" \"1\" \"\" \"imgconv {version}\" \"imgconv manual\""
    )?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    text.extend(options(&man)?);
    if !children.is_empty() {
        man.render_subcommands_section(&mut text)?;
    }
    let examples = examples.trim_start_matches("Examples:\n");
    section(&mut text, "EXAMPLES", examples)?;
    if has_locators || is_root {
        section(&mut text, "LOCATORS", LOCATORS)?;
    }
    section(&mut text, "EXIT STATUS", EXIT_CODES)?;
    section(&mut text, "ENVIRONMENT", ENVIRONMENT)?;
    section(&mut text, "FILES", FILES)?;
    let related = parents.iter().chain(&children);
    let related: Vec<String> = related.map(|name| format!("{name}(1)")).collect();
    section(&mut text, "SEE ALSO", &related.join("\n"))?;
    if is_root {
        man.render_version_section(&mut text)?;
    }
    Ok(ascii(&text).into_bytes())
}

/// Writes characters beyond ASCII as roff escapes, because roff itself reads single bytes.
fn ascii(text: &[u8]) -> String {
    let escaped = |c: char| match c.is_ascii() {
        true => c.to_string(),
        false => format!("\\[u{:04X}]", u32::from(c)),
    };
    let text = String::from_utf8_lossy(text);
    text.chars().map(escaped).collect()
}

/// The section of the options. The renderer makes a section of each group; here, a group is a
/// subsection of `OPTIONS`.
fn options(man: &Man) -> std::io::Result<Vec<u8>> {
    let mut rendered = Vec::new();
    man.render_options_section(&mut rendered)?;
    let rendered = String::from_utf8_lossy(&rendered);
    let mut text = String::from(".SH OPTIONS\n");
    for line in rendered.lines().filter(|line| *line != ".SH OPTIONS") {
        match line.strip_prefix(".SH ") {
            Some(group) => text.push_str(&format!(".SS {group}\n")),
            None => text.push_str(&format!("{line}\n")),
        }
    }
    Ok(text.into_bytes())
}

/// Writes a section whose lines are neither filled nor joined.
fn section(out: &mut Vec<u8>, heading: &str, lines: &str) -> std::io::Result<()> {
    writeln!(out, ".SH \"{heading}\"\n.nf")?;
    for line in lines.trim_end().lines() {
        // A line that begins with `.` or `'` would be a request of roff.
        let is_request = line.starts_with(['.', '\'']);
        let guard = if is_request { "\\&" } else { "" };
        let line = line
            .replace('\\', "\\e")
            .replace('-', "\\-")
            .replace('\'', "\\(aq")
            .replace('`', "\\(ga");
        writeln!(out, "{guard}{line}")?;
    }
    writeln!(out, ".fi")
}
