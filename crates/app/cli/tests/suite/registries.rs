//! `registries.conf`, attempts and time limits, through the command (rows L18a to L18d, L20, D16i).

use std::{fs, net::TcpListener};

use imgconv_testkit::{
    build,
    engines::{self, EngineImage},
    registry::Registry,
    server::{Reply, Server},
};
use serde_json::Value;

use crate::sandbox::Sandbox;

/// A registry with the image `team/x:t`, and a configuration by which the image is `asked.example/x:t`.
fn mirrored(sandbox: &Sandbox) -> Registry {
    let registry = Registry::start();
    let layer = build::layer("file a \"a\"");
    registry.stored().image("team/x", "t", &layer);
    let text = format!(
        "[[registry]]\nprefix = \"asked.example\"\nlocation = \"none.invalid\"\n\
         [[registry.mirror]]\nlocation = \"{}/team\"\n",
        registry.server.authority()
    );
    fs::write(sandbox.path("r.conf"), text).unwrap();
    registry
}

const ASKED: &str = "docker://asked.example/x:t";

#[test]
fn l18a_verbose_names_the_mirror_and_the_image_keeps_its_name() {
    let sandbox = Sandbox::new();
    let registry = mirrored(&sandbox);
    let mirror = format!(
        "docker://asked.example/x: read from {}/team/x",
        registry.server.authority()
    );
    let args = ["convert", ASKED, "oci:out", "--registries-conf", "r.conf"];
    let output = sandbox.run(&[&args[..], &["-v"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.lines().any(|line| line == mirror), "{stderr}");
    let index: Value =
        serde_json::from_slice(&fs::read(sandbox.path("out/index.json")).unwrap()).unwrap();
    let annotations = &index["manifests"][0]["annotations"];
    assert_eq!(
        annotations["org.opencontainers.image.ref.name"],
        "asked.example/x:t"
    );
    // The environment variable names the file too. Without `-v` nothing is said, except as JSON events.
    let run = |args: &[&str]| {
        let mut command = sandbox.command(args);
        command.env("CONTAINERS_REGISTRIES_CONF", "r.conf");
        let output = sandbox.output(&mut command, args);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!run(&["inspect", ASKED]).contains("read from"));
    let events = run(&["inspect", ASKED, "--progress", "json"]);
    let chosen = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|event| event["event"] == "chosen");
    assert_eq!(chosen.unwrap()["what"], mirror);
}

#[test]
fn l18a_the_file_of_the_user_is_found_by_home() {
    let sandbox = Sandbox::new();
    let _registry = mirrored(&sandbox);
    let folder = sandbox.path("home/.config/containers");
    fs::create_dir_all(&folder).unwrap();
    fs::rename(sandbox.path("r.conf"), folder.join("registries.conf")).unwrap();
    let mut command = sandbox.command(&["inspect", ASKED]);
    command
        .env_remove("CONTAINERS_REGISTRIES_CONF")
        .env("HOME", sandbox.path("home"));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

#[test]
fn l18d_a_file_that_is_malformed_stops_only_those_who_need_it() {
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.path("r.conf"),
        "[registries.block]\nregistries = [\"a.example\"]\n",
    )
    .unwrap();
    let conf = ["--registries-conf", "r.conf"];
    let texts = [
        "file \"r.conf\"",
        "`registries.block`",
        "--registries-conf /dev/null",
    ];
    sandbox.fails(&[&["inspect", ASKED][..], &conf].concat(), 1, &texts);
    sandbox.layout("l", "x", &["file a \"a\""]);
    sandbox.fails(&[&["convert", "l", ASKED][..], &conf].concat(), 1, &texts);
    sandbox.ok(&[&["convert", "l", "oci:o"][..], &conf].concat());
    let gone = ["inspect", ASKED, "--registries-conf", "gone.conf"];
    sandbox.fails(&gone, 1, &["file \"gone.conf\"", "no such file"]);
}

#[test]
fn l18c_what_is_blocked_is_neither_read_nor_written() {
    let sandbox = Sandbox::new();
    let registry = mirrored(&sandbox);
    let host = registry.server.authority();
    let text = format!("[[registry]]\nlocation = \"{host}\"\nblocked = true\n");
    fs::write(sandbox.path("r.conf"), text).unwrap();
    sandbox.layout("l", "x", &["file a \"a\""]);
    let place = format!("docker://{host}/team/x:t");
    let whole = format!("docker://{host}");
    for args in [
        &["convert", &place, "oci:o"][..],
        &["convert", "l", &place],
        &["ls", &whole],
    ] {
        let args = [args, &["--registries-conf", "r.conf"]].concat();
        let output = sandbox.run(&args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        assert!(
            stderr.contains("is blocked by `blocked`"),
            "{args:?}: {stderr}"
        );
    }
    assert!(registry.server.requests().is_empty());
}

#[test]
fn d16i_a_short_name_that_fits_two_images_is_an_error_that_lists_them() {
    let sandbox = Sandbox::new();
    let image = |name: &str| EngineImage::of(&[name], &["file a \"a\""], name);
    let images = [
        image("p.example/a:1"),
        image("q.example/a:1"),
        image("q.example/b:1"),
    ];
    engines::containers_storage(&images, "overlay", false, &sandbox.path("store")).unwrap();
    fs::write(
        sandbox.path("r.conf"),
        "unqualified-search-registries = [\"p.example\", \"q.example\"]\n",
    )
    .unwrap();
    let conf = ["--registries-conf", "r.conf"];
    let store = |name: &str| format!("containers-storage:./store:{name}");
    let listed = sandbox.ok(&[&["inspect", &store("b:1")][..], &conf].concat());
    assert!(listed.contains("q.example/b:1"), "{listed}");
    let texts = ["p.example/a:1", "q.example/a:1"];
    sandbox.fails(
        &[&["inspect", &store("a:1")][..], &conf].concat(),
        1,
        &texts,
    );
    sandbox.fails(&["inspect", &store("b:1")], 1, &["b:1"]);
}

#[test]
fn l19_attempts_are_counted() {
    let sandbox = Sandbox::new();
    let server = Server::start(|_| Reply::status(503));
    let place = format!("docker://{}/x:t", server.authority());
    let plain = ["--plain-http", &server.authority()];
    for (options, attempts, text) in [
        (&["--retry-times", "0"][..], 1, "at the first attempt"),
        (
            &["--retry-times", "2", "--retry-delay", "0"],
            3,
            "after 3 attempts",
        ),
        (
            &["--limit", "retries=2", "--retry-delay", "0"],
            2,
            "after 2 attempts",
        ),
    ] {
        let before = server.requests().len();
        let args = [&["inspect", &place][..], &plain, options].concat();
        sandbox.fails(&args, 1, &[text, "503"]);
        assert_eq!(server.requests().len() - before, attempts, "{options:?}");
    }
    for (option, value) in [
        ("--retry-times", "x"),
        ("--retry-times", "18446744073709551615"),
        ("--connect-timeout", "0"),
        ("--stall-timeout", "1.5"),
    ] {
        sandbox.fails(&["inspect", &place, option, value], 2, &[option]);
    }
}

#[test]
fn l19_a_server_that_sends_nothing_is_given_up() {
    let sandbox = Sandbox::new();
    let limits = ["--stall-timeout", "1", "--retry-times", "0"];
    // The system accepts connections for a listener, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent
        .local_addr()
        .map(|address| (address, silent))
        .unwrap();
    let stalls = Server::start(|_| Reply::ok("{").stall());
    for host in [silent.0.to_string(), stalls.authority()] {
        let place = format!("docker://{host}/x:t");
        let args = [&["inspect", &place, "--plain-http", &host][..], &limits].concat();
        sandbox.fails(&args, 1, &["took too long"]);
    }
    // A server that never ends the handshake of TLS is not connected to.
    let place = format!("docker://{}/x:t", silent.0);
    let args = [
        "inspect",
        &place,
        "--tls-verify=true",
        "--connect-timeout",
        "1",
    ];
    sandbox.fails(&[&args[..], &limits].concat(), 1, &["took too long"]);
}

#[test]
fn two_images_for_one_tag_are_refused_before_anything_is_sent() {
    let sandbox = Sandbox::new();
    for name in ["a", "b"] {
        sandbox.layout(
            name,
            &format!("example.com/{name}"),
            &[&format!("file {name}")],
        );
        sandbox.ok(&["convert", name, "oci:both"]);
    }
    let registry = Registry::start();
    let host = registry.server.authority();
    let place = format!("docker://{host}/team/app");
    let push = ["convert", "both", &place, "--plain-http", &host];
    let name = format!("would get the name \"{host}/team/app:1.0\"");
    sandbox.fails(&push, 1, &["error[ambiguous]", &name]);
    sandbox.fails(&[&push[..], &["--dry-run"]].concat(), 1, &[&name]);
    let sent = registry.server.requests();
    assert!(
        sent.iter().all(|request| request.method == "GET"),
        "{sent:?}"
    );
}
