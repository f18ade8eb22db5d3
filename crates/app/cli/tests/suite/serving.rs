//! `serve` by the command: its options for TLS, passwords and appc, and clients that are the same program.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use imgconv_testkit::server::Authority;

use crate::sandbox::Sandbox;

/// A hash of `U*U`: a published test vector of bcrypt.
const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// A running server, which is ended by its process ID.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(sandbox: &Sandbox, options: &[&str]) -> Self {
        let args = [&["serve", "oci:out", "--listen", "127.0.0.1:0"], options].concat();
        let mut child = sandbox
            .command(&args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let url = line.split(' ').nth(2).unwrap_or_default();
        let url = url.trim_end_matches(':').to_owned();
        Self { child, url }
    }

    fn authority(&self) -> &str {
        self.url.split("://").nth(1).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A layout, and certificate, key and users of a server.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.layout("out", "localhost/app", &["file a \"a\""]);
    let authority = Authority::new();
    let pem = authority.certificate(&["127.0.0.1", "localhost"], (2000, 2100));
    fs::create_dir(sandbox.path("trusted")).unwrap();
    for (name, text) in [
        ("trusted/ca.crt", authority.pem()),
        ("server.crt", pem.certificate),
        ("server.key", pem.key),
        ("users", format!("al:{HASH}\n")),
        ("md5", format!("al:{HASH}\nbob:$apr1$x$y\n")),
    ] {
        fs::write(sandbox.path(name), text).unwrap();
    }
    sandbox
}

const TLS: [&str; 4] = ["--tls-cert", "server.crt", "--tls-key", "server.key"];

#[test]
fn clients_pull_over_tls_with_a_password() {
    let sandbox = sandbox();
    let server = Server::start(&sandbox, &[&TLS[..], &["--htpasswd", "users"]].concat());
    assert!(
        server.url.starts_with("https://127.0.0.1:"),
        "{}",
        server.url
    );
    let image = format!("docker://{}/app:1.0", server.authority());
    let creds = |text: &str| format!("{}={text}", server.authority());
    let (right, wrong) = (creds("al:U*U"), creds("al:other"));
    let known = ["ls", &image, "--cert-dir", "trusted", "--creds", &right];
    assert!(sandbox.ok(&known).contains("sha256:"));
    let other = ["ls", &image, "--cert-dir", "trusted", "--creds", &wrong];
    sandbox.fails(&other, 1, &["error[denied]"]);
    sandbox.fails(&known[..4], 1, &["error[denied]"]);
    sandbox.fails(&["ls", &image, "--creds", &right], 1, &["TLS"]);
}

#[test]
fn the_aci_of_appc_discovery_is_that_of_a_conversion() {
    let sandbox = sandbox();
    let server = Server::start(
        &sandbox,
        &[&TLS[..], &["--host", "images.example.com"]].concat(),
    );
    let mirror = format!("images.example.com={}", server.authority());
    let from = "appc:images.example.com/app:1.0";
    let client = [
        "--mirror",
        &mirror,
        "--cert-dir",
        "trusted",
        "--insecure-image",
    ];
    sandbox.ok(&[&["convert", from, "aci:found.aci"], &client[..]].concat());
    sandbox.ok(&["publish", "oci:out", "site", "--host", "images.example.com"]);
    let published = sandbox.path("site/aci/images.example.com/app/1.0-linux-amd64.aci");
    assert!(fs::read(sandbox.path("found.aci")).unwrap() == fs::read(published).unwrap());
}

#[test]
fn wrong_files_and_options_are_named_before_the_server_listens() {
    let sandbox = sandbox();
    let serve =
        |more: &[&'static str]| [&["serve", "oci:out", "--listen", "127.0.0.1:0"], more].concat();
    for (options, exit, texts) in [
        (&["--tls-cert", "server.crt"][..], 2, &["--tls-key"][..]),
        (&["--tls-key", "server.key"], 2, &["--tls-cert"]),
        (
            &["--tls-cert", "server.key", "--tls-key", "server.key"],
            2,
            &["server.key", "PEM"],
        ),
        (
            &["--tls-cert", "none", "--tls-key", "server.key"],
            1,
            &["none"],
        ),
        (&["--htpasswd", "md5"], 1, &["md5", "line 2", "bcrypt"]),
        (&["--host", "a b"], 2, &["a b", "host"]),
        (&["--url", "ftp://x"], 2, &["ftp://x"]),
        (&["--pubkeys", "none"], 1, &["none"]),
    ] {
        sandbox.fails(&serve(options), exit, texts);
    }
}
