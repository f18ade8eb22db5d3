//! Progress on standard error: bars on a terminal, lines or JSON events elsewhere.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use imgconv::{Event, Progress, Silent};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::{
    events::EventLine,
    screen::{clean, concealed, say, say_json},
};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    /// Bars on a terminal, plain lines elsewhere
    Auto,
    /// Bars
    Bar,
    /// A line every ten seconds for work that takes long
    Plain,
    /// JSON events, one per line
    Json,
    /// No progress
    None,
}

/// The time between two plain lines about one piece of work.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// The time that a piece of work has to take before plain lines mention it.
const PLAIN_MINIMUM: Duration = Duration::from_secs(2);

/// The time that a piece of work has to take before its rate is shown.
const RATE_MINIMUM: Duration = Duration::from_secs(1);

/// Makes the progress display of a style. `Auto` is resolved by the caller, who knows the terminal. With
/// `verbose`, a line tells each choice of the program.
pub(crate) fn make(style: Style, verbose: bool) -> Arc<dyn Progress> {
    let progress: Arc<dyn Progress> = match style {
        Style::None => Arc::new(Silent),
        Style::Json => return Arc::new(Json::default()),
        Style::Plain => Arc::new(Plain::default()),
        Style::Auto | Style::Bar => Arc::new(Bars::default()),
    };
    match verbose {
        true => Arc::new(Telling(progress)),
        false => progress,
    }
}

/// A display with a line for each choice of the program.
#[derive(Debug)]
struct Telling(Arc<dyn Progress>);

impl Progress for Telling {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Chosen { what } => say(&clean(what)),
            event => self.0.event(event),
        }
    }
}

/// A bar for each piece of work. A command that works on many images has one more bar at the top, for
/// all images.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<u64, ProgressBar>>,
    images: Mutex<Option<(ProgressBar, Images)>>,
}

/// The progress of a command that works on many images.
#[derive(Debug)]
struct Images {
    count: u64,
    bytes: u64,
    done: u64,
    failed: u64,
    bytes_done: u64,
    /// Bytes of images that this run read and wrote, without images that an earlier run had finished.
    bytes_worked: u64,
    began: Instant,
    said: Instant,
}

impl Images {
    fn new(count: u64, bytes: u64) -> Self {
        Self {
            count,
            bytes,
            done: 0,
            failed: 0,
            bytes_done: 0,
            bytes_worked: 0,
            began: Instant::now(),
            said: Instant::now(),
        }
    }

    fn add(&mut self, status: &str, bytes: u64) {
        self.done += 1;
        self.failed += u64::from(status == "failed");
        self.bytes_done += bytes;
        if status == "done" {
            self.bytes_worked += bytes;
        }
    }

    /// The line for now: images, bytes, rate, and the time that is left at this rate.
    fn line(&self) -> String {
        self.line_after(self.began.elapsed())
    }

    /// The line after some time. The line has a rate only if this run has worked for a while: the rate
    /// of a moment, or of images that an earlier run had finished, means nothing.
    fn line_after(&self, elapsed: Duration) -> String {
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let seconds = elapsed.as_secs_f64();
        let left = self.bytes.saturating_sub(self.bytes_done);
        let rate = match elapsed >= RATE_MINIMUM && self.bytes_worked > 0 {
            true => {
                let rate = self.bytes_worked as f64 / seconds;
                let left = match left {
                    0 => String::new(),
                    left => format!(", {} s left", (left as f64 / rate).round()),
                };
                format!(", {} MB/s{left}", megabytes(rate as u64))
            }
            false => String::new(),
        };
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        format!(
            "{}/{} images{failed}, {} of {} MB{rate}",
            self.done,
            self.count,
            megabytes(self.bytes_done),
            megabytes(self.bytes),
        )
    }
}

impl fmt::Debug for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bars")
    }
}

/// A run that ends early clears its bars, so that the error message is not mixed with them.
impl Drop for Bars {
    fn drop(&mut self) {
        let bars = self.bars.get_mut().unwrap_or_else(PoisonError::into_inner);
        let images = self
            .images
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let images = images.take().map(|(bar, _)| bar);
        for bar in std::mem::take(bars).into_values().chain(images) {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin { id, what, bytes } => {
                let template = if bytes.is_some() {
                    "{msg:40!} {wide_bar} {bytes}/{total_bytes} {rate}"
                } else {
                    "{msg:40!} {spinner} {bytes} {rate}"
                };
                let style = ProgressStyle::with_template(template)
                    .expect("the template above is well formed")
                    .with_key("rate", rate);
                let bar = bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
                let bar = self
                    .all
                    .add(bar.with_style(style).with_message(clean(what)));
                bars.insert(id, bar);
            }
            Event::Advance { id, bytes } => {
                if let Some(bar) = bars.get(&id) {
                    bar.inc(bytes);
                }
            }
            Event::End { id } => {
                if let Some(bar) = bars.remove(&id) {
                    bar.finish_and_clear();
                }
            }
            Event::Images { count, bytes } => {
                let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}")
                    .expect("the template above is well formed");
                let bar = self
                    .all
                    .insert(0, ProgressBar::new(count).with_style(style));
                let images = Images::new(count, bytes);
                bar.set_message(images.line());
                *self.images.lock().unwrap_or_else(PoisonError::into_inner) = Some((bar, images));
            }
            Event::Image { status, bytes, .. } => {
                let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((bar, images)) = &mut *images {
                    images.add(status, bytes);
                    bar.set_message(images.line());
                    bar.inc(1);
                    if images.done == images.count {
                        bar.finish_and_clear();
                    }
                }
            }
            Event::Chosen { .. } => {}
        }
    }
}

/// Writes the rate of a bar and the time that is left, if the bar is old enough for a rate.
fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    if state.elapsed() < RATE_MINIMUM {
        return;
    }
    let rate = state.per_sec();
    // A bar that can't be drawn must not end the work.
    let _ = write!(out, "{}/s", HumanBytes(rate as u64));
    if state.len().is_some_and(|total| total > state.pos()) && rate >= 1.0 {
        let _ = write!(out, " {}s", state.eta().as_secs());
    }
}

/// A piece of work that has begun and not ended.
#[derive(Debug)]
struct Work {
    what: String,
    done: u64,
    began: Instant,
    said: Instant,
}

/// A line every ten seconds for a long piece of work, and a line at its end. Work that takes less than
/// two seconds is not mentioned.
#[derive(Debug, Default)]
struct Plain {
    work: Mutex<BTreeMap<u64, Work>>,
    images: Mutex<Option<Images>>,
}

impl Progress for Plain {
    fn event(&self, event: Event<'_>) {
        let mut all = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin { id, what, .. } => {
                all.insert(
                    id,
                    Work {
                        what: clean(what),
                        done: 0,
                        began: Instant::now(),
                        said: Instant::now(),
                    },
                );
            }
            Event::Advance { id, bytes } => {
                if let Some(work) = all.get_mut(&id) {
                    work.done += bytes;
                    if work.said.elapsed() > PLAIN_INTERVAL {
                        work.said = Instant::now();
                        say(&format!(
                            "{}: {} MB so far",
                            work.what,
                            work.done / 1_000_000
                        ));
                    }
                }
            }
            Event::End { id } => {
                if let Some(work) = all.remove(&id)
                    && work.began.elapsed() > PLAIN_MINIMUM
                {
                    say(&format!("{}: {} bytes", work.what, work.done));
                }
            }
            Event::Images { count, bytes } => {
                let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
                *images = Some(Images::new(count, bytes));
            }
            Event::Image { status, bytes, .. } => {
                let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(images) = &mut *images {
                    images.add(status, bytes);
                    let last = images.done == images.count;
                    if images.said.elapsed() > PLAIN_INTERVAL
                        || last && images.began.elapsed() > PLAIN_MINIMUM
                    {
                        images.said = Instant::now();
                        say(&images.line());
                    }
                }
            }
            Event::Chosen { .. } => {}
        }
    }
}

/// One JSON object a line for each event.
#[derive(Debug, Default)]
struct Json {
    done: Mutex<BTreeMap<u64, u64>>,
}

impl Progress for Json {
    fn event(&self, event: Event<'_>) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match event {
            Event::Begin { id, what, bytes } => {
                done.insert(id, 0);
                EventLine::Begin { id, what, bytes }
            }
            Event::Advance { id, bytes } => {
                let total = done.entry(id).or_default();
                *total += bytes;
                EventLine::Advance { id, done: *total }
            }
            Event::End { id } => {
                let done = done.remove(&id);
                EventLine::End { id, done }
            }
            Event::Images { count, bytes } => EventLine::Images { count, bytes },
            Event::Image {
                name,
                status,
                bytes,
            } => EventLine::Image {
                name,
                status,
                bytes,
            },
            Event::Chosen { what } => EventLine::Chosen {
                what: concealed(what),
            },
        };
        say_json(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // robustness N11
    #[test]
    fn no_rate_is_told_of_a_moment_or_of_what_was_found_done() {
        let mut images = Images::new(3, 30_000_000);
        images.add("kept", 10_000_000);
        let line = |images: &Images, ms| images.line_after(Duration::from_millis(ms));
        assert_eq!(line(&images, 5000), "1/3 images, 10 of 30 MB");
        images.add("done", 10_000_000);
        assert_eq!(line(&images, 1), "2/3 images, 20 of 30 MB");
        let after = line(&images, 2000);
        assert_eq!(after, "2/3 images, 20 of 30 MB, 5 MB/s, 2 s left");
        images.add("failed", 10_000_000);
        let after = line(&images, 2000);
        assert_eq!(after, "3/3 images, 1 failed, 30 of 30 MB, 5 MB/s");
    }
}
