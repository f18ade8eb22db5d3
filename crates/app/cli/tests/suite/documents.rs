//! Every command line of `README.md` and of the files in `docs` runs, and prints what the documents say.
//!
//! A fence `sh` holds commands. The commands of a document run in order in one folder with the inputs
//! of [`Inputs`]; a command must end with status 0, or with the status that a comment beside or above
//! it states as `exit code N`. A fence `output` holds lines that the commands of the fence before it
//! print, in this order; `…` stands for any lines, and at the end of a line for the rest of the line.
//! Fences of other kinds are not run: they need the Internet, an engine, or another program.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use imgconv_testkit::{
    Head, ImageRecipe, build, docker,
    engine::FakeEngine,
    engines::{self, EngineImage},
    recipe,
    registry::Registry,
    server::{Authority, Reply, Server},
    stores,
};

use crate::sandbox::{LABELS, Sandbox};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// The documents that people write, with their paths from the root.
fn documents() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned()];
    for file in fs::read_dir(root().join("docs")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "cli.md" {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    let read = |name: String| (name.clone(), fs::read_to_string(root().join(name)).unwrap());
    names.into_iter().map(read).collect()
}

/// A fence: its kind, the line of its beginning, its lines.
struct Fence<'a> {
    kind: &'a str,
    line: usize,
    lines: Vec<&'a str>,
}

fn fences(text: &str) -> Vec<Fence<'_>> {
    let (mut fences, mut open) = (Vec::<Fence<'_>>::new(), false);
    for (i, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(kind) => {
                open = true;
                fences.push(Fence {
                    kind,
                    line: i + 1,
                    lines: Vec::new(),
                });
            }
            None if open => fences.last_mut().unwrap().lines.push(line),
            None => {}
        }
    }
    assert!(!open, "a fence without an end");
    fences
}

/// A command line and its exit status.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    text: String,
    exit: i32,
}

/// The commands of a fence.
fn calls(lines: &[&str]) -> Vec<Call> {
    let (mut calls, mut text, mut exit) = (Vec::new(), String::new(), 0);
    for line in lines {
        let comment = line
            .find(" # ")
            .or_else(|| line.starts_with('#').then_some(0));
        let (code, comment) = line.split_at(comment.unwrap_or(line.len()));
        if let Some((_, number)) = comment.split_once("exit code ") {
            let digits = number.trim_start_matches(|c: char| !c.is_ascii_digit());
            let end = digits.find(|c: char| !c.is_ascii_digit());
            exit = digits[..end.unwrap_or(digits.len())].parse().unwrap();
        }
        let code = code.trim();
        text.push_str(code.strip_suffix('\\').unwrap_or(code));
        if code.is_empty() || code.ends_with('\\') {
            continue;
        }
        calls.push(Call { text, exit });
        (text, exit) = (String::new(), 0);
    }
    assert!(text.is_empty(), "a command without an end: {text}");
    calls
}

#[test]
fn a_fence_is_taken_apart() {
    let lines = [
        "# a comment",
        "imgconv ls out    # a list",
        "",
        "imgconv verify \\",
        "  out             # exit code 4: damage",
        "# exit code 1:",
        "imgconv inspect 'oci:out:#0'",
    ];
    let call = |text: &str, exit| Call {
        text: text.into(),
        exit,
    };
    assert_eq!(
        calls(&lines),
        [
            call("imgconv ls out", 0),
            call("imgconv verify out", 4),
            call("imgconv inspect 'oci:out:#0'", 1),
        ]
    );
}

/// A folder with images of every kind, and servers on this machine.
///
/// The documents call the servers `localhost:5000` (a registry that speaks http), `localhost:5443` (a
/// registry with TLS, whose authority is in `certs/ca.crt`) and `localhost:8443` (a web server with the
/// same authority, whose root is `site`), and the stores of engines by their usual paths below
/// `/var/lib`: both are replaced before a command runs, and replaced back in what it prints.
struct Inputs {
    replaced: Vec<(&'static str, String)>,
    engine: FakeEngine,
    /// Servers end when they are dropped.
    _servers: (Registry, Registry, Server),
    /// The folder goes last: the engine ends by a connection to its socket, which is in the folder.
    sandbox: Sandbox,
}

const MANIFEST: &str = r#","app":{"exec":["/bin/app"],"user":"0","group":"0",
    "environment":[{"name":"PATH","value":"/bin"}],
    "isolators":[{"name":"resource/memory","value":{"limit":"64M"}}]}"#;

fn image(name: &str, version: &str, arch: &str, layers: &[&str]) -> ImageRecipe {
    let layers = layers.iter().map(|text| recipe::parse(text, name).unwrap());
    ImageRecipe {
        head: Head {
            name: name.into(),
            version: version.into(),
            os: "linux".into(),
            arch: arch.into(),
            ..Head::default()
        },
        layers: layers.collect(),
        manifest: None,
    }
}

/// The layers of the images named `example.com/app`.
const LAYERS: [&str; 4] = [
    "dir bin 0755 0:0\nfile bin/sh 0755 0:0 noise=40000\ndir etc 0755 0:0\nfile etc/version 0644 0:0 \"1\\n\"",
    "dir lib 0755 0:0\nfile lib/app.so 0644 0:0 noise=60000",
    "dir bin 0755 0:0\nfile bin/app 0755 0:0 noise=20000",
    "dir etc 0755 0:0\nfile etc/app.conf 0644 0:0 \"port=80\\n\"\nwhiteout etc/version",
];

impl Inputs {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let at = |name: &str| sandbox.path(name);
        let testdata = root().join("testdata/hello.aci");
        fs::create_dir_all(at("testdata")).unwrap();
        fs::copy(&testdata, at("testdata/hello.aci")).unwrap();
        // ACIs.
        let amd64 = format!("{LABELS}{MANIFEST}");
        let files = "dir bin\nfile bin/app 0755 0:0 noise=20000";
        sandbox.aci("app.aci", "example.com/app", &amd64, files);
        for (file, name, fields) in [
            (
                "acis/app-1.0-linux-amd64.aci",
                "example.com/app",
                amd64.clone(),
            ),
            (
                "acis/app-1.0-linux-arm64.aci",
                "example.com/app",
                amd64.replace("amd64", "aarch64"),
            ),
            (
                "acis/base-1.0-linux-amd64.aci",
                "example.com/base",
                LABELS.to_owned(),
            ),
            (
                "acis/web-1.0-linux-amd64.aci",
                "example.com/web",
                format!(r#"{LABELS},"dependencies":[{{"imageName":"example.com/base"}}]"#),
            ),
        ] {
            sandbox.aci(file, name, &fields, files);
        }
        for (file, name) in [
            ("keys.gpg", "bob.pub.asc"),
            ("secret.asc", "bob.secret.asc"),
        ] {
            let key = root().join("crates/core/openpgp/tests/data").join(name);
            fs::copy(key, at(file)).unwrap();
        }
        // Layouts.
        let app = |version: &str| image("example.com/app", version, "amd64", &LAYERS);
        let several = ["amd64", "arm64", "riscv64"]
            .map(|arch| image("example.com/multi", "1.0", arch, &LAYERS[..2]));
        build::layout(
            &[
                app("1.0"),
                image("example.com/app", "0.9", "amd64", &LAYERS[..3]),
            ],
            &at("images"),
        )
        .unwrap();
        build::layout(&several, &at("multi")).unwrap();
        // Archives.
        let both = [
            app("1.0"),
            image("example.com/tool", "2", "amd64", &LAYERS[..2]),
        ];
        fs::write(at("saved.tar"), docker::archive(&both).unwrap()).unwrap();
        fs::create_dir(at("old-images")).unwrap();
        let (old, new) = (
            docker::archive_v1(&both).unwrap(),
            docker::archive(&[image("example.com/app", "2.0", "amd64", &LAYERS[1..])]).unwrap(),
        );
        fs::write(at("saved-2014.tar"), &old).unwrap();
        let alone = docker::archive_v1(&both[..1]).unwrap();
        fs::write(at("app-2014.tar"), alone).unwrap();
        sandbox.ok(&["convert", "app-2014.tar", "docker-v2s1+dir:old-schema1"]);
        fs::write(at("old-images/tools-2014.tar"), old).unwrap();
        fs::write(at("old-images/app-2020.tar"), new).unwrap();
        fs::copy(&testdata, at("old-images/hello.aci")).unwrap();
        // Damage: one byte of a layer.
        build::layout(&[app("1.0")], &at("damaged/layout")).unwrap();
        fs::copy(&testdata, at("damaged/hello.aci")).unwrap();
        damage(&at("damaged/layout/blobs/sha256"));
        // Stores.
        let engine_image = |name: &str| EngineImage::of(&[name], &LAYERS[..2], "/bin/sh");
        let mut stored = [
            engine_image("example.com/app:1.0"),
            engine_image("busybox:1"),
        ];
        stored[1].command = "sh".to_owned();
        engines::docker_root(&stored, "overlay2", &at("var/lib/docker")).unwrap();
        engines::containers_storage(&stored, "overlay", true, &at("var/lib/containers/storage"))
            .unwrap();
        let spaced = stored
            .clone()
            .map(|image| (image, vec!["k8s.io".to_owned()]));
        engines::containerd(&spaced, &at("var/lib/containerd")).unwrap();
        stores::rkt(
            &[image("example.com/app", "1.0", "amd64", &LAYERS[..1])],
            &at("var/lib/rkt"),
        )
        .unwrap();
        let repositories = [
            image("team/app", "1.0", "amd64", &LAYERS),
            image("team/app", "1.1", "amd64", &LAYERS[..3]),
            image("team/base", "1", "amd64", &LAYERS[..1]),
        ];
        build::layout(&repositories, &at("made")).unwrap();
        stores::registry_v2(&at("made"), &at("var/lib/registry")).unwrap();
        // Servers.
        let authority = Authority::new();
        fs::create_dir(at("certs")).unwrap();
        fs::write(at("certs/ca.crt"), authority.pem()).unwrap();
        let plain = Registry::start();
        let secure = Registry::start_with(Some(&authority.server()), |_, _| None);
        for tag in ["1.0", "1.1"] {
            let to = plain.locator(&format!("team/app:{tag}"));
            sandbox.ok(&["convert", &format!("oci:made:{tag}"), &to]);
        }
        fs::remove_dir_all(at("made")).unwrap();
        let site = at("site");
        let web = Server::start_tls(&authority.server(), move |request| {
            let mut path = site.join(request.path().trim_start_matches('/'));
            if path.is_dir() {
                path.push("index.html");
            }
            fs::read(path).map_or_else(|_| Reply::status(404), Reply::ok)
        });
        let running = [image("example.com/app", "1.0", "amd64", &LAYERS[..2])];
        let engine = FakeEngine::start(&at("engine.sock"), &running).unwrap();
        let replaced = vec![
            ("localhost:5000", plain.server.authority()),
            ("localhost:5443", secure.server.authority()),
            ("localhost:8443", web.authority()),
            ("/var/lib/", at("var/lib/").display().to_string()),
        ];
        Self {
            replaced,
            engine,
            _servers: (plain, secure, web),
            sandbox,
        }
    }

    /// Runs a command line, and returns its exit status and what it printed.
    fn run(&self, text: &str) -> (Option<i32>, String) {
        let mut text = text.replace("cargo run --release --bin imgconv --", "imgconv");
        for (here, there) in &self.replaced {
            text = text.replace(here, there);
        }
        let program = Path::new(env!("CARGO_BIN_EXE_imgconv")).parent().unwrap();
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                &format!("exec 2>&1; export PATH=\"$0:$PATH\"; {text}"),
            ])
            .arg(program)
            .current_dir(self.sandbox.folder.path())
            .env("HOME", self.sandbox.folder.path())
            .env("DOCKER_HOST", self.engine.host())
            .env_remove("SOURCE_DATE_EPOCH")
            .stdin(Stdio::null());
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        let output = command.output().unwrap();
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        for (here, there) in &self.replaced {
            said = said.replace(there, here);
        }
        (output.status.code(), said)
    }
}

/// Changes a byte in the middle of the largest file of a folder.
fn damage(folder: &Path) {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let largest = files.max_by_key(|path| fs::metadata(path).unwrap().len());
    let path = largest.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Commands that build this repository: the checks run them, not this test.
fn builds(text: &str) -> bool {
    let tasks = ["cargo xtask ", "cargo install ", "cargo build "];
    tasks.iter().any(|task| text.starts_with(task))
}

/// Returns the first line of `wanted` that is not in `said` after the lines before it.
fn unsaid<'a>(wanted: &[&'a str], said: &str) -> Option<&'a str> {
    let mut lines = said.lines().map(str::trim_end);
    let mut gap = true;
    for want in wanted {
        if want.trim() == "…" {
            gap = true;
            continue;
        }
        let fits = |line: &str| match want.strip_suffix('…') {
            Some(head) => line.starts_with(head),
            None => line == want.trim_end(),
        };
        let found = match gap {
            true => lines.any(fits),
            false => lines.next().is_some_and(fits),
        };
        if !found {
            return Some(want);
        }
        gap = false;
    }
    None
}

#[test]
fn printed_lines_are_compared() {
    let said = "a 1\nb\nc\nd\n";
    assert_eq!(unsaid(&["a…", "b"], said), None);
    assert_eq!(unsaid(&["a 1", "…", "d"], said), None);
    assert_eq!(unsaid(&["a 1", "d"], said), Some("d"));
    assert_eq!(unsaid(&["b", "a 1"], said), Some("a 1"));
}

/// Runs one document; returns what is wrong.
fn faults(name: &str, text: &str) -> Vec<String> {
    let fences = fences(text);
    if !fences.iter().any(|fence| fence.kind == "sh") {
        return Vec::new();
    }
    let inputs = Inputs::new();
    // Lines for `jq` need that program, as users do.
    let has_jq = inputs.run("jq --version").0 == Some(0);
    let (mut faults, mut said) = (Vec::new(), String::new());
    for fence in fences {
        let at = format!("{name}:{}", fence.line);
        match fence.kind {
            "sh" => {
                said.clear();
                for call in calls(&fence.lines) {
                    if builds(&call.text) || !has_jq && call.text.contains("jq ") {
                        continue;
                    }
                    let (status, text) = inputs.run(&call.text);
                    said.push_str(&text);
                    if status != Some(call.exit) {
                        faults.push(format!(
                            "{at}: `{}` ended with {status:?}, not {}: {text}",
                            call.text, call.exit
                        ));
                    }
                    if text.contains("panicked at") {
                        faults.push(format!("{at}: `{}`: {text}", call.text));
                    }
                }
            }
            "output" => {
                if has_jq && let Some(line) = unsaid(&fence.lines, &said) {
                    faults.push(format!("{at}: `{line}` is not (there) in: {said}"));
                }
            }
            "console" | "text" | "json" | "rust" | "toml" => {}
            kind => faults.push(format!("{at}: a fence of the kind `{kind}`")),
        }
    }
    faults
}

#[test]
fn every_command_of_the_documents_runs() {
    let documents = documents().into_iter();
    let faults: Vec<String> = documents
        .flat_map(|(name, text)| faults(&name, &text))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_option_that_the_documents_name_exists() {
    let sandbox = Sandbox::new();
    let reference = sandbox.ok(&["help", "reference"]);
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let mut known: BTreeSet<&str> = reference.split(word).collect();
    // The reference does not repeat the options that every program has.
    known.extend(["--help", "--version"]);
    // The rules for bad input also name options that were decided against.
    let written = documents().into_iter();
    for (name, text) in written.filter(|(name, _)| name != "docs/robustness.md") {
        let prose: Vec<&str> = text.split("```").step_by(2).collect();
        for span in prose
            .iter()
            .flat_map(|part| part.split('`').skip(1).step_by(2))
        {
            let option = span.split(word).next().unwrap_or_default();
            if span.starts_with("--") {
                assert!(known.contains(option), "{name}: there is no `{span}`");
            }
        }
    }
}

#[test]
fn the_first_page_is_short() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let has_letters = |word: &&str| word.contains(char::is_alphanumeric);
    let words = text.split_whitespace().filter(has_letters).count();
    assert!(words <= 1000, "README.md has {words} words");
}

#[test]
fn every_error_code_is_explained() {
    let codes = fs::read_to_string(root().join("crates/core/model/src/error.rs")).unwrap();
    let text = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let code = |line: &str| {
        Some(
            line.trim()
                .strip_prefix("Self::")?
                .split_once("=> \"")?
                .1
                .split_once('"')?
                .0
                .to_owned(),
        )
    };
    let codes: Vec<String> = codes.lines().filter_map(code).collect();
    assert!(codes.len() >= 20, "{codes:?}");
    for code in codes {
        assert!(
            text.contains(&format!("\n## {code}\n")),
            "docs/errors.md has no `{code}`"
        );
    }
}
