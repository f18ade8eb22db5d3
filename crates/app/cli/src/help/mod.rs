//! Help: the pages of commands, the topics, the man pages, and the reference in `docs/cli.md`. All of
//! them are made from the definitions of the commands and of the option groups.

mod man;
mod pages;
mod reference;
mod topics;

pub(crate) use man::write as write_man_pages;
pub(crate) use pages::{Page, paged, with_help_option};

use clap::Command;
use imgconv::{Code, Error, Result};

use topics::TOPICS;

/// Returns the help page of a topic or of a command, such as `tags fetch`; without a name, that of the
/// whole program.
///
/// # Errors
/// [`Code::Usage`] if there is no such topic and no such command.
pub(crate) fn page(names: &[String], program: &Command) -> Result<String> {
    if let [name] = names {
        if name == topics::REFERENCE {
            return Ok(reference::markdown(program));
        }
        if let Some(topic) = TOPICS.iter().find(|topic| topic.name == name) {
            return Ok(topic.page());
        }
    }
    let mut program = paged(program.clone(), Page::Full);
    program.build();
    let mut command = &mut program;
    for name in names {
        command = command.find_subcommand_mut(name).ok_or_else(|| {
            let message = format!("there is no command and no topic `{}`", names.join(" "));
            let topics: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
            let hint = format!(
                "`imgconv --help` lists the commands; the topics are {}",
                topics.join(", ")
            );
            Error::new(Code::Usage, message).hint(hint)
        })?;
    }
    Ok(command.render_help().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_a_name_of_its_own_and_a_page() {
        for topic in TOPICS {
            assert!(topic.page().len() > 100, "{}", topic.name);
            let same = TOPICS.iter().filter(|other| other.name == topic.name);
            assert_eq!(same.count(), 1, "{}", topic.name);
        }
    }
}
