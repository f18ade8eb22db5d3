//! Options and commands of docker, skopeo and crane, each with the equivalent of imgconv. A user of those
//! programs who types such a word has made no typing error, so the most similar word of imgconv would
//! be the wrong advice.

use clap::{
    Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Options of other programs. A line is a group of options and the advice, with a colon between them.
const OPTIONS: &str = include_str!("habits/options.txt");

/// Commands of other programs, in the same form.
const COMMANDS: &str = include_str!("habits/commands.txt");

/// Replaces the parser's suggestion by advice, if the word is an option or a command of another program.
pub(crate) fn advise(mut error: Error) -> Error {
    let advice = match error.kind() {
        ErrorKind::UnknownArgument => word(&error, ContextKind::InvalidArg).and_then(|word| {
            let command = word_of_usage(&error);
            option(&word, command.as_deref())
        }),
        ErrorKind::InvalidSubcommand => {
            word(&error, ContextKind::InvalidSubcommand).and_then(|word| find(COMMANDS, &word))
        }
        _ => None,
    };
    if let Some(advice) = advice {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        // The usage in the error contains the most similar word, too.
        error.remove(ContextKind::Usage);
        let advice = vec![StyledStr::from(advice)];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(advice));
    }
    error
}

fn option(word: &str, command: Option<&str>) -> Option<&'static str> {
    let name = word.split('=').next().unwrap_or(word);
    if !matches!(name, "--format" | "-f" | "--template") {
        return find(OPTIONS, name);
    }
    // In `docker inspect` and `skopeo inspect` the value is a template of the output, in `skopeo copy` a
    // format.
    Some(match command {
        Some("inspect" | "ls" | "verify" | "diff" | "formats") | None => {
            "only `ls` has templates: `--json` prints one document, for example for \
             `jq -r '.images[0].platform'`"
        }
        _ => "the locator contains the format, as in `docker-v2s2+docker://…` or `oci:DIR`",
    })
}

fn find(table: &'static str, word: &str) -> Option<&'static str> {
    let rows = table.lines().filter_map(|row| row.split_once(": "));
    let mut rows = rows.filter(|(words, _)| words.split(' ').any(|other| other == word));
    rows.next().map(|(_, advice)| advice)
}

fn word(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(word) => Some(word.clone()),
        _ => None,
    }
}

/// Finds the name of the command in the usage of an error, `Usage: imgconv COMMAND …`.
fn word_of_usage(error: &Error) -> Option<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else {
        return None;
    };
    let usage = usage.to_string();
    let mut words = usage.split_whitespace();
    words.find(|word| *word == "imgconv")?;
    words.next().map(str::to_owned)
}
