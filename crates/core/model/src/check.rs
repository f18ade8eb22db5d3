//! Every invariant of the neutral model, in one callable function.

use crate::Image;

/// A broken invariant: which, and how.
pub type Violation = String;

/// Returns every broken invariant of an image. Tests call it after every decode.
pub fn check(image: &Image) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut claim = |holds: bool, what: &str| {
        if !holds {
            violations.push(what.to_owned());
        }
    };
    let with_layer = image
        .history
        .iter()
        .filter(|step| !step.empty_layer)
        .count();
    claim(
        image.history.is_empty() || with_layer == image.layers.len(),
        "history entries with a layer are as many as the layers",
    );
    claim(
        image.config.ports.iter().all(|port| port.count > 0),
        "a port range is not empty",
    );
    claim(
        image.config.ports.iter().all(|port| {
            u32::from(port.number) + u32::from(port.count) <= 65_536 && port.number > 0
        }),
        "a port range stays within 1 to 65535",
    );
    claim(
        image
            .config
            .exec
            .as_ref()
            .is_none_or(|exec| !exec.entrypoint.is_empty() || !exec.cmd.is_empty()),
        "a command line that is there is not empty",
    );
    claim(
        image.config.user.as_deref() != Some("") && image.config.working_dir.as_deref() != Some(""),
        "an empty user or working directory is absent",
    );
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exec, History, Port};

    #[test]
    fn each_violation_is_named() {
        let mut image = Image::default();
        assert_eq!(check(&image), Vec::<String>::new());
        image.history.push(History::default());
        image.config.ports.push(Port {
            number: 65_535,
            count: 2,
            protocol: "tcp".into(),
        });
        image.config.exec = Some(Exec::default());
        image.config.user = Some(String::new());
        assert_eq!(check(&image).len(), 4);
    }
}
