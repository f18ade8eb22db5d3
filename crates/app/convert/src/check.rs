//! Checks before anything is written.

use std::path::Path;

use imgconv_file::overlaps;
use imgconv_fs::is_there;
use imgconv_locate::locator::Locator;
use imgconv_model::{Code, Error, Format, PlatformSpec, Report, Result, quote_path};

use crate::{
    assemble::output::Item,
    choose::request::Request,
    options::{Missing, Options},
    read::{node::Node, root::SourceRoot, spec::told_apart},
};

/// Refuses `--image-tags` where no file can stand beside ACIs.
///
/// # Errors
/// [`Code::Usage`].
pub(crate) fn image_tags(target: Format, destination: &Locator, options: &Options) -> Result<()> {
    if !options.image_tags {
        return Ok(());
    }
    let describes = target
        .stream()
        .is_some_and(|it| it.stream_facts().describes);
    let message = if !describes {
        "`--image-tags` is for ACIs: other formats have tags"
    } else if destination.location == "-" || destination.location.ends_with(".aci") {
        "`--image-tags` writes a file beside the ACIs"
    } else {
        return Ok(());
    };
    Err(Error::new(Code::Usage, message)
        .at(destination.to_string())
        .hint("write to a directory of ACIs, `aci:DIR/`"))
}

/// Refuses `--missing keep` where no index is written.
///
/// # Errors
/// [`Code::Usage`].
pub(crate) fn missing(target: Format, options: &Options) -> Result<()> {
    if options.missing != Missing::Keep || target.capabilities().index {
        return Ok(());
    }
    let target = target.id();
    let message = format!("`--missing keep` needs an index, and {target} has none");
    Err(Error::new(Code::Usage, message))
}

/// Refuses an output that is also a source, since a rename at the end would replace the source, and
/// an output inside a source (robustness D13b).
pub fn refuse_same_place(sources: &[Locator], output: &Path) -> Result<()> {
    let local = |source: &&Locator| source.location != "-" && source.transport.place().is_local();
    for source in sources.iter().filter(local) {
        if overlaps(Path::new(&source.location), output) {
            let message = format!("the output is the source {source}, or lies in it");
            return Err(Error::new(Code::Denied, message)
                .at(quote_path(output))
                .hint("write to another place"));
        }
    }
    Ok(())
}

/// [`refuse_same_place`] for files that get their names from their images.
pub(crate) fn refuse_same_file(
    items: &[Item],
    sources: &[Locator],
    destination: &Locator,
) -> Result<()> {
    let directory = Path::new(&destination.location);
    for item in items {
        if let Some(name) = &item.publication.file_name {
            let file = directory.join(name);
            if is_there(&file)? {
                refuse_same_place(sources, &file)?;
            }
        }
    }
    Ok(())
}

/// Refuses several streams for one file.
pub(crate) fn refuse_one_file(
    items: &[Item],
    request: &Request<'_>,
    destination: &Locator,
) -> Result<()> {
    let location = &destination.location;
    if !request.one_file || items.len() == 1 {
        return Ok(());
    }
    let list = items.iter().flat_map(|item| &item.images).map(|image| {
        let name = image.name.as_deref().unwrap_or("-");
        let text = format!("{name} ({})", image.platform.as_deref().unwrap_or("-"));
        (text, image.source_digest.clone())
    });
    let list = told_apart(&list.collect::<Vec<_>>());
    let noun = request.stream_format().stream_facts().noun;
    let noun = noun.split_once(' ').map_or(noun, |(_, noun)| noun);
    let message = format!(
        "there are {} images, but one {noun} holds only one image",
        items.len()
    );
    Err(Error::new(Code::Ambiguous, message)
        .at(destination.to_string())
        .hint(format!(
            "choose one with a REF or `--platform`, or write to a directory (`{location}/`): {}",
            list.join(", ")
        )))
}

pub(crate) fn nothing_left(roots: &[SourceRoot<'_>], options: &Options, left: &Report) -> Error {
    let there: Vec<String> = roots.iter().flat_map(SourceRoot::platforms).collect();
    match not_held(left).filter(|_| there.is_empty()) {
        Some(error) => error,
        None => no_image(&options.platforms, there),
    }
}

/// The error for a run in which nothing can be written: the error names the documents that are left
/// behind, with reasons.
pub fn not_held(left: &Report) -> Option<Error> {
    let told = left.losses.iter();
    let told = told.map(|loss| format!("{}: {}", loss.field, loss.why));
    let told = some_of(&told.collect::<Vec<_>>(), 10);
    (!left.losses.is_empty()).then(|| {
        let message = format!("the destination can't hold any document of the source: {told}");
        Error::new(Code::Unsupported, message)
            .hint("`convert` to `oci:DIR` copies everything as it is")
    })
}

/// Joins texts for a message: at most so many of them, and the number of the others.
pub fn some_of(texts: &[String], most: usize) -> String {
    let shown = texts[..texts.len().min(most)].join("; ");
    match texts.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// Refuses changes of layers if no source has any layers.
pub(crate) fn refuse_unchangeable(items: &[Item], roots: &[SourceRoot<'_>]) -> Result<()> {
    let mut images = items.iter().flat_map(|item| &item.images);
    if images.any(|image| image.platform.is_some()) {
        return Ok(());
    }
    let message = format!(
        "the source has no image whose layers could be changed: {}",
        described(roots)
    );
    Err(Error::new(Code::Unsupported, message).hint("`convert` copies it as it is"))
}

/// The first roots, each with the reason why it is no image that can be read.
fn described(roots: &[SourceRoot<'_>]) -> String {
    let what = roots.iter().take(10).map(|root| match &*root.node {
        Node::Opaque { opaque, .. } => format!("{} ({})", root.text, opaque.what),
        Node::Image(_) | Node::Index { .. } => root.text.clone(),
    });
    let what: Vec<String> = what.collect();
    what.join(", ")
}

/// The error for roots without an image of the platforms.
pub fn no_image_of(platforms: &[PlatformSpec], roots: &[SourceRoot<'_>]) -> Error {
    let there: Vec<String> = roots.iter().flat_map(SourceRoot::platforms).collect();
    let opaque = |root: &SourceRoot<'_>| matches!(&*root.node, Node::Opaque { .. });
    match there.is_empty() && roots.iter().any(opaque) {
        true => {
            let message = format!(
                "the place has no image that can be read: {}",
                described(roots)
            );
            Error::new(Code::Unsupported, message)
                .hint("`convert` to `oci:DIR` copies everything as it is")
        }
        false => no_image(platforms, there),
    }
}

/// The error for platforms without an image, or for a source without images.
pub fn no_image(platforms: &[PlatformSpec], mut there: Vec<String>) -> Error {
    there.sort();
    there.dedup();
    if there.is_empty() {
        return Error::new(Code::Missing, "the place has no images");
    }
    let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    Error::new(Code::Missing, format!("no image for {}", wanted.join(", ")))
        .hint(format!("available: {}", there.join(", ")))
}

/// Refuses losses and warnings, which `--strict` forbids.
pub fn refuse_losses(items: &[Item]) -> Result<()> {
    let mut found = Vec::new();
    for image in items.iter().flat_map(|item| &item.images) {
        let losses = image.losses.iter();
        let losses = losses.map(|loss| format!("{} {}: {}", loss.field, loss.outcome, loss.why));
        let warnings = image.warnings.iter();
        let warnings = warnings.map(|w| format!("{} at {}: {}", w.code, w.at, w.message));
        found.extend(losses.chain(warnings));
    }
    if found.is_empty() {
        return Ok(());
    }
    let message = format!("`--strict` refuses: {}", some_of(&found, 10));
    Err(Error::new(Code::Strict, message)
        .hint("without `--strict` they are reported, and the image is written"))
}
