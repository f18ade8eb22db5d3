//! The arguments as a whole: the options before the command, and the command.

use std::ffi::{OsStr, OsString};

use clap::{
    ArgAction, Args as _, CommandFactory, Error, FromArgMatches as _, Parser, error::ErrorKind,
};

use crate::{
    command::Command,
    help::{self, Page},
    options::{Access, Common},
};

const EXAMPLES: &str = "\
Examples:
  imgconv aci-to-oci app.aci out/             one ACI to an OCI layout
  imgconv oci-to-aci out/ acis/               every image of a layout to an ACI
  imgconv convert oci:a:app:1.0 oci-archive:app.tar --compression zstd
  imgconv diff app.aci oci:out
  imgconv unpack app.aci rootfs/";

/// Convert container images between ACI, OCI and Docker formats, offline and verified
#[derive(Debug, Parser)]
#[command(name = "imgconv", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Parses the words of the command line, the name of the program first.
///
/// # Errors
/// The error of malformed words, or the help page that the words request.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Arguments, Error> {
    let program = program();
    let words = behind_the_command(words, &program);
    let page = match words.iter().any(|word| word == "--help") {
        true => Page::Full,
        false => Page::Summary,
    };
    let matches = program.clone().try_get_matches_from(words.clone());
    let matches = matches.or_else(|error| match error.kind() {
        // The pages are made only when help is needed; the second attempt ends with the right page.
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            help::paged(program, page).try_get_matches_from(words)
        }
        _ => Err(error),
    })?;
    Arguments::from_arg_matches(&matches)
}

/// The definition of the whole command line.
pub(crate) fn program() -> clap::Command {
    help::with_help_option(Arguments::command())
}

/// Moves the access options that stand before the command behind its name, so that
/// `imgconv --authfile FILE ls LOCATOR` works although only some commands have these options.
/// A `help` behind the name of a command moves to the front. Where a command takes several places before the
/// last one, the options move before all of them.
fn behind_the_command(words: Vec<OsString>, program: &clap::Command) -> Vec<OsString> {
    let access = Access::augment_args(clap::Command::new("access"));
    let mut words = words.into_iter().peekable();
    let mut front: Vec<OsString> = words.next().into_iter().collect();
    let (mut names, mut moved): (Vec<OsString>, Vec<OsString>) = (Vec::new(), Vec::new());
    let mut command = program;
    while command.has_subcommands() {
        let Some(word) = words.peek() else { break };
        if let Some(sub) = command.find_subcommand(word) {
            command = sub;
            names.extend(words.next());
        } else if let Some(takes_value) = option(word, &access) {
            moved.extend(words.by_ref().take(1 + usize::from(takes_value)));
        } else if let Some(takes_value) = option(word, program) {
            let words = words.by_ref().take(1 + usize::from(takes_value));
            let place = if names.is_empty() {
                &mut front
            } else {
                &mut moved
            };
            place.extend(words);
        } else if word == "help" {
            words.next();
            front.push("help".into());
            break;
        } else {
            break;
        }
    }
    let rest = options_first(words.collect(), command, program);
    [front, names, moved, rest].concat()
}

/// Moves the options before the places if a command takes several places before the last one: clap takes what follows
/// an option for further places of the first kind only. Words that can't be told apart stay as they are.
fn options_first(
    words: Vec<OsString>,
    command: &clap::Command,
    program: &clap::Command,
) -> Vec<OsString> {
    let several = |place: &clap::Arg| matches!(place.get_action(), ArgAction::Append);
    let last = command.get_positionals().last();
    if last.is_none_or(several) || !command.get_positionals().any(several) {
        return words;
    }
    let (mut options, mut places) = (Vec::new(), Vec::new());
    let mut rest = words.iter().cloned();
    while let Some(word) = rest.next() {
        if word == "--" {
            places.push(word);
            places.extend(rest);
            break;
        }
        if word == "-" || !word.as_encoded_bytes().starts_with(b"-") {
            places.push(word);
            continue;
        }
        match option(&word, command).or_else(|| option(&word, program)) {
            Some(takes_value) => {
                options.push(word);
                options.extend(rest.by_ref().take(usize::from(takes_value)));
            }
            None => return words,
        }
    }
    [options, places].concat()
}

/// Finds the option that a word names, and tells whether the next word is the value of the option.
fn option(word: &OsStr, command: &clap::Command) -> Option<bool> {
    let word = word.to_str()?;
    let (name, has_value) = match word.split_once('=') {
        Some((name, _)) => (name, true),
        None => (word, false),
    };
    let mut all = command.get_arguments();
    let found = match name.strip_prefix("--") {
        Some(long) => all.find(|it| it.get_long() == Some(long)),
        None => {
            let short = name.strip_prefix('-')?.chars().next()?;
            all.find(|it| it.get_short() == Some(short))
        }
    };
    let takes_value = |it: &clap::Arg| {
        it.get_action().takes_values() && !it.is_require_equals_set() && !has_value
    };
    found.map(takes_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(words: &str) -> String {
        let words = words.split(' ').map(OsString::from).collect();
        let moved = behind_the_command(words, &program());
        let moved: Vec<&str> = moved.iter().map(|word| word.to_str().unwrap()).collect();
        moved.join(" ")
    }

    #[test]
    fn the_definition_is_sound() {
        help::paged(program(), Page::Summary).debug_assert();
        help::paged(program(), Page::Full).debug_assert();
    }

    #[test]
    fn access_options_move_behind_the_command() {
        for (words, expected) in [
            ("imgconv ls x --creds a", "imgconv ls x --creds a"),
            ("imgconv --creds a=b:c ls x", "imgconv ls --creds a=b:c x"),
            ("imgconv --creds=a ls x", "imgconv ls --creds=a x"),
            (
                "imgconv --tls-verify=false -qv --jobs 2 ls x",
                "imgconv -qv --jobs 2 ls --tls-verify=false x",
            ),
            (
                "imgconv --authfile f tags --insecure-image fetch x",
                "imgconv tags fetch --authfile f --insecure-image x",
            ),
            (
                "imgconv tags --jobs 2 fetch x",
                "imgconv tags fetch --jobs 2 x",
            ),
            ("imgconv migrate -h", "imgconv migrate -h"),
            ("imgconv tags help fetch", "imgconv help tags fetch"),
            ("imgconv help tags fetch", "imgconv help tags fetch"),
            ("imgconv --platform x ls y", "imgconv --platform x ls y"),
            (
                "imgconv migrate a b --creds c",
                "imgconv migrate a b --creds c",
            ),
            (
                "imgconv aci-to-oci a b --deps d out -q",
                "imgconv aci-to-oci --deps d -q a b out",
            ),
            (
                "imgconv publish a --host=h - site -- -x",
                "imgconv publish --host=h a - site -- -x",
            ),
            (
                "imgconv publish a --no-such b site",
                "imgconv publish a --no-such b site",
            ),
        ] {
            assert_eq!(moved(words), expected, "{words}");
        }
    }
    /// All commands of the command line, each with the words that call it.
    fn commands() -> Vec<(String, clap::Command)> {
        let mut program = program();
        program.build();
        let mut found = Vec::new();
        let mut open = vec![("imgconv".to_owned(), program)];
        while let Some((name, command)) = open.pop() {
            let subs = command.get_subcommands();
            open.extend(subs.map(|sub| (format!("{name} {}", sub.get_name()), sub.clone())));
            found.push((name, command));
        }
        found
    }

    #[test]
    fn every_option_is_described_in_the_man_page_of_its_command() {
        let folder = tempfile::tempdir().unwrap();
        help::write_man_pages(&program(), folder.path()).unwrap();
        let commands = commands();
        assert!(commands.len() > 25, "{}", commands.len());
        for (name, command) in commands {
            let path = folder.path().join(format!("{}.1", name.replace(' ', "-")));
            let page = std::fs::read_to_string(path).unwrap();
            let lines: Vec<&str> = page.lines().collect();
            for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                let option = format!("\\fB\\-\\-{}\\fR", long.replace('-', "\\-"));
                let at = lines
                    .windows(2)
                    .position(|pair| pair[0] == ".TP" && pair[1].contains(&option));
                let at = at.unwrap_or_else(|| panic!("{name}: no {long}: {page}"));
                let text = lines[at + 2];
                assert!(
                    text.starts_with(char::is_alphabetic),
                    "{name} {long}: {text}"
                );
            }
        }
    }

    #[test]
    fn every_option_is_on_the_help_page_or_in_a_topic_that_the_page_names() {
        let program = program();
        for (name, command) in commands() {
            let words: Vec<String> = name.split(' ').skip(1).map(str::to_owned).collect();
            let page = help::page(&words, &program).unwrap();
            let mut text = page.clone();
            for line in page.lines() {
                if let Some(topic) = line.trim().strip_prefix("imgconv help ") {
                    let topic = topic.split(' ').next().unwrap().to_owned();
                    text += &help::page(&[topic], &program).unwrap_or_default();
                }
            }
            for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                let option = format!("--{long}");
                let mut words = text.split([' ', '[', '.', '\n']);
                assert!(words.any(|word| word == option), "{name}: {option}: {text}");
            }
        }
    }
}
