//! Bar charts as inline SVG. Positions are percentages, so that a chart fits any width and its text
//! keeps its size.

use imgconv_model::{html, visible};

use super::escape::shortened;

/// The height of a bar with its text, in pixels.
const ROW: usize = 34;
/// The most characters of a label: beside a value on a narrow screen.
const LABEL: usize = 26;

/// A bar.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) length: u64,
    /// The value in words, at the right.
    pub(super) value: String,
}

/// Draws bars; the longest fills the width.
pub(super) fn draw(about: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.length).max().unwrap_or(0).max(1);
    let height = bars.len() * ROW;
    let mut out = format!(
        "<svg role=\"img\" aria-label=\"{}\" height=\"{height}\">\n",
        html(about)
    );
    for (i, bar) in bars.iter().enumerate() {
        let tenths = (u128::from(bar.length) * 1000).div_ceil(u128::from(most));
        let (text, rect) = (i * ROW + 14, i * ROW + 19);
        out += &format!(
            "<g><title>{}: {}</title><text x=\"0\" y=\"{text}\">{}</text>\
             <text class=\"v\" x=\"100%\" y=\"{text}\">{}</text>\
             <rect class=\"t\" x=\"0\" y=\"{rect}\" width=\"100%\" height=\"8\" rx=\"4\"/>\
             <rect class=\"b\" x=\"0\" y=\"{rect}\" width=\"{}.{}%\" height=\"8\" rx=\"4\"/></g>\n",
            html(&bar.label),
            html(&bar.value),
            html(&shortened(&visible(&bar.label), LABEL)),
            html(&bar.value),
            tenths / 10,
            tenths % 10,
        );
    }
    out + "</svg>\n"
}
