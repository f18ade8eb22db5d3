//! The whole command line as one Markdown document, which `docs/cli.md` is. Options that several
//! commands share are described once.

use clap::{Arg, Command};

use super::{
    pages::details_of,
    topics::{TOPICS, Topic, describes},
};

/// Makes the document.
pub(super) fn markdown(program: &Command) -> String {
    let mut program = program.clone();
    program.build();
    let mut out = String::from(
        "# The command line\n\nThe text of `imgconv help reference`; `cargo xtask docs` writes this file.\n",
    );
    out += &command(&program, &shared());
    out += "\n## Topics\n\n`imgconv help TOPIC` prints them.\n";
    for topic in TOPICS {
        out += &format!("\n### Topic {}\n\n", topic.name);
        let text = topic.text();
        out += &match text.lines().any(|line| line.starts_with("  ")) {
            true => fence(&text),
            false => text.into_owned(),
        };
        let definition = built(topic);
        for group in groups(&definition) {
            out += &format!("\n{}:\n\n", group.0);
            out += &group.1.iter().map(|it| option(it)).collect::<String>();
        }
    }
    out
}

/// The options of all topics, by topic.
fn shared() -> Vec<(&'static Topic, Command)> {
    TOPICS.iter().map(|topic| (topic, built(topic))).collect()
}

fn built(topic: &Topic) -> Command {
    let mut definition = topic.definition();
    definition.build();
    definition
}

/// The sections of a command and of the commands below it.
fn command(definition: &Command, shared: &[(&Topic, Command)]) -> String {
    let name = definition.get_bin_name().unwrap_or(definition.get_name());
    let about = definition
        .get_about()
        .map_or_else(String::new, ToString::to_string);
    let mut out = format!("\n## {name}\n\n{about}.\n");
    let details = details_of(definition);
    if !details.is_empty() {
        out += &format!("\n{details}\n");
    }
    let usage = definition.clone().render_usage().to_string();
    let examples = definition.get_after_help();
    let examples = examples.map_or_else(String::new, ToString::to_string);
    out += &format!("\n{}", fence(&format!("{usage}\n\n{examples}")));
    let own: Vec<&Arg> = definition
        .get_arguments()
        .filter(|it| it.get_id() != "help" && it.get_id() != "version")
        .filter(|it| !shared.iter().any(|(_, topic)| describes(topic, it)))
        .collect();
    if !own.is_empty() {
        out.push('\n');
        out += &own.iter().map(|it| option(it)).collect::<String>();
    }
    let links: Vec<String> = shared
        .iter()
        .filter(|(topic, _)| topic.concerns(definition))
        .map(|(topic, options)| {
            let part = part(options, definition);
            format!("[{0}](#topic-{0}){part}", topic.name)
        })
        .collect();
    out += &format!("\nShared options: {}.\n", links.join(", "));
    for sub in definition.get_subcommands() {
        out += &command(sub, shared);
    }
    out
}

/// Says which options of a topic a command has, if it has not all of them.
fn part(topic: &Command, command: &Command) -> String {
    let (present, missing): (Vec<&Arg>, Vec<&Arg>) = topic
        .get_arguments()
        .partition(|option| describes(command, option));
    let list = |options: &[&Arg]| {
        let names = options.iter().filter_map(|it| it.get_long());
        let names: Vec<String> = names.map(|name| format!("`--{name}`")).collect();
        names.join(", ")
    };
    match (present.len(), missing.len()) {
        (_, 0) => String::new(),
        (present_count, count) if present_count <= count => format!(" ({})", list(&present)),
        _ => format!(" (without {})", list(&missing)),
    }
}

/// The options of a topic by group, in order.
fn groups(definition: &Command) -> Vec<(String, Vec<&Arg>)> {
    let mut groups: Vec<(String, Vec<&Arg>)> = Vec::new();
    for argument in definition.get_arguments() {
        let heading = argument.get_help_heading().unwrap_or("Options").to_owned();
        match groups.iter_mut().find(|(name, _)| *name == heading) {
            Some((_, options)) => options.push(argument),
            None => groups.push((heading, vec![argument])),
        }
    }
    groups
}

/// An option or an argument as an item of a list: its name, its description, its values.
fn option(argument: &Arg) -> String {
    let name = match argument.get_short() {
        Some(short) => format!("-{short}, {argument}"),
        None => argument.to_string(),
    };
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map_or_else(String::new, ToString::to_string);
    let mut paragraphs = help.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let mut out = format!("- `{name}`: {first}");
    let takes_values = argument.get_action().takes_values();
    let defaults = argument.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    if takes_values && !defaults.is_empty() {
        out += &format!(" [default: `{}`]", defaults.join(" "));
    }
    if let Some(variable) = argument.get_env() {
        out += &format!(" [environment: `{}`]", variable.to_string_lossy());
    }
    out.push('\n');
    for paragraph in paragraphs {
        out += &format!("\n  {}\n", paragraph.replace('\n', "\n  "));
    }
    let values = argument.get_possible_values();
    for value in values.iter().filter(|_| takes_values) {
        let help = value.get_help().map(|help| format!(": {help}"));
        out += &format!("  - `{}`{}\n", value.get_name(), help.unwrap_or_default());
    }
    out
}

fn fence(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    format!("```text\n{}\n```\n", lines.join("\n"))
}
