//! The body of a response while it is received.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use imgconv_model::{Code, Error, Timeouts};

use crate::failure;

/// A body while it is received: its errors are ours, and it may not trickle.
pub(crate) struct Body<R> {
    pub(crate) inner: R,
    pub(crate) shown: String,
    pub(crate) timeouts: Timeouts,
    /// Time spent waiting, and bytes received, since the average was last looked at.
    pub(crate) waited: Duration,
    pub(crate) received: u64,
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        let read = self.inner.read(buf);
        self.waited += begun.elapsed();
        let n = read.map_err(|error| {
            let error = failure::of(ureq::Error::from(error));
            io::Error::from(error.at(self.shown.clone()))
        })?;
        self.received += n as u64;
        if self.waited >= self.timeouts.window {
            let least = self.timeouts.lowest_rate as f64 * self.waited.as_secs_f64();
            if n > 0 && (self.received as f64) < least {
                let message = format!(
                    "the server sent {} bytes in {} seconds, too slow to go on",
                    self.received,
                    self.waited.as_secs()
                );
                let error = Error::new(Code::Net, message).at(self.shown.clone());
                return Err(error.into());
            }
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
        Ok(n)
    }
}
