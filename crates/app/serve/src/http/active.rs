//! What a connection is doing: so the end of the server waits for answers, and not for clients that send
//! nothing, or half a request.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::time::sleep;

/// The state of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Active(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Requests without a complete answer.
    running: AtomicUsize,
    /// Bytes of an answer wait until the client takes some.
    blocked: AtomicBool,
}

impl Active {
    /// Notes that a request is answered, until the value is dropped.
    pub(super) fn begin(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }

    /// Notes whether written bytes wait for the client.
    pub(super) fn set_blocked(&self, blocked: bool) {
        self.0.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Waits until no answer is running, for two looks in sequence.
    pub(super) async fn rest(&self, tick: Duration) {
        let mut looks = 0;
        while looks < 2 {
            sleep(tick).await;
            let State { running, blocked } = &*self.0;
            let rests = running.load(Ordering::Relaxed) == 0 && !blocked.load(Ordering::Relaxed);
            looks = if rests { looks + 1 } else { 0 };
        }
    }
}

/// A request that is answered.
#[derive(Debug)]
pub(super) struct Running(Active);

impl Running {
    /// Makes the body of the answer, after whose end the request is answered.
    pub(super) fn with<B>(self, body: B) -> Counted<B> {
        Counted {
            body,
            _running: self,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer.
pub(super) struct Counted<B> {
    body: B,
    _running: Running,
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
