//! The choice of one image from a locator, for commands that take one.

use std::{collections::BTreeSet, sync::Arc};

use imgconv_model::{Code, Env, Error, PlatformSpec, Report, Result};
use imgconv_pipeline::{Options as LayerOptions, Squash};

use imgconv_locate::locator::Locator;

use imgconv_convert::{
    choose::{
        dependencies,
        platforms::{chosen, nearest},
    },
    no_image_of,
    options::Options,
    read::{
        carried::restore,
        node::ImageNode,
        root::SourceRoot,
        search::decode_beside,
        source::Source,
        spec::{spec_of, told_apart},
    },
};

/// One image.
#[derive(Debug)]
pub(crate) struct Picked {
    /// The image for messages.
    pub(crate) text: String,
    /// The image.
    pub(crate) node: ImageNode,
}

/// Opens a locator that must mean one image, perhaps of one of the platforms.
///
/// The dependencies of an ACI become its lower layers; `deps` are their places.
pub(crate) fn pick(
    locator: &Locator,
    platforms: &[PlatformSpec],
    deps: &[String],
    env: &Env,
) -> Result<Picked> {
    dependencies::check(deps)?;
    let source = Source::open(locator, env)?;
    let mut options = Options {
        platforms: platforms.to_vec(),
        deps: deps.to_vec(),
        // The picked image is read as one tree, never as layers.
        layers: LayerOptions {
            squash: Some(Squash::All),
            ..LayerOptions::default()
        },
        ..Options::default()
    };
    let mut roots: Vec<SourceRoot<'_>> = Vec::new();
    let mut known = BTreeSet::new();
    for (entry, node) in decode_beside(&source, env)?.found {
        // Two names of one image are one image.
        if known.insert(Arc::as_ptr(&node)) {
            roots.push(SourceRoot::new(&source, &entry, node));
        }
    }
    options.platforms = nearest(platforms, &roots);
    dependencies::render(&mut roots, &options, true, env)?;
    let mut left_out = Report::default();
    let mut found: Vec<(String, &ImageNode, PlatformSpec)> = Vec::new();
    let mut images_found = BTreeSet::new();
    for root in &roots {
        for (node, listed) in chosen(root, &options.platforms, true, &mut left_out) {
            if images_found.insert(std::ptr::from_ref(node)) {
                found.push((root.text.clone(), node, spec_of(node, listed)));
            }
        }
    }
    match &found[..] {
        [] => Err(no_image_of(platforms, &roots).at(locator.to_string())),
        [(text, node, spec)] => {
            let mut node = ImageNode::clone(node);
            node.image.platform = spec.platform.clone();
            if node.aci.is_some() {
                restore(&mut node.image, env, &mut node.report);
            }
            left_out.merge(node.report);
            node.report = left_out;
            let text = text.clone();
            Ok(Picked { text, node })
        }
        several => {
            let list = several.iter().map(|(text, node, spec)| {
                let digest = node.child.as_ref().map(|child| child.digest.to_string());
                (format!("{text} ({spec})"), digest)
            });
            let list = told_apart(&list.collect::<Vec<_>>());
            let hint = format!("add a REF or `--platform OS/ARCH`: {}", list.join(", "));
            Err(not_one(several.len(), locator).hint(hint))
        }
    }
}

/// The error of a locator that means several images, where a command takes one.
pub(crate) fn not_one(images: usize, locator: &Locator) -> Error {
    let message = format!("there are {images} images, but the command takes one");
    Error::new(Code::Ambiguous, message).at(locator.to_string())
}
