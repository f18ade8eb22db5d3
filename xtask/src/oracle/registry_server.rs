//! Registries for checks, started as child processes, and certificates for servers on the loopback
//! device.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::checks::Oracle;
use crate::process::{Result, call, end, free_port};

/// A certificate authority, and a certificate that it signed for the loopback device.
const CERTIFICATES: &str = r#"
mkdir -p tls trusted
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=oracle -days 2 -keyout tls/ca.key -out trusted/ca.crt
openssl req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout tls/server.key -out tls/server.csr
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n' > tls/names
openssl x509 -req -in tls/server.csr -CA trusted/ca.crt -CAkey tls/ca.key -CAcreateserial -days 2 \
  -extfile tls/names -out tls/server.crt
"#;

/// Makes `tls/server.crt` and `tls/server.key`, which `trusted/ca.crt` vouches for, once.
pub(super) fn certificates(oracle: &Oracle) -> Result {
    match oracle.path("tls/server.crt").is_file() {
        true => Ok(()),
        false => oracle.shell(CERTIFICATES).map(drop),
    }
}

/// The program of the registry.
const PROGRAM: &str = "docker-registry";

/// The program of a registry with the API for referrers, over the package of go-containerregistry.
const WITH_REFERRERS: &str = include_str!("referrers.go");

/// A registry on the loopback device, its data in the work folder.
#[derive(Debug)]
pub(super) struct Registry {
    child: Child,
    /// The port on the loopback device.
    pub(super) port: u16,
}

impl Registry {
    /// Starts a registry that takes schema 1; its files are in `folder`, its storage in
    /// `folder/data`.
    pub(super) fn start(oracle: &Oracle, folder: &str) -> Result<Self> {
        Self::start_with(oracle, folder, "", "")
    }

    /// Starts the registry of the private root as [`Registry::start`] does.
    pub(super) fn start_newer(oracle: &Oracle, folder: &str) -> Result<Self> {
        let newer = oracle.newer.as_ref().ok_or("there are no newer peers")?;
        let program = oracle.path(&format!("{folder}/{PROGRAM}"));
        newer.wrap(PROGRAM, program.parent().unwrap_or(&oracle.work))?;
        Self::run(oracle, &program, folder, "", "")
    }

    /// Starts a registry as [`Registry::start`] does, with additional configuration: below `http`,
    /// and at the end.
    pub(super) fn start_with(
        oracle: &Oracle,
        folder: &str,
        http: &str,
        more: &str,
    ) -> Result<Self> {
        Self::run(oracle, Path::new(PROGRAM), folder, http, more)
    }

    fn run(oracle: &Oracle, program: &Path, folder: &str, http: &str, more: &str) -> Result<Self> {
        let port = free_port()?;
        let config = oracle.path(&format!("{folder}/config.yml"));
        let data = oracle.path(&format!("{folder}/data"));
        let text = format!(
            "version: 0.1\nlog:\n  level: warn\n\
             storage:\n  filesystem:\n    rootdirectory: '{}'\n\
             http:\n  addr: 127.0.0.1:{port}\n{http}\
             compatibility:\n  schema1:\n    enabled: true\n{more}",
            data.display()
        );
        fs::write(&config, text).map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&config);
        Self::serve(oracle, &mut command, folder, port)
    }

    /// Starts a registry that has the API for referrers, built of the sources in the private root; its files are in
    /// `folder`.
    pub(super) fn start_with_referrers(oracle: &Oracle, folder: &str) -> Result<Self> {
        let newer = oracle.newer.as_ref().ok_or("there are no newer peers")?;
        let source = oracle.path(&format!("{folder}/referrers.go"));
        fs::write(&source, WITH_REFERRERS).map_err(|e| e.to_string())?;
        let program = source.with_extension("");
        let mut build = Command::new("go");
        build
            .args(["build", "-o"])
            .args([&program, &source])
            .env("GO111MODULE", "off")
            .env("GOPATH", newer.go_path());
        call(&mut build)?;
        let port = free_port()?;
        let data = oracle.path(&format!("{folder}/data"));
        fs::create_dir_all(&data).map_err(|e| e.to_string())?;
        let mut command = Command::new(&program);
        command.arg(&data).arg(port.to_string());
        Self::serve(oracle, &mut command, folder, port)
    }

    /// Starts a program that listens on a port, its log in `folder`, and waits until it answers.
    fn serve(oracle: &Oracle, command: &mut Command, folder: &str, port: u16) -> Result<Self> {
        let log_path = oracle.path(&format!("{folder}/log"));
        let log = File::create(&log_path).map_err(|e| e.to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?;
        let mut registry = Self { child, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(registry);
            }
            let ended = registry.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() {
                break;
            }
            sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(&log_path).unwrap_or_default();
        Err(format!("the registry does not answer; its log:\n{log}"))
    }

    /// The name of an image here.
    pub(super) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}:t", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        end(&mut self.child, Duration::from_secs(5));
    }
}
