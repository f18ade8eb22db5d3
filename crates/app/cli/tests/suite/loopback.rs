//! The command and a server on this machine.

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use imgconv_testkit::server::{Reply, Server};

fn imgconv() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imgconv"));
    command.env("CONTAINERS_REGISTRIES_CONF", "/dev/null");
    command
}

#[test]
fn l8_an_interrupt_ends_the_program_while_the_server_is_silent() {
    let server = Server::start(|_| Reply::ok("{").stall());
    let folder = tempfile::tempdir().unwrap();
    let source = format!("docker://{}/x:t", server.authority());
    let mut child = imgconv()
        .args(["convert", &source, "oci:out"])
        .args(["--plain-http", &server.authority()])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut interrupted = false;
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        // After its request the program waits for the answer.
        if !interrupted && !server.requests().is_empty() {
            let command = format!("kill -INT {}", child.id());
            let sent = Command::new("sh").args(["-c", &command]).status().unwrap();
            interrupted = sent.success();
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(interrupted, "it asked nothing: {ended:?}");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(ended.code(), Some(130), "{stderr}");
    assert!(stderr.contains("error[cancelled]"), "{stderr}");
    let left: Vec<_> = folder.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
