//! A Docker engine for the checks, started in the work folder without a network, ended by its
//! process id.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::checks::Oracle;
use crate::process::{Result, end};

/// A running engine.
#[derive(Debug)]
pub(crate) struct Engine {
    child: Child,
    socket: PathBuf,
    data: PathBuf,
    /// The socket of the containerd that the engine started.
    pub(crate) containerd: PathBuf,
}

impl Engine {
    /// Starts the engine if it is installed and the user is root.
    pub(crate) fn start(oracle: &mut Oracle) -> Option<Self> {
        let mut engine = None;
        oracle.check(
            "docker: the engine starts",
            &["dockerd", "docker", "root"],
            |oracle| {
                engine = Some(Self::spawn(oracle)?);
                Ok(())
            },
        );
        engine
    }

    fn spawn(oracle: &Oracle) -> Result<Self> {
        let at = |name: &str| oracle.path(&format!("engine/{name}"));
        let socket = at("docker.sock");
        let log = File::create(at("log")).map_err(|e| e.to_string())?;
        let mut command = Command::new("dockerd");
        command
            .args([
                "--storage-driver",
                "vfs",
                "--bridge=none",
                "--iptables=false",
            ])
            .args(["--ip-forward=false", "--ip-masq=false"])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("-H")
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log);
        let child = command.spawn().map_err(|e| format!("dockerd: {e}"))?;
        let mut engine = Self {
            child,
            socket,
            data: at("data"),
            containerd: at("exec/containerd/containerd.sock"),
        };
        for _ in 0..120 {
            if engine.docker(oracle, &["version"]).is_ok() {
                return Ok(engine);
            }
            let ended = engine.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() {
                break;
            }
            sleep(Duration::from_millis(500));
        }
        let log = std::fs::read_to_string(at("log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Err(format!(
            "dockerd does not answer; its log ends with:\n{}",
            tail.join("\n")
        ))
    }

    /// Runs the client against this engine.
    pub(crate) fn docker(&self, oracle: &Oracle, arguments: &[&str]) -> Result<String> {
        let host = format!("unix://{}", self.socket.display());
        oracle.peer("docker", &[&["-H", &host], arguments].concat())
    }
}

impl Drop for Engine {
    /// Asks the engine to end, which also ends its containerd; kills the engine if it still runs
    /// after 20 seconds.
    fn drop(&mut self) {
        end(&mut self.child, Duration::from_secs(20));
        // The engine mounts its data folder on itself where mounts are shared, and in a chroot
        // leaves it so. Where it does not, this fails and that is fine.
        let _ = Command::new("umount")
            .arg(&self.data)
            .stderr(Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn a_dropped_engine_has_ended() {
        let child = Command::new("sleep").arg("100").spawn().unwrap();
        let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let [socket, data, containerd] = ["/none/a", "/none/b", "/none/c"].map(PathBuf::from);
        drop(Engine {
            child,
            socket,
            data,
            containerd,
        });
        assert!(kill(id, None).is_err(), "the process is still there");
    }
}
