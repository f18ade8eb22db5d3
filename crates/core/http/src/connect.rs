//! Connections: names are resolved, addresses checked against the rule, and sockets read so that
//! every wait ends in time, and ends when the run is cancelled.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::AtomicBool,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use imgconv_model::{Code, Error, Result, quote};
use ureq::{
    Timeout,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{
            Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport, time::Duration as Wait,
        },
    },
};

use crate::{
    address::{Class, Rule},
    failure::Few,
    url::split_port,
    wait::{TICK, check_cancelled},
};

/// The classes of addresses that the hosts named by the user turned out to be in.
pub(crate) type Classes = Arc<Mutex<BTreeMap<String, Vec<Class>>>>;

/// Finds the addresses of a host at a port.
type Find = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// A resolver of names. The call may block for any time.
#[derive(Clone)]
pub(crate) struct Names(Arc<Find>);

impl Names {
    /// The resolver of the system.
    pub(crate) fn system() -> Self {
        Self::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }

    pub(crate) fn new(
        find: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(find))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

/// A resolver that returns no address: the connector resolves names, and only when there is no open
/// connection.
#[derive(Debug)]
pub(crate) struct Later;

impl Resolver for Later {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// Connects to addresses that a rule allows.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    /// The addresses that are allowed.
    pub(crate) rule: Rule,
    /// The resolver of names.
    pub(crate) names: Names,
    /// The classes of hosts named by the user, which are recorded here.
    pub(crate) classes: Classes,
    /// Set when the run is cancelled.
    pub(crate) cancel: Arc<AtomicBool>,
}

impl Sockets {
    /// Opens a socket to a server, `HOST[:PORT]`.
    pub(crate) fn socket(
        &self,
        authority: &str,
        port: u16,
        until: Instant,
        details: &ConnectionDetails<'_>,
    ) -> Result<Socket, Few> {
        let stream = self.open(authority, port, until)?;
        let set = || -> io::Result<()> {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TICK))?;
            stream.set_write_timeout(Some(TICK))
        };
        set().map_err(|error| Error::new(Code::Net, error.to_string()))?;
        Ok(self.socket_of(Stream::Tcp(stream), details))
    }

    /// Opens the socket of a program on this machine, by its path.
    pub(crate) fn local(&self, path: &Path, details: &ConnectionDetails<'_>) -> io::Result<Socket> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        Ok(self.socket_of(Stream::Unix(stream), details))
    }

    fn socket_of(&self, stream: Stream, details: &ConnectionDetails<'_>) -> Socket {
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Socket {
            stream,
            buffers,
            cancel: Arc::clone(&self.cancel),
            deaf: false,
        }
    }

    fn open(&self, authority: &str, port: u16, deadline: Instant) -> Result<TcpStream, Few> {
        let found = self.find(authority, port, deadline)?;
        let (allowed, refused): (Vec<SocketAddr>, Vec<SocketAddr>) = found
            .into_iter()
            .partition(|found| self.rule.allows(found.ip()));
        if allowed.is_empty() {
            let Some(refused) = refused.first() else {
                return Err(Error::new(Code::Net, "the host has no address").into());
            };
            let message = format!(
                "a response of the server leads to {}, an address that is not public",
                refused.ip()
            );
            return Err(Error::new(Code::Denied, message)
                .hint("only a server that the user names may be in a private network")
                .into());
        }
        if self.rule == Rule::Named {
            self.note(authority, &allowed);
        }
        let connected = self.wait(deadline, "connecting", move || {
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            let count = u32::try_from(allowed.len()).unwrap_or(u32::MAX);
            for (i, address) in (0u32..).zip(&allowed) {
                // The remaining addresses share the remaining time.
                let left = deadline.saturating_duration_since(Instant::now()) / (count - i);
                match TcpStream::connect_timeout(address, left.max(Duration::from_millis(1))) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        });
        Ok(connected.map_err(Waited::into_error)?)
    }

    /// Returns the classes of the addresses of a host that the user named.
    pub(crate) fn classes_of(&self, authority: &str, deadline: Instant) -> Result<Vec<Class>> {
        let known = || {
            let classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
            classes.get(authority).cloned()
        };
        if let Some(classes) = known() {
            return Ok(classes);
        }
        // No request went to this host yet: its mirror answered, or an image from the mirror has a
        // URL of the host.
        let found = self.find(authority, 443, deadline);
        let found = found.map_err(|few| few.error.at(format!("server {}", quote(authority))))?;
        self.note(authority, &found);
        Ok(known().unwrap_or_default())
    }

    fn note(&self, authority: &str, addresses: &[SocketAddr]) {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = classes.entry(authority.to_owned()).or_default();
        for address in addresses {
            let class = Class::of(address.ip());
            if !known.contains(&class) {
                known.push(class);
            }
        }
    }

    /// Finds the addresses of a host. The answer that a name does not exist is final. A resolver
    /// that could not ask answers "try again", which is done once.
    fn find(&self, authority: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, Few> {
        let host = split_port(authority).0;
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let names = self.names.clone();
        let found = self.wait(deadline, "finding its address", move || {
            (names.0)(&bare, port)
        });
        found.map_err(|failed| {
            let attempts = match &failed {
                Waited::Refused(error) if !says_again(&error.to_string()) => 1,
                Waited::Refused(_) | Waited::Late(_) => 2,
                Waited::Other(_) => 1,
            };
            let refused = matches!(failed, Waited::Refused(_));
            let mut error = failed.into_error();
            if refused {
                error = error.hint(
                    "look at the spelling of the host and at the network; where only a proxy leads out, \
                     `HTTPS_PROXY` names it",
                );
            }
            Few { error, attempts }
        })
    }

    /// Runs work that can't be interrupted in a thread of its own, and stops waiting for it in
    /// time.
    fn wait<T: Send + 'static>(
        &self,
        deadline: Instant,
        what: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Waited> {
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("imgconv-connect".into())
            .spawn(move || {
                // The receiver may have stopped waiting; then the result is dropped.
                let _ = sender.send(work());
            })
            .map_err(|error| Waited::Other(Error::io(error, "thread")))?;
        loop {
            check_cancelled(&self.cancel).map_err(Waited::Other)?;
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left.min(TICK)) {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => {
                    let message = format!("{what} failed: {error}");
                    return Err(Waited::Refused(Error::new(Code::Net, message)));
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    let message = format!("{what} took too long");
                    return Err(Waited::Late(Error::new(Code::Net, message)));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let message = format!("{what} ended without result");
                    return Err(Waited::Late(Error::new(Code::Net, message)));
                }
            }
        }
    }
}

/// The reason why a wait ended without a result.
enum Waited {
    /// The awaited work failed.
    Refused(Error),
    /// The time for the wait is over.
    Late(Error),
    /// The run was cancelled, or there is no thread.
    Other(Error),
}

impl Waited {
    fn into_error(self) -> Error {
        match self {
            Self::Refused(error) | Self::Late(error) | Self::Other(error) => error,
        }
    }
}

/// Returns true for the error text of `EAI_AGAIN` in glibc and musl; the standard library has no
/// other sign of this error.
fn says_again(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("temporary failure") || text.contains("try again")
}

/// The two kinds of sockets.
#[derive(Debug)]
enum Stream {
    /// A connection through the network.
    Tcp(TcpStream),
    /// A connection to a program on this machine.
    Unix(UnixStream),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}

/// An open socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    buffers: LazyBuffers,
    cancel: Arc<AtomicBool>,
    /// True if the program at the other end of a socket of this machine reads no more.
    deaf: bool,
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let timeout = timeout.for_write();
        let mut until = deadline(timeout);
        let mut left = &self.buffers.output()[..amount];
        while !left.is_empty() && !self.deaf {
            match self.stream.write(left) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(n) => {
                    left = &left[n..];
                    until = deadline(timeout);
                }
                // An engine that refuses a long body answers before it has read all of the body, and
                // closes its socket. The answer can still be read.
                Err(error) if is_gone(&error) && matches!(self.stream, Stream::Unix(_)) => {
                    self.deaf = true;
                }
                Err(error) => patient(error, until, timeout.reason, &self.cancel)?,
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = timeout.for_read();
        let until = deadline(timeout);
        loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(n) => {
                    self.buffers.input_appended(n);
                    return Ok(n > 0);
                }
                Err(error) => patient(error, until, timeout.reason, &self.cancel)?,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // An idle connection has nothing to read; a connection with bytes to read was closed, or
        // sends an answer without a request.
        let quiet = |stream: &TcpStream| {
            stream.set_nonblocking(true)?;
            let peeked = stream.peek(&mut [0]);
            stream.set_nonblocking(false)?;
            peeked
        };
        match &self.stream {
            Stream::Tcp(stream) => {
                quiet(stream).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            // A new connection costs nothing there, and the standard library can't look into an open
            // one.
            Stream::Unix(_) => false,
        }
    }
}

/// Says whether an error of a write means that the other end reads no more.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

/// Drops the error of a wait that was cut short, unless the time is over.
fn patient(
    error: io::Error,
    until: Instant,
    reason: Timeout,
    cancel: &AtomicBool,
) -> Result<(), ureq::Error> {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    if !matches!(error.kind(), Interrupted | TimedOut | WouldBlock) {
        return Err(error.into());
    }
    check_cancelled(cancel).map_err(io::Error::from)?;
    if Instant::now() >= until {
        return Err(ureq::Error::Timeout(reason));
    }
    Ok(())
}

/// Returns when a wait ends.
pub(crate) fn deadline(timeout: NextTimeout) -> Instant {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let after = match timeout.after {
        Wait::Exact(after) => after.min(DAY),
        Wait::NotHappening => DAY,
    };
    Instant::now() + after
}
