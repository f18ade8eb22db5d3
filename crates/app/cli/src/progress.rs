//! Progress on standard error: bars on a terminal, lines or JSON events elsewhere.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use imgconv_model::{Event, Progress, Silent};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle as Style};

use crate::{
    args::ProgressStyle,
    render::{clean, say},
};

/// How often a plain line says how far a long piece of work is.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// How long a piece of work takes that is worth a plain line.
const PLAIN_MINIMUM: Duration = Duration::from_secs(2);

pub(crate) fn make(style: ProgressStyle) -> Arc<dyn Progress> {
    match style {
        ProgressStyle::None => Arc::new(Silent),
        ProgressStyle::Json => Arc::new(Json::default()),
        ProgressStyle::Plain => Arc::new(Plain::default()),
        ProgressStyle::Auto | ProgressStyle::Bar => Arc::new(Bars::default()),
    }
}

/// One bar for each piece of work.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<u64, ProgressBar>>,
}

impl fmt::Debug for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bars")
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin { id, what, bytes } => {
                let template = if bytes.is_some() {
                    "{msg:40!} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
                } else {
                    "{msg:40!} {spinner} {bytes} {bytes_per_sec}"
                };
                let style =
                    Style::with_template(template).expect("the template above is well formed");
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
        }
    }
}

/// A piece of work that is under way.
#[derive(Debug)]
struct Work {
    what: String,
    done: u64,
    began: Instant,
    said: Instant,
}

/// A line now and then while something long is under way, and one when it is done. What is done
/// within two seconds is not mentioned.
#[derive(Debug, Default)]
struct Plain {
    work: Mutex<BTreeMap<u64, Work>>,
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
        }
    }
}

/// One JSON object a line.
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
                serde_json::json!({ "event": "begin", "id": id, "what": what, "bytes": bytes })
            }
            Event::Advance { id, bytes } => {
                let total = done.entry(id).or_default();
                *total += bytes;
                serde_json::json!({ "event": "advance", "id": id, "done": *total })
            }
            Event::End { id } => {
                let total = done.remove(&id);
                serde_json::json!({ "event": "end", "id": id, "done": total })
            }
        };
        say(&line.to_string());
    }
}
