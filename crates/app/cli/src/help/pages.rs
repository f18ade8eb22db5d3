//! The help pages of commands: `-h` and `--help`.
//!
//! `-h` shows the options that are used most, `--help` all options of the command itself. Options that
//! many commands share and few calls need are described in topics; both pages point at the topics.

use clap::{Arg, ArgAction, Command};

use super::topics::{self, TOPICS, Topic};
use crate::screen::columns;

/// The parts of a page with a long description. `before-help` is the description without its first
/// paragraph.
const TEMPLATE: &str = "\
{about-with-newline}
{before-help}{usage-heading} {usage}

{all-args}{after-help}";

/// The two pages of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// The page of `-h`.
    Summary,
    /// The page of `--help`.
    Full,
}

/// Adds the option `--help` to the whole command line, in place of clap's own help option and command.
pub(crate) fn with_help_option(program: Command) -> Command {
    program
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::HelpShort)
                .global(true)
                .help_heading("Common options")
                .help("Print help: `-h` a summary, `--help` every option"),
        )
}

/// Prepares the help pages of a command and of all commands below it. Both pages have the compact
/// form of clap's short help, in which an option takes one or two lines.
pub(crate) fn paged(program: Command, page: Page) -> Command {
    let name = program.get_name().to_owned();
    paged_command(program, page, &name, true)
}

fn paged_command(command: Command, page: Page, path: &str, is_root: bool) -> Command {
    let topics: Vec<&Topic> = TOPICS.iter().filter(|it| it.concerns(&command)).collect();
    let elsewhere = topics.iter().filter(|topic| topic.elsewhere);
    let hidden: Vec<String> = elsewhere.flat_map(|topic| topic.ids()).collect();
    let pointers = match is_root {
        true => topics::list(),
        false => pointers(&topics, page, path),
    };
    let command = command.mut_args(|argument| {
        let elsewhere = hidden.iter().any(|id| argument.get_id() == id.as_str());
        let rare = page == Page::Summary && argument.is_hide_short_help_set();
        argument.hide_short_help(elsewhere || rare)
    });
    let (mut details, mut examples) = (String::new(), String::new());
    if page == Page::Full {
        details = details_of(&command);
        let after = command.get_after_help();
        examples = after.map_or_else(String::new, ToString::to_string);
    }
    let parts = [examples, pointers]
        .into_iter()
        .filter(|part| !part.is_empty());
    let after = parts.collect::<Vec<_>>().join("\n\n");
    let command = match details.is_empty() {
        true => command,
        false => command.before_help(details).help_template(TEMPLATE),
    };
    command.after_help(after).mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        paged_command(sub, page, &path, false)
    })
}

/// The paragraphs of a description after the first one.
pub(super) fn details_of(command: &Command) -> String {
    let long = command.get_long_about().map(ToString::to_string);
    let first = command.get_about().map(ToString::to_string);
    let (Some(long), Some(first)) = (long, first) else {
        return String::new();
    };
    long.strip_prefix(&first).unwrap_or(&long).trim().to_owned()
}

/// The lines that say where the rest of the help of a command is.
fn pointers(topics: &[&Topic], page: Page, path: &str) -> String {
    let full = (format!("{path} --help"), "every option of this command");
    let full = (page == Page::Summary).then_some(full);
    let topics = topics
        .iter()
        .filter(|topic| page == Page::Full || topic.elsewhere)
        .map(|topic| (format!("imgconv help {}", topic.name), topic.about));
    let lines = full.into_iter().chain(topics);
    let row = |(call, about): (String, &str)| vec![format!("  {call}"), about.to_owned()];
    let rows: Vec<Vec<String>> = lines.map(row).collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!("More help:\n{}", columns(&rows).trim_end()),
    }
}
