//! The socket of an engine on this machine, and the errors of connecting to the socket.

use std::{io, path::PathBuf};

use imgconv_model::{Code, Error, quote_path};

/// The socket of an engine on this machine.
#[derive(Clone, Debug)]
pub(crate) struct LocalSocket {
    /// The path of the socket.
    pub(crate) path: PathBuf,
}

impl LocalSocket {
    /// The error of a socket that can't be connected to.
    #[cfg_attr(
        not(feature = "client"),
        expect(dead_code, reason = "only the client connects")
    )]
    pub(crate) fn unreachable(&self, error: &io::Error) -> Error {
        let place = format!("socket {}", quote_path(&self.path));
        let other = "`--docker-host unix://PATH` names another socket; podman has one after \
                     `podman system service --time=0 unix://PATH`";
        let (code, message, hint) = match error.kind() {
            io::ErrorKind::NotFound => (
                Code::Missing,
                "there is no such socket: no engine runs here, or its socket is elsewhere".to_owned(),
                format!(
                    "{other}; without an engine, `docker-archive:FILE.tar` is a file of `docker save` \
                     and for `docker load`"
                ),
            ),
            io::ErrorKind::PermissionDenied => (
                Code::Denied,
                "permission denied".to_owned(),
                "the members of the group `docker` and root may use docker's socket; `--docker-host` \
                 names the socket of an engine of your own"
                    .to_owned(),
            ),
            io::ErrorKind::ConnectionRefused => (
                Code::Net,
                "no engine listens on the socket any more".to_owned(),
                format!("start the engine; {other}"),
            ),
            _ => (
                Code::Net,
                format!("connecting failed: {error}"),
                other.to_owned(),
            ),
        };
        Error::new(code, message).hint(hint).at(place)
    }
}
