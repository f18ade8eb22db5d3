//! What a user sees on a terminal: the program runs on a pseudo-terminal, and a model of a terminal shows
//! what is on its screen.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use imgconv_testkit::{
    registry::{Stored, answer},
    server::{Reply, Server},
};
use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::sandbox::{LABELS, Sandbox, columns};

/// The rows of every terminal here.
const ROWS: u16 = 24;

/// A program on a terminal.
struct Terminal {
    model: vt100::Parser,
    master: File,
    child: Child,
}

impl Terminal {
    /// Starts a command whose output and messages go to a terminal of that width.
    fn start(mut command: Command, columns: u16) -> Self {
        let size = Winsize {
            ws_row: ROWS,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        command
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(pty.slave.try_clone().unwrap())
            .stderr(pty.slave);
        let child = command.spawn().unwrap();
        // The command holds the descriptors of the terminal; the end of the child is the end of the output.
        drop(command);
        Self {
            model: vt100::Parser::new(ROWS, columns, 0),
            master: File::from(pty.master),
            child,
        }
    }

    /// Reads output until the screen is as wanted, or until the program ends.
    fn read_until(&mut self, wanted: impl Fn(&[String]) -> bool) {
        let mut buffer = [0; 4096];
        while !wanted(&self.rows()) {
            match self.master.read(&mut buffer) {
                // A terminal without a program reports an error.
                Ok(0) | Err(_) => return,
                Ok(count) => self.model.process(&buffer[..count]),
            }
        }
    }

    /// The lines of the screen up to the last one with text.
    fn rows(&self) -> Vec<String> {
        let (_, columns) = self.model.screen().size();
        let rows = self.model.screen().rows(0, columns);
        let mut rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        let last = rows.iter().rposition(|row| !row.is_empty());
        rows.truncate(last.map_or(0, |last| last + 1));
        rows
    }

    /// Reads to the end, and returns the exit code.
    fn end(&mut self) -> Option<i32> {
        self.read_until(|_| false);
        self.child.wait().unwrap().code()
    }

    /// Asserts that no line is longer than the screen is wide, and that the user sees the cursor. A line
    /// that is too long would have text in the last column, which lines of progress leave free.
    fn assert_sound(&self) {
        let screen = self.model.screen();
        let (_, columns) = screen.size();
        for row in self.rows() {
            assert!(row.chars().count() < usize::from(columns), "{row}");
        }
        assert!(!screen.hide_cursor(), "{:?}", self.rows());
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }
}

/// A registry with one image, whose layer of 3 MB stops after two thirds.
fn slow_registry() -> Server {
    let mut layer = vec![0; 3_000_000];
    layer[..9].copy_from_slice(b"some/file");
    let mut stored = Stored::default();
    stored.image("app", "1.0", &layer);
    let layer_digest = imgconv_testkit::registry::digest_of(&layer);
    let stored = Mutex::new(stored);
    Server::start(move |request| {
        let is_layer = request.method == "GET" && request.path().ends_with(&*layer_digest);
        match is_layer {
            true => Reply::ok(&layer[..2_200_000])
                .header("content-length", layer.len().to_string())
                .stall(),
            false => answer(request, &mut stored.lock().unwrap()),
        }
    })
}

// robustness N11
#[test]
fn n11_progress_fits_the_terminal_tells_the_total_and_is_cleared_by_an_interrupt() {
    let server = slow_registry();
    let source = format!("docker://{}/app:1.0", server.authority());
    for columns in [40, 80, 120] {
        let sandbox = Sandbox::new();
        let command = sandbox.command(&[
            "convert",
            &source,
            "oci:out",
            "--plain-http",
            &server.authority(),
        ]);
        let mut terminal = Terminal::start(command, columns);
        terminal.read_until(|rows| rows.len() > 1 && rows[0].contains("2.1 of 3.0 MB"));
        let rows = terminal.rows();
        terminal.assert_sound();
        assert!(rows[0].starts_with("writing, 2.1 of 3.0 MB"), "{rows:?}");
        // The line of the layer: the start of its digest, and not its number.
        assert!(rows[1].contains("2.1 of 3.0 MB"), "{rows:?}");
        assert!(!rows[1].contains("layer"), "{rows:?}");
        assert_eq!(rows.len(), 2, "{rows:?}");
        if columns > 40 {
            assert!(rows[0].ends_with(']'), "{rows:?}");
        }
        terminal.signal(Signal::SIGINT);
        assert_eq!(terminal.end(), Some(130));
        let rows = terminal.rows();
        assert!(rows[0].starts_with("error[cancelled]: "), "{rows:?}");
        let text = rows.concat();
        assert!(!text.contains(" MB") && !text.contains('#'), "{rows:?}");
        assert!(!terminal.model.screen().hide_cursor());
        assert_eq!(terminal.model.screen().cursor_position().1, 0);
        assert!(fs::read_dir(sandbox.path("")).unwrap().next().is_none());
    }
}

fn fifo(sandbox: &Sandbox) {
    let path = sandbox.path("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
}

/// Opens a FIFO for writing, once a program reads from it.
fn writer(path: &Path) -> File {
    fs::OpenOptions::new().write(true).open(path).unwrap()
}

#[test]
fn n11_progress_is_cleared_before_results_are_printed() {
    let sandbox = Sandbox::new();
    fifo(&sandbox);
    let file = format!("file big \"{}\"", "x".repeat(2_000_000));
    sandbox.aci("app.aci", "example.com/app", LABELS, &file);
    let bytes = fs::read(sandbox.path("app.aci")).unwrap();
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let mut terminal = Terminal::start(sandbox.command(&["aci-to-oci", "fifo", "out"]), 100);
    let mut input = writer(&sandbox.path("fifo"));
    input.write_all(first).unwrap();
    terminal.read_until(|rows| rows.len() > 1 && rows[1].contains("standard input"));
    let rows = terminal.rows();
    assert_eq!(rows[0], "reading", "{rows:?}");
    terminal.assert_sound();
    input.write_all(rest).unwrap();
    drop(input);
    assert_eq!(terminal.end(), Some(0));
    let rows = terminal.rows();
    let words = columns(&rows[0]);
    assert_eq!(words[0], "example.com/app:1.0", "{rows:?}");
    // A digest does not fit a line of 100 columns beside the other columns.
    assert!(!rows.concat().contains("reading"), "{rows:?}");
    assert!(!rows.concat().contains('#'), "{rows:?}");
}

#[test]
fn n11_plain_progress_is_a_line_without_control_characters() {
    let sandbox = Sandbox::new();
    fifo(&sandbox);
    sandbox.aci("app.aci", "example.com/app", LABELS, "file big \"x\"");
    let bytes = fs::read(sandbox.path("app.aci")).unwrap();
    let mut child = sandbox
        .command(&["aci-to-oci", "fifo", "out", "--progress", "plain"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = writer(&sandbox.path("fifo"));
    input.write_all(&bytes[..600]).unwrap();
    let mut messages = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    messages.read_line(&mut line).unwrap();
    assert!(line.starts_with("reading: standard input, 600 B"), "{line}");
    assert!(line.trim_end().chars().all(|c| !c.is_control()), "{line:?}");
    input.write_all(&bytes[600..]).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn json_progress_tells_images_totals_and_times() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/app", &["file a \"a\"", "file b \"b\""]);
    let args = ["convert", "oci:in", "oci:out", "--progress", "json"];
    let output = sandbox.run(&args);
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |kind: &str| -> Vec<&serde_json::Value> {
        events.iter().filter(|it| it["event"] == kind).collect()
    };
    let phases: Vec<_> = of("phase").iter().map(|it| it["phase"].clone()).collect();
    assert_eq!(phases, ["reading", "writing", "committing"]);
    let images = of("images");
    assert_eq!(images[0]["count"], 1);
    let all = images[0]["bytes"].as_u64().unwrap();
    assert!(all > 0);
    let (begun, ended) = (of("begin"), of("end"));
    assert_eq!((begun.len(), ended.len()), (2, 2), "{text}");
    for work in begun.iter().chain(&ended) {
        assert_eq!(work["image"], "example.com/app:1.0 linux/amd64", "{text}");
        assert_eq!(work["all_bytes"], all, "{text}");
        assert!(work["what"].as_str().unwrap().starts_with("sha256:"));
    }
    assert!(ended.iter().all(|it| it["done"] == it["bytes"]), "{text}");
    let image = of("image")[0];
    assert_eq!(image["status"], "done");
    assert_eq!(
        (&image["images_done"], &image["images"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&image["all_done"], &image["all_bytes"]),
        (&all.into(), &all.into())
    );
    let times: Vec<f64> = events
        .iter()
        .map(|it| it["time"].as_f64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

// robustness N11
#[test]
fn n11_every_long_command_ends_with_the_code_of_its_signal() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        for args in [
            &["convert", "fifo", "oci:out"][..],
            &["aci-to-oci", "fifo", "out"],
            &["docker-to-oci", "fifo", "out"],
            &["squash", "fifo", "oci:out"],
            &["recompress", "fifo", "oci:out"],
            &["migrate", "fifo", "oci:out"],
            &["publish", "fifo", "site"],
            &["ls", "fifo"],
            &["inspect", "fifo"],
            &["verify", "fifo"],
            &["diff", "fifo", "app.aci"],
            &["unpack", "fifo", "root"],
        ] {
            let sandbox = Sandbox::new();
            fifo(&sandbox);
            sandbox.aci("app.aci", "example.com/app", LABELS, "file a \"a\"");
            let mut child = sandbox
                .command(args)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // The program waits for the rest of what it reads.
            let mut input = writer(&sandbox.path("fifo"));
            input.write_all(&[0x1f; 3]).unwrap();
            let id = i32::try_from(child.id()).unwrap();
            kill(Pid::from_raw(id), signal).unwrap();
            let mut text = String::new();
            let mut messages = child.stderr.take().unwrap();
            messages.read_to_string(&mut text).unwrap();
            let ended = child.wait().unwrap();
            assert_eq!(ended.code(), Some(code), "{args:?}: {text}");
            assert!(!sandbox.path("out").exists(), "{args:?}");
        }
    }
}

#[test]
fn an_image_never_goes_to_a_terminal() {
    let sandbox = Sandbox::new();
    sandbox.aci("app.aci", "example.com/app", LABELS, "file a \"a\"");
    for args in [
        ["convert", "app.aci", "aci:-"],
        ["aci-to-docker", "app.aci", "-"],
        ["convert", "app.aci", "oci-archive:-"],
        ["squash", "app.aci", "rootfs:-"],
    ] {
        let mut terminal = Terminal::start(sandbox.command(&args), 100);
        assert_eq!(terminal.end(), Some(2), "{args:?}");
        let rows = terminal.rows();
        let text = "error[usage]: ";
        assert!(rows[0].starts_with(text), "{args:?}: {rows:?}");
        assert!(rows.concat().contains("> FILE"), "{args:?}: {rows:?}");
        // The same is fine where the output goes elsewhere, and text may go to a terminal.
        assert!(!sandbox.run(&args).stdout.is_empty());
    }
    let mut terminal = Terminal::start(sandbox.command(&["inspect", "app.aci", "--raw"]), 100);
    assert_eq!(terminal.end(), Some(0));
    assert!(terminal.rows().concat().contains("acKind"));
}

#[test]
fn colours_are_for_terminals_that_have_them_and_users_who_want_them() {
    let sandbox = Sandbox::new();
    let args = ["ls", "missing.aci"];
    let red = vt100::Color::Idx(1);
    for (variable, coloured) in [
        (None, true),
        (Some(("NO_COLOR", "")), true),
        (Some(("NO_COLOR", "1")), false),
        (Some(("TERM", "dumb")), false),
    ] {
        let mut command = sandbox.command(&args);
        if let Some((name, value)) = variable {
            // `Terminal::start` sets both variables for other tests.
            command = Command::new("env");
            command
                .arg(format!("{name}={value}"))
                .arg(env!("CARGO_BIN_EXE_imgconv"))
                .args(args)
                .current_dir(sandbox.folder.path());
        }
        let mut terminal = Terminal::start(command, 80);
        assert_eq!(terminal.end(), Some(1));
        let screen = terminal.model.screen();
        let first = screen.cell(0, 0).unwrap();
        assert_eq!(first.contents(), "e");
        assert_eq!(first.fgcolor() == red, coloured, "{variable:?}");
        // Only the first word has the colour.
        assert_eq!(screen.cell(0, 20).unwrap().fgcolor(), vt100::Color::Default);
    }
    let output = sandbox.run(&args);
    assert!(!output.stderr.contains(&0x1b));
}
