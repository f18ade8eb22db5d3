//! The table of `ls`: a header and short values for people, whole values without a header for programs.

use imgconv::Listed;

use crate::screen::{clean, columns};

/// The number of hexadecimal digits of a shortened digest, as docker shows.
const SHORT: usize = 12;

/// Returns a line for each image as programs read them: whole values, sizes in bytes, no header.
pub(super) fn plain(images: &[Listed]) -> String {
    let row = |image: &Listed| {
        vec![
            or_dash(image.name.as_deref()),
            or_dash(image.platform.as_deref()),
            clean(&image.format),
            or_dash(image.digest.as_deref()),
            image.size.to_string(),
        ]
    };
    columns(&images.iter().map(row).collect::<Vec<_>>())
}

/// Returns a table with a header. Columns that are empty for every image are left out; digests are
/// shortened unless they are to be `whole`.
pub(super) fn with_header(images: &[Listed], whole: bool) -> String {
    let digest = |text: Option<&str>| match text {
        Some(text) if !whole => shortened(text),
        text => or_dash(text),
    };
    let head = [
        "NAME", "TAG", "LABELS", "PLATFORM", "FORMAT", "IMAGE ID", "DIGEST", "SIZE", "FILE",
    ];
    let row = |image: &Listed| {
        [
            or_dash(Some(&repository(image))),
            or_dash(image.tag.as_deref()),
            or_dash(Some(&labels(image))),
            or_dash(image.platform.as_deref()),
            clean(&image.format),
            digest(image.image_id.as_deref()),
            digest(image.digest.as_deref()),
            human(image.size),
            or_dash(image.held_by.as_deref()),
        ]
    };
    let rows: Vec<[String; 9]> = images.iter().map(row).collect();
    let optional = ["TAG", "LABELS", "IMAGE ID", "DIGEST", "FILE"];
    let shown: Vec<usize> = (0..head.len())
        .filter(|&column| {
            !optional.contains(&head[column]) || rows.iter().any(|row| row[column] != "-")
        })
        .collect();
    let pick = |row: &[String]| shown.iter().map(|&column| row[column].clone()).collect();
    let mut lines: Vec<Vec<String>> = vec![pick(&head.map(str::to_owned))];
    lines.extend(rows.iter().map(|row| pick(row)));
    columns(&lines)
}

/// Returns the name without its tag.
pub(super) fn repository(image: &Listed) -> String {
    let name = image.name.as_deref().unwrap_or_default();
    let cut = image.tag.as_deref().and_then(|tag| {
        let rest = name.strip_suffix(tag)?;
        rest.strip_suffix(':')
    });
    cut.unwrap_or(name).to_owned()
}

/// Returns the labels of an ACI, as `NAME=VALUE,…`.
pub(super) fn labels(image: &Listed) -> String {
    let labels = image.labels.iter();
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    labels.join(",")
}

/// Returns a number of bytes with a decimal unit, as docker shows it.
pub(super) fn human(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// Returns a digest with the first digits only.
fn shortened(digest: &str) -> String {
    let hex = digest.split_once([':', '-']).map_or(digest, |(_, hex)| hex);
    clean(&hex.chars().take(SHORT).collect::<String>())
}

/// Returns a text that is safe for a terminal, and `-` for none.
fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .map_or_else(|| "-".to_owned(), clean)
}
