//! The man pages: what `--help` says, with the sections that readers of man pages look for.
//!
//! The texts after the options are split at their headings (`Examples:`, `Locators:`), so that each
//! gets its own section.

use std::{io::Write as _, path::Path};

use clap::Command;
use clap_mangen::Man;
use imgconv_model::{Error, Result};

use crate::args::ENVIRONMENT;

const EXIT_STATUS: &str = "\
  0   done
  1   failed, for `migrate`: at least one image; for `diff`: the images differ; for `verify`: something
      could not be read
  2   wrong usage
  3   refused by `--strict`
  4   what was read does not match its digest, size or signature, or is damaged otherwise
  130, 143   ended by SIGINT (Ctrl-C) or SIGTERM";

const FILES: &str = "\
  $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, ~/.docker/config.json
      Credentials of registries, in the order in which they are looked for.
  ~/.config/containers/certs.d/HOST:PORT/, /etc/containers/certs.d/, /etc/docker/certs.d/
      Certificates that are trusted for one host (`*.crt`), and the client's own (`*.cert`, `*.key`).
  /etc/ssl/certs/, /etc/pki/tls/
      The system's certificates.
  DST/.imgconv-migrate/
      The journal of a migration, by which it goes on where it was ended.";

/// Writes the page of a command and those of all commands below it.
///
/// # Errors
/// If a file can't be written; the error names the directory.
pub(crate) fn write(command: Command, directory: &Path) -> Result<()> {
    let failed = |error| Error::io(error, directory.display().to_string());
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut command = explained(command).disable_help_subcommand(true);
    command.build();
    let mut open = vec![command];
    while let Some(command) = open.pop() {
        open.extend(
            command
                .get_subcommands()
                .filter(|c| !c.is_hide_set())
                .cloned(),
        );
        page(command, directory).map_err(failed)?;
    }
    Ok(())
}

/// Gives each option its description: what `-h` leaves out belongs here.
fn explained(command: Command) -> Command {
    command
        .mut_args(|argument| argument.hide_short_help(false))
        .mut_subcommands(explained)
}

fn page(command: Command, directory: &Path) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let name = name.to_owned();
    let after = command.get_after_long_help().or(command.get_after_help());
    let after = after.map_or_else(String::new, ToString::to_string);
    let has_commands = command.has_subcommands();
    let is_root = command.get_version().is_some();
    let man = Man::new(command).title(name.to_uppercase());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_commands {
        man.render_subcommands_section(&mut text)?;
    }
    for (heading, lines) in sections(&after) {
        section(&mut text, &heading, &lines)?;
    }
    section(&mut text, "EXIT STATUS", EXIT_STATUS)?;
    let environment = ENVIRONMENT.lines().skip(1).collect::<Vec<_>>().join("\n");
    section(&mut text, "ENVIRONMENT", &environment)?;
    section(&mut text, "FILES", FILES)?;
    if is_root {
        man.render_version_section(&mut text)?;
    } else {
        section(&mut text, "SEE ALSO", "imgconv(1)")?;
    }
    let mut file = std::fs::File::create(directory.join(format!("{name}.1")))?;
    file.write_all(&text)
}

/// Splits a text at its headings, lines such as `Examples:`. Sections that every page has are left
/// out.
fn sections(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let heading = line.strip_suffix(':').filter(|it| !it.starts_with(' '));
        match (heading, found.last_mut()) {
            (Some(heading), _) => found.push((heading.to_uppercase(), String::new())),
            (None, Some((_, lines))) => lines.push_str(&format!("{line}\n")),
            (None, None) => found.push(("NOTES".to_owned(), format!("{line}\n"))),
        }
    }
    found.retain(|(heading, lines)| {
        !matches!(&**heading, "EXIT CODES" | "ENVIRONMENT") && !lines.trim().is_empty()
    });
    found
}

/// Writes a section as it stands, line by line.
fn section(out: &mut Vec<u8>, heading: &str, lines: &str) -> std::io::Result<()> {
    writeln!(out, ".SH \"{heading}\"\n.nf")?;
    for line in lines.trim_end().lines() {
        // A line that begins with one of these would be a request.
        let guard = if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        let line = line
            .replace('\\', "\\e")
            .replace('-', "\\-")
            .replace('\'', "\\(aq");
        writeln!(out, "{guard}{line}")?;
    }
    writeln!(out, ".fi")
}
