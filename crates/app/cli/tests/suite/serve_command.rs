//! The command `serve`: what it prints, and its end by a signal.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
};

use imgconv_testkit::schema::Schema;
use serde_json::Value;

use crate::sandbox::Sandbox;

/// A running server, and the document that it printed.
struct Serving {
    child: Child,
    document: String,
}

fn serve(sandbox: &Sandbox, args: &[&str]) -> Serving {
    let all = [&["serve", "--json", "--listen", "127.0.0.1:0"], args].concat();
    let mut child = sandbox
        .command(&all)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(sandbox.path("log")).unwrap())
        .spawn()
        .unwrap();
    let mut document = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    while !document.ends_with("}\n") {
        let log = || fs::read_to_string(sandbox.path("log")).unwrap();
        assert!(output.read_line(&mut document).unwrap() > 0, "{}", log());
    }
    Serving { child, document }
}

impl Serving {
    /// Ends the server by a signal; returns what it wrote to standard error.
    fn end(mut self, sandbox: &Sandbox) -> String {
        let command = format!("kill -TERM {}", self.child.id());
        let sent = std::process::Command::new("sh")
            .args(["-c", &command])
            .status();
        assert!(sent.unwrap().success());
        let status = self.child.wait().unwrap();
        let log = fs::read_to_string(sandbox.path("log")).unwrap();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

#[test]
fn serve_prints_a_document_when_it_listens_and_ends_by_a_signal() {
    let sandbox = Sandbox::new();
    sandbox.layout("out", "example.com/app:1", &["file a \"a\""]);
    let serving = serve(&sandbox, &["oci:out"]);
    Schema::load("serve")
        .unwrap()
        .check(&serving.document)
        .unwrap();
    let document: Value = serde_json::from_str(&serving.document).unwrap();
    assert_eq!(
        (&document["repositories"], &document["images"]),
        (&1.into(), &1.into())
    );
    let address = document["listening"]
        .as_str()
        .unwrap()
        .strip_prefix("http://");
    // A client that is idle does not hold the end.
    let mut idle = std::net::TcpStream::connect(address.unwrap()).unwrap();
    assert_eq!(serving.end(&sandbox), "");
    let _ = idle.read(&mut [0]);
}

#[test]
fn serve_says_what_it_makes() {
    let sandbox = Sandbox::new();
    sandbox.aci("app.aci", "example.com/app", "", "file a \"a\"");
    let log = serve(&sandbox, &["app.aci", "--warm"]).end(&sandbox);
    assert!(
        log.starts_with("making ") && log.contains("app.aci"),
        "{log}"
    );
    let log = serve(&sandbox, &["app.aci", "--warm", "--quiet"]).end(&sandbox);
    assert_eq!(log, "");
}
