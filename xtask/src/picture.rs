//! `docs/terminal.svg`: a terminal with commands and what they print, from a real run.
//!
//! The commands run on `testdata/hello.aci` in an empty folder, so that no path of the machine is in
//! the picture; the same program makes the same picture.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Result, raw};

/// The commands of the picture, without the name of the program.
const COMMANDS: &[&str] = &[
    "aci-to-oci hello.aci layout/",
    "ls layout/",
    "diff hello.aci layout/",
    "oci-to-docker layout/ hello.tar --dry-run",
];
/// The widest line, in characters; longer lines end with `…`.
const WIDTH: usize = 110;
/// The height of a line, in pixels.
const LINE: usize = 19;

/// Runs the commands and draws them.
pub(crate) fn of(program: &Path, root: &Path) -> Result<String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let from = root.join("testdata/hello.aci");
    fs::copy(&from, folder.path().join("hello.aci"))
        .map_err(|error| format!("{}: {error}", from.display()))?;
    let mut lines = Vec::new();
    for text in COMMANDS {
        let mut command = Command::new(program);
        command.args(text.split(' ')).current_dir(folder.path());
        command.env_remove("SOURCE_DATE_EPOCH").stdin(Stdio::null());
        let output = raw(&mut command)?;
        if !output.status.success() {
            return Err(crate::process::shown(&command, &output));
        }
        lines.push((true, format!("$ imgconv {text}")));
        for bytes in [&output.stderr, &output.stdout] {
            let text = String::from_utf8_lossy(bytes);
            lines.extend(text.lines().map(|line| (false, line.to_owned())));
        }
    }
    Ok(drawn(&lines))
}

/// Draws lines; those of commands are bright.
fn drawn(lines: &[(bool, String)]) -> String {
    let height = lines.len() * LINE + 40;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {height}\" width=\"900\" \
         height=\"{height}\" font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <title>imgconv in a terminal; `cargo xtask docs` makes this picture from a real run</title>\n\
         <rect width=\"900\" height=\"{height}\" rx=\"8\" fill=\"#1e2430\"/>\n"
    );
    for (i, (is_command, line)) in lines.iter().enumerate() {
        let fill = if *is_command { "#9fe6a0" } else { "#d7dce5" };
        let line = escaped(&shortened(line));
        out += &format!(
            "<text x=\"20\" y=\"{}\" fill=\"{fill}\" xml:space=\"preserve\">{line}</text>\n",
            32 + i * LINE
        );
    }
    out + "</svg>\n"
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_escaped_and_shortened() {
        let picture = drawn(&[(true, "$ a <b> & c".to_owned()), (false, "x".repeat(200))]);
        assert!(picture.contains("$ a &lt;b&gt; &amp; c<"), "{picture}");
        assert!(picture.contains(&format!(">{}…<", "x".repeat(WIDTH))));
        assert!(picture.ends_with("</svg>\n"));
    }
}
