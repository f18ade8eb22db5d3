//! The help topics: texts and option groups that several commands share.

use std::borrow::Cow;

use clap::{Arg, Args as _, Command};
use imgconv::{Limit, Limits};

use crate::options::{
    Common, Conversion, Credentials, Destination, NetworkOptions, Places, Source, Trust,
};

/// A topic of `imgconv help TOPIC`.
pub(super) struct Topic {
    pub(super) name: &'static str,
    /// A line about the topic.
    pub(super) about: &'static str,
    /// The text before the options and the rows.
    text: &'static str,
    /// Makes the rows of a table below the text.
    rows: Option<fn() -> String>,
    /// Adds the options that the topic describes to a command.
    options: Option<fn(Command) -> Command>,
    /// Help pages of commands leave the options of this topic out, and point at the topic.
    pub(super) elsewhere: bool,
}

/// The topic that is the whole command line in Markdown.
pub(super) const REFERENCE: &str = "reference";

/// The topics, in the order of the help page.
pub(super) const TOPICS: &[Topic] = &[
    Topic {
        options: Some(|it| {
            Places::augment_args(Destination::augment_args(Source::augment_args(it)))
        }),
        elsewhere: true,
        ..Topic::of_text(
            "locators",
            "how places are written, and options about them",
            LOCATORS,
        )
    },
    Topic {
        options: Some(conversion),
        ..Topic::of_text(
            "conversion",
            "details of the options that convert images",
            CONVERSION,
        )
    },
    Topic {
        options: Some(|it| Credentials::augment_args(NetworkOptions::augment_args(it))),
        elsewhere: true,
        ..Topic::of_text("network", "options of connections and credentials", NETWORK)
    },
    Topic {
        options: Some(Trust::augment_args),
        elsewhere: true,
        ..Topic::of_text("trust", "options of OpenPGP signatures", TRUST)
    },
    Topic {
        options: Some(Common::augment_args),
        ..Topic::of_text("common", "details of the common options", COMMON)
    },
    Topic {
        rows: Some(limits),
        ..Topic::of_text("limits", "limits on input, with their defaults", LIMITS)
    },
    Topic::of_text("environment", "environment variables", ENVIRONMENT),
    Topic::of_text(
        "files",
        "files that are read and written besides images",
        FILES,
    ),
    Topic::of_text(
        "json",
        "JSON documents, their versions and schemas",
        include_str!("topics/json.txt"),
    ),
    Topic::of_text("exit-codes", "exit codes", EXIT_CODES),
];

pub(super) const LOCATORS: &str = include_str!("topics/locators.txt");
const CONVERSION: &str = include_str!("topics/conversion.txt");
const NETWORK: &str = include_str!("topics/network.txt");
const TRUST: &str = include_str!("topics/trust.txt");
const COMMON: &str = include_str!("topics/common.txt");
const LIMITS: &str = include_str!("topics/limits.txt");
pub(super) const ENVIRONMENT: &str = include_str!("topics/environment.txt");
pub(super) const FILES: &str = include_str!("topics/files.txt");
pub(super) const EXIT_CODES: &str = include_str!("topics/exit-codes.txt");

/// A line for each limit: its name, its default, and what the limit bounds.
fn limits() -> String {
    let rows = Limits::default().all().into_iter();
    let rows = rows.map(|Limit { name, about, value }| {
        let default = match about.to_lowercase().contains("bytes") {
            true => in_binary_units(value),
            false => value.to_string(),
        };
        format!(
            "  {name:18}  {default:>9}  {}\n",
            about.trim_end_matches('.')
        )
    });
    rows.collect()
}

/// A number of bytes as `64 MiB` if it is a multiple of such a unit.
fn in_binary_units(value: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if value >> shift > 0 && value.is_multiple_of(1 << shift) {
            return format!("{} {unit}", value >> shift);
        }
    }
    value.to_string()
}

/// Adds the options of a conversion, without those that other topics describe.
fn conversion(command: Command) -> Command {
    let others: Vec<String> = TOPICS
        .iter()
        .filter(|topic| topic.elsewhere)
        .flat_map(Topic::ids)
        .collect();
    let all = Conversion::augment_args(Command::new("conversion"));
    let own = all.get_arguments().filter(|it| {
        let id = it.get_id().as_str();
        !others.iter().any(|other| other == id)
    });
    own.fold(command, |command, argument| command.arg(argument.clone()))
}

impl Topic {
    /// A topic without options.
    const fn of_text(name: &'static str, about: &'static str, text: &'static str) -> Self {
        Self {
            name,
            about,
            text,
            rows: None,
            options: None,
            elsewhere: false,
        }
    }

    /// The text before the options, with the rows.
    pub(super) fn text(&self) -> Cow<'static, str> {
        match self.rows {
            Some(rows) => Cow::Owned(format!("{}{}", self.text, rows())),
            None => Cow::Borrowed(self.text),
        }
    }

    /// The definition of the options that the topic describes.
    pub(super) fn definition(&self) -> Command {
        let command = Command::new(self.name)
            .disable_help_flag(true)
            .help_template("{all-args}");
        match self.options {
            Some(options) => options(command),
            None => command,
        }
    }

    /// The identifiers of the options that the topic describes.
    pub(super) fn ids(&self) -> Vec<String> {
        let definition = self.definition();
        let ids = definition.get_arguments().map(|it| it.get_id().to_string());
        ids.collect()
    }

    /// Tells whether a command has an option of this topic.
    pub(super) fn concerns(&self, command: &Command) -> bool {
        let definition = self.definition();
        let mut arguments = command.get_arguments();
        arguments.any(|it| describes(&definition, it))
    }

    /// The help page of the topic.
    pub(super) fn page(&self) -> String {
        let options = self.definition().render_long_help().to_string();
        format!("{}\n{options}", self.text()).trim_end().to_owned() + "\n"
    }
}

/// Tells whether the definition of a topic describes an option in the same words.
pub(super) fn describes(definition: &Command, option: &Arg) -> bool {
    let mut options = definition.get_arguments();
    options.any(|it| it.get_id() == option.get_id() && it.get_help() == option.get_help())
}

/// The list of topics on the help page of the program.
pub(super) fn list() -> String {
    let lines = TOPICS.iter().map(|topic| (topic.name, topic.about));
    let lines = lines.chain([(REFERENCE, "the whole command line as Markdown")]);
    let lines: Vec<String> = lines
        .map(|(name, about)| format!("  {name:12}  {about}"))
        .collect();
    format!("Topics of `imgconv help TOPIC`:\n{}", lines.join("\n"))
}
