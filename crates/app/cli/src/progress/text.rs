//! Lines of text that tell how far the work is, for a given width.

use std::time::{Duration, Instant};

use super::tally::{Piece, Rate, Tally};
use crate::screen::{clean, width};

/// The number of digits of a shortened digest, as docker shows.
const SHORT: usize = 12;
/// The least and the most columns of a bar.
const BAR: std::ops::RangeInclusive<usize> = 8..=30;
/// The most pieces of work that are listed.
const PIECES: usize = 6;
/// Decimal units.
const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// Returns the lines for a terminal with that many columns and rows: the whole work first, then a line for
/// each piece of work.
pub(super) fn lines(tally: &Tally, (columns, rows): (usize, usize), now: Instant) -> Vec<String> {
    // The last column stays free: some terminals begin a new line when it is written.
    let columns = columns.saturating_sub(1);
    let mut lines: Vec<String> = whole(tally, columns, now).into_iter().collect();
    let most = rows.saturating_sub(lines.len() + 1).min(PIECES);
    let pieces = tally.work.values();
    lines.extend(pieces.take(most).map(|piece| one(piece, columns, now)));
    let more = tally.work.len().saturating_sub(most);
    if more > 0 && most > 0 {
        lines.pop();
        lines.push(cut(&format!("  and {} more", more + 1), columns));
    }
    lines
}

/// Returns the line for a log: the whole work, and its first piece where the whole is not known.
pub(super) fn plain(tally: &Tally, now: Instant) -> Option<String> {
    let whole = parts(tally, now);
    let is_known = tally.images.is_some_and(|images| images.bytes.is_some());
    let piece = tally.work.values().next().filter(|_| !is_known);
    let piece = piece.map(|piece| {
        let mut parts = vec![(0, name(piece)), (0, amount(piece.done, piece.bytes))];
        rate(piece.rate(now), &mut parts);
        joined(&parts)
    });
    let whole = (!whole.is_empty()).then(|| joined(&whole));
    let both: Vec<String> = whole.into_iter().chain(piece).collect();
    (!both.is_empty()).then(|| both.join(": "))
}

/// A part of a line, and how early the part is left out where there is little room: the smallest number stays
/// longest.
type Part = (u8, String);

/// The line of the whole work: as many parts as fit, and a bar if there is room.
fn whole(tally: &Tally, columns: usize, now: Instant) -> Option<String> {
    let parts = parts(tally, now);
    if parts.is_empty() {
        return None;
    }
    let all = tally.images.and_then(|images| images.bytes);
    Some(with_bar(parts, tally.done(), all, columns))
}

fn parts(tally: &Tally, now: Instant) -> Vec<Part> {
    let mut parts = Vec::new();
    if let Some(phase) = tally.phase {
        parts.push((4, phase.to_string()));
    }
    let Some(images) = tally.images else {
        return parts;
    };
    // A single image needs no count.
    if images.count != 1 {
        let word = if images.count == 0 { "" } else { " images" };
        parts.push((1, format!("{}/{}{word}", images.done, images.count)));
    }
    if images.failed > 0 {
        parts.push((3, format!("{} failed", images.failed)));
    }
    if images.bytes != Some(0) && (images.bytes.is_some() || tally.done() > 0) {
        parts.push((0, amount(tally.done(), images.bytes)));
    }
    rate(tally.rate(now), &mut parts);
    parts
}

/// The line of a piece of work.
fn one(piece: &Piece, columns: usize, now: Instant) -> String {
    let mut parts = vec![(0, amount(piece.done, piece.bytes))];
    rate(piece.rate(now), &mut parts);
    let name = name(piece);
    let room = columns.saturating_sub(width(&parts[0].1) + 4);
    parts.insert(0, (1, format!("  {}", cut(&name, room.max(SHORT)))));
    with_bar(parts, piece.done, piece.bytes, columns)
}

fn rate(rate: Rate, parts: &mut Vec<Part>) {
    if rate.bytes > 0 {
        parts.push((5, format!("{}/s", human(rate.bytes))));
    }
    if let Some(left) = rate.left {
        parts.push((2, format!("{} left", time(left))));
    }
}

/// Joins the parts that fit, and puts a bar behind them if there is room and the end is known.
fn with_bar(mut parts: Vec<Part>, done: u64, all: Option<u64>, columns: usize) -> String {
    while width(&joined(&parts)) > columns && parts.len() > 1 {
        let last = (0..parts.len()).max_by_key(|i| parts[*i].0).unwrap_or(0);
        parts.remove(last);
    }
    let text = cut(&joined(&parts), columns);
    let room = columns.saturating_sub(width(&text) + 2).min(*BAR.end());
    match all {
        Some(all) if all > 0 && room >= *BAR.start() => format!("{text}  {}", bar(done, all, room)),
        _ => text,
    }
}

fn joined(parts: &[Part]) -> String {
    let parts: Vec<&str> = parts.iter().map(|(_, text)| &**text).collect();
    parts.join(", ")
}

/// A bar of that many columns.
fn bar(done: u64, all: u64, columns: usize) -> String {
    let inner = columns.saturating_sub(2);
    let filled = (done.min(all) as f64 / all as f64 * inner as f64) as usize;
    format!(
        "[{}{}]",
        "#".repeat(filled),
        ".".repeat(inner - filled.min(inner))
    )
}

/// Returns `12 of 40 MB`: the unit is that of the whole, so the numbers can be compared.
fn amount(done: u64, all: Option<u64>) -> String {
    let Some(all) = all.filter(|all| *all > 0) else {
        return human(done);
    };
    let unit = unit(all);
    format!(
        "{} of {} {}",
        number(done, unit),
        number(all, unit),
        UNITS[unit]
    )
}

/// Returns a number of bytes with a decimal unit.
pub(crate) fn human(bytes: u64) -> String {
    let unit = unit(bytes);
    format!("{} {}", number(bytes, unit), UNITS[unit])
}

/// The position of the unit in which a number of bytes has one to three digits before the point.
fn unit(bytes: u64) -> usize {
    let mut unit = 0;
    // The text is rounded: 999 999 bytes are 1 MB, not 1000 kB.
    while unit + 1 < UNITS.len() && bytes as f64 / 1000_f64.powi(unit as i32) >= 999.5 {
        unit += 1;
    }
    unit
}

/// A number in a unit: with a decimal if the number is small.
fn number(bytes: u64, unit: usize) -> String {
    let value = bytes as f64 / 1000_f64.powi(unit as i32);
    match unit > 0 && value < 9.95 && bytes > 0 {
        true => format!("{value:.1}"),
        false => format!("{value:.0}"),
    }
}

/// Returns a length of time in one or two units.
fn time(left: Duration) -> String {
    let seconds = left.as_secs_f64().round().max(1.0) as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86400),
    }
}

/// The name of a piece of work. A layer without a digest, as in an ACI, is told by its image.
fn name(piece: &Piece) -> String {
    match (&piece.image, &*piece.what) {
        (Some(image), "layer 0") => clean(image),
        (Some(image), what) if what.starts_with("layer ") => clean(&format!("{image} {what}")),
        (_, what) => short(what),
    }
}

/// Shortens a digest to its first digits, and a path or URL to its last part.
fn short(what: &str) -> String {
    let digest = what.split_once([':', '-']).map(|(_, hex)| hex);
    match digest {
        Some(hex) if hex.len() >= 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            hex.chars().take(SHORT).collect()
        }
        _ => clean(what),
    }
}

/// Cuts a text to a number of columns. The end of a name tells more than its beginning.
fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept: Vec<char> = Vec::new();
    let mut room = columns.saturating_sub(1);
    for c in text.chars().rev() {
        let Some(left) = room.checked_sub(width(c.encode_utf8(&mut [0; 4]))) else {
            break;
        };
        room = left;
        kept.push(c);
    }
    let kept: String = kept.into_iter().rev().collect();
    match columns {
        0 => String::new(),
        _ => format!("…{kept}"),
    }
}

#[cfg(test)]
mod tests {
    use imgconv::{Counted, Event, Phase};

    use super::*;

    const MB: u64 = 1_000_000;

    fn tally(events: &[Event<'_>]) -> Tally {
        let mut tally = Tally::default();
        events.iter().for_each(|event| tally.add(event));
        tally
    }

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    fn image(name: &str, status: &'static str) -> Event<'static> {
        let name = name.to_owned().leak();
        let bytes = 10 * MB;
        Event::Image {
            name,
            status,
            bytes,
        }
    }

    fn begin(id: u64, image: &'static str, bytes: Option<u64>) -> Event<'static> {
        Event::Begin {
            id,
            image: Some(image),
            what: "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
            counted: Counted::Source,
            bytes,
        }
    }

    // robustness N11
    #[test]
    fn no_rate_is_told_of_a_moment_or_of_what_was_found_done() {
        let bytes = Some(40 * MB);
        let mut tally = tally(&[Event::Images { count: 4, bytes }, image("a", "kept")]);
        let line = |tally: &Tally, seconds| plain(tally, after(seconds)).unwrap();
        assert_eq!(line(&tally, 5), "1/4 images, 10 of 40 MB");
        tally.add(&begin(0, "b", Some(10 * MB)));
        tally.add(&Event::Advance {
            id: 0,
            bytes: 5 * MB,
        });
        // The work on an image counts before the image is done.
        assert_eq!(line(&tally, 0), "1/4 images, 15 of 40 MB");
        assert_eq!(
            line(&tally, 5),
            "1/4 images, 15 of 40 MB, 1.0 MB/s, 25 s left"
        );
        tally.add(&Event::End { id: 0 });
        tally.add(&image("b", "done"));
        tally.add(&image("c", "failed"));
        tally.add(&image("d", "kept"));
        assert_eq!(
            line(&tally, 5),
            "4/4 images, 1 failed, 40 of 40 MB, 1.0 MB/s"
        );
    }

    #[test]
    fn a_line_fits_every_width_and_keeps_what_matters() {
        let bytes = Some(3000 * MB);
        let mut tally = tally(&[
            Event::Phase {
                phase: Phase::Writing,
            },
            Event::Images { count: 200, bytes },
            image("a", "failed"),
            begin(7, "b", Some(300 * MB)),
            Event::Advance {
                id: 7,
                bytes: 90 * MB,
            },
        ]);
        let now = after(10);
        for columns in 1..200 {
            for line in lines(&tally, (columns, 24), now) {
                assert!(width(&line) < columns.max(2), "{columns}: {line}");
            }
        }
        let line = |columns| lines(&tally, (columns, 24), now)[0].clone();
        assert_eq!(line(40), "1/200 images, 0.1 of 3.0 GB, 6 min left");
        let wide = "writing, 1/200 images, 1 failed, 0.1 of 3.0 GB, 9.0 MB/s, 6 min left";
        assert!(line(120).starts_with(wide), "{}", line(120));
        let piece = lines(&tally, (60, 24), now)[1].clone();
        assert_eq!(
            piece,
            "  5f70bf18a086, 90 of 300 MB, 9.0 MB/s, 23 s left  [#.....]"
        );
        for id in 8..30 {
            tally.add(&begin(id, "b", None));
        }
        assert_eq!(lines(&tally, (80, 24), now).len(), 1 + PIECES);
        assert_eq!(lines(&tally, (80, 4), now).len(), 3);
        assert!(lines(&tally, (80, 24), now)[6].ends_with("and 18 more"));
    }

    #[test]
    fn numbers_have_one_unit_and_few_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9949, "9.9 kB"),
            (12_345, "12 kB"),
            (999_499, "999 kB"),
            (999_999, "1.0 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        for (seconds, text) in [
            (0, "1 s"),
            (119, "119 s"),
            (121, "3 min"),
            (7260, "2 h 1 min"),
        ] {
            assert_eq!(time(Duration::from_secs(seconds)), text);
        }
        assert_eq!(cut("registry.example.com/app", 10), "…e.com/app");
        assert_eq!(cut("日本語", 5), "…本語");
    }
}
