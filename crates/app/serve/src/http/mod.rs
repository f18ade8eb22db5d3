//! The server: connections, requests and answers. Only this part is asynchronous; whatever reads a store
//! runs on threads of its own.
//!
//! The work is bounded: so many connections ([`ServeOptions::connections`]), so many threads that read,
//! so many requests that make something ([`MAKERS`]). A client that takes an answer slowly holds no
//! thread, and two pieces of a blob.

mod accept;
mod active;
mod answers;
mod appc;
mod body;
mod content;
mod lists;
mod page;
mod passwords;
mod patient;
mod range;
mod refusal;
mod route;
mod server;
mod tls;
mod v1;

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use imgconv_locate::locator::Locator;
use imgconv_model::{Code, Env, Error, Result};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime::Builder,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use tokio_rustls::TlsAcceptor;

use self::{active::Active, passwords::Passwords, patient::Patient, server::Server};
use crate::{
    options::{ServeOptions, Watcher},
    stock::Stock,
};

/// The most threads that read stores. Reading a piece of a blob needs one for a moment only.
const READERS: usize = 96;
/// The most requests that make something, or wait for it; less than the threads, so that blobs are read
/// meanwhile.
const MAKERS: usize = 64;
/// Bytes of the headers of one request.
const HEAD: usize = 32 << 10;
/// Headers of one request.
const HEADERS: usize = 64;
/// How often the flag that ends the server is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long the threads have to stop after the last answer.
const LAST: Duration = Duration::from_secs(5);

/// Serves the images of the sources until the environment's flag `cancel` is set. The function returns
/// when the running answers have ended, or after [`ServeOptions::grace`].
///
/// # Errors
/// If a source, the cache or the address can't be opened.
pub fn serve(
    sources: &[Locator],
    options: &ServeOptions,
    watcher: Arc<dyn Watcher>,
    env: &Env,
) -> Result<()> {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime
        .worker_threads(env.jobs.clamp(1, 4))
        .max_blocking_threads(READERS)
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| Error::io(error, "the threads of the server"))?;
    // Running answers go on for a while after the signal, so they have a flag of their own.
    let end = Arc::new(AtomicBool::new(false));
    let own = Env {
        cancel: Arc::clone(&end),
        ..env.clone()
    };
    let run = Run {
        cancel: &env.cancel,
        end: &end,
        options,
    };
    let result = runtime.block_on(run.run(sources, watcher, own));
    end.store(true, Ordering::Relaxed);
    runtime.shutdown_timeout(LAST);
    result
}

/// A run of the server.
struct Run<'a> {
    /// Ends the server.
    cancel: &'a AtomicBool,
    /// Ends the work on answers.
    end: &'a AtomicBool,
    options: &'a ServeOptions,
}

impl Run<'_> {
    async fn run(&self, sources: &[Locator], watcher: Arc<dyn Watcher>, env: Env) -> Result<()> {
        // Files that can't be used, and an address that can't be had, are told before long work.
        let tls = self.options.tls.as_ref().map(tls::acceptor).transpose()?;
        let passwords = self.options.htpasswd.as_deref().map(Passwords::open);
        let passwords = passwords.transpose()?;
        let shown = self.options.listen.to_string();
        let listener = TcpListener::bind(self.options.listen).await;
        let listener = listener.map_err(|error| {
            Error::io(error, &*shown).hint("`--listen ADDRESS:PORT` takes another address")
        })?;
        let address = listener
            .local_addr()
            .map_err(|error| Error::io(error, &*shown))?;
        if passwords.is_some() && tls.is_none() && !address.ip().is_loopback() {
            let message = "without TLS everyone on the way can read the passwords";
            let error = Error::new(Code::Denied, message).at(address.to_string());
            watcher.left_out(&error.hint("`--tls-cert FILE --tls-key FILE` encrypts them"));
        }
        let (sources, options) = (sources.to_vec(), self.options.clone());
        let messages = Arc::clone(&watcher);
        let opening = spawn_blocking(move || {
            let stock = Stock::open(&sources, &options, &messages, &env)?;
            if options.warm {
                stock.warm()?;
            }
            Ok(stock)
        });
        let mut opening = pin!(opening);
        let opened = tokio::select! {
            opened = &mut opening => opened,
            () = self.cancelled() => {
                self.end.store(true, Ordering::Relaxed);
                opening.await
            }
        };
        let stock = opened.map_err(|error| std::panic::resume_unwind(error.into_panic()));
        let stock = stock.unwrap_or_else(|never: Infallible| match never {})?;
        watcher.listening(address, stock.names().count(), stock.images());
        let server = Arc::new(Server {
            stock,
            watcher,
            makers: Arc::new(Semaphore::new(MAKERS)),
            scheme: match tls {
                Some(_) => "https",
                None => "http",
            },
            passwords,
        });
        self.accept(listener, tls, &server).await;
        Ok(())
    }

    /// Accepts connections until the flag is set, and waits for the running answers then.
    async fn accept(&self, listener: TcpListener, tls: Option<TlsAcceptor>, server: &Arc<Server>) {
        let connections = self.options.connections.clamp(1, 100_000);
        let permits = Arc::new(Semaphore::new(connections));
        let (ending, end) = watch::channel(false);
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&permits).acquire_owned() => permit,
                () = self.cancelled() => break,
            };
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    let (server, end) = (Arc::clone(server), end.clone());
                    let patience = self.options.patience;
                    let active = Active::default();
                    let stream = Patient::new(stream, patience, active.clone());
                    let client = Client {
                        server,
                        active,
                        end,
                        patience,
                        permit,
                    };
                    match &tls {
                        None => tokio::spawn(client.connection(stream)),
                        Some(tls) => tokio::spawn(client.secured(stream, tls.clone())),
                    };
                }
                // There are too many open files for the moment.
                Err(_) => sleep(TICK).await,
            }
        }
        drop(listener);
        let _ = ending.send(true);
        let all = u32::try_from(connections).unwrap_or(u32::MAX);
        let _ = timeout(self.options.grace, permits.acquire_many(all)).await;
    }

    /// Waits until the flag that ends the server is set.
    async fn cancelled(&self) {
        while !self.cancel.load(Ordering::Relaxed) {
            sleep(TICK).await;
        }
    }
}

/// A client that has connected.
struct Client {
    server: Arc<Server>,
    active: Active,
    /// Becomes true when the server ends.
    end: watch::Receiver<bool>,
    patience: Duration,
    /// The place among the connections.
    permit: OwnedSemaphorePermit,
}

impl Client {
    /// Answers the requests of a connection with TLS. The handshake has as much time as the headers of a
    /// request.
    async fn secured(mut self, stream: Patient, tls: TlsAcceptor) {
        // A handshake that fails is the client's fault: it speaks no TLS, or does not trust the certificate.
        let stream = tokio::select! {
            stream = timeout(self.patience, tls.accept(stream)) => stream,
            () = async { drop(self.end.wait_for(|end| *end).await) } => return,
        };
        if let Ok(Ok(stream)) = stream {
            self.connection(stream).await;
        }
    }

    /// Answers the requests of a connection, until the client ends it or the server does.
    async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut self, stream: S) {
        let (server, counted) = (self.server, self.active.clone());
        let service = service_fn(move |request| {
            let (server, running) = (Arc::clone(&server), counted.begin());
            async move {
                let response = answers::answer(&server, &request).await;
                Ok::<_, Infallible>(response.map(|body| running.with(body)))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        // An error is the client's: it went away, or did not speak HTTP.
        let ended = tokio::select! {
            _ = connection.as_mut() => true,
            () = async { drop(self.end.wait_for(|end| *end).await) } => false,
        };
        if !ended {
            connection.as_mut().graceful_shutdown();
            // A client that has sent half a request is not waited for.
            tokio::select! {
                _ = connection.as_mut() => {}
                () = self.active.rest(TICK) => {}
            }
        }
        drop(self.permit);
    }
}
