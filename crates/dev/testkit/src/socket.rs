//! The sockets of the loopback server: through the network, or at a path of this machine.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

/// Waits for connections.
pub(crate) enum Listener {
    /// A port of the loopback device.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixListener),
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A port of the loopback device.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

/// A connection.
pub(crate) enum Socket {
    /// A connection through the loopback device.
    Tcp(TcpStream),
    /// A connection to a path.
    Unix(UnixStream),
}

impl Listener {
    /// Listens at any free port.
    pub(crate) fn port() -> io::Result<(Self, Address)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok((Self::Tcp(listener), address))
    }

    /// Listens at a path.
    pub(crate) fn path(path: &Path) -> io::Result<(Self, Address)> {
        let listener = UnixListener::bind(path)?;
        Ok((Self::Unix(listener), Address::Unix(path.to_owned())))
    }

    /// Waits for the next connection.
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(socket, _)| Socket::Tcp(socket)),
            Self::Unix(listener) => listener.accept().map(|(socket, _)| Socket::Unix(socket)),
        }
    }
}

impl Address {
    /// Connects, so that the server wakes up.
    pub(crate) fn wake(&self) {
        match self {
            Self::Tcp(address) => drop(TcpStream::connect(address)),
            Self::Unix(path) => drop(UnixStream::connect(path)),
        }
    }
}

impl Socket {
    /// Makes reads end after a time, with an error.
    pub(crate) fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(time))
            }
            Self::Unix(socket) => socket.set_read_timeout(Some(time)),
        }
    }

    /// Returns another handle of the connection.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Closes the connection in both directions.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Self::Unix(socket) => socket.shutdown(Shutdown::Both),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
