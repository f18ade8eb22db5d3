//! The choice of one image from a locator, for commands that take one.

use std::{collections::BTreeSet, sync::Arc};

use imgconv_model::{Code, Env, Error, PlatformSpec, Report, Result};
use imgconv_pipeline::{Options as LayerOptions, Squash};

use imgconv_locate::locator::Locator;

use imgconv_convert::{
    choose::{
        dependencies,
        platforms::{is_wanted, nearest, second_matches, warn_second},
    },
    no_image,
    options::Options,
    read::{
        carried::restore,
        node::{Computed, ImageNode, images},
        root::SourceRoot,
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
    for (entry, node) in source.decode(env)? {
        let text = source.entry_text(&entry);
        let place = locator.location.clone();
        let bundle = &*source.bundle;
        // Two names of one image are one image.
        if known.insert(Arc::as_ptr(&node)) {
            roots.push(SourceRoot {
                text,
                place,
                bundle,
                entry,
                renamed: None,
                signed: None,
                node,
            });
        }
    }
    options.platforms = nearest(platforms, &roots);
    dependencies::render(&mut roots, &options, env)?;
    let mut left_out = Report::default();
    let mut found: Vec<(String, &ImageNode, PlatformSpec)> = Vec::new();
    let mut images_found = BTreeSet::new();
    for root in &roots {
        let second = match platforms {
            [] => BTreeSet::new(),
            _ => pointers(second_matches(&root.node)),
        };
        images(&root.node, None, &mut |node, listed| {
            let spec = spec_of(node, listed);
            let new = !images_found.contains(&std::ptr::from_ref(node));
            if !new || !is_wanted(&options.platforms, &spec) {
                return;
            }
            if second.contains(&std::ptr::from_ref(node)) {
                warn_second(&mut left_out, &root.text, node, &spec.platform);
            } else {
                images_found.insert(std::ptr::from_ref(node));
                found.push((root.text.clone(), node, spec));
            }
        });
    }
    match &found[..] {
        [] => {
            let there: Vec<String> = roots.iter().flat_map(SourceRoot::platforms).collect();
            Err(no_image(platforms, there).at(locator.to_string()))
        }
        [(text, node, spec)] => {
            let mut image = node.image.clone();
            let mut report = node.report.clone();
            image.platform = spec.platform.clone();
            if node.aci.is_some() {
                restore(&mut image, env, &mut report);
            }
            left_out.merge(report);
            let node = ImageNode {
                image,
                format: node.format,
                child: node.child.clone(),
                aci: node.aci.clone(),
                report: left_out,
                notes: node.notes.clone(),
                computed: Computed::default(),
            };
            Ok(Picked {
                text: text.clone(),
                node,
            })
        }
        several => {
            let list = several.iter().map(|(text, node, spec)| {
                let digest = node.child.as_ref().map(|child| child.digest.to_string());
                (format!("{text} ({spec})"), digest)
            });
            let list = told_apart(&list.collect::<Vec<_>>());
            let message = format!("there are {} images and one is needed", several.len());
            Err(Error::new(Code::Ambiguous, message)
                .at(locator.to_string())
                .hint(format!(
                    "add a REF or `--platform OS/ARCH`: {}",
                    list.join(", ")
                )))
        }
    }
}

/// The addresses of nodes: nodes with the same address are the same node.
fn pointers(nodes: Vec<&ImageNode>) -> BTreeSet<*const ImageNode> {
    nodes.into_iter().map(std::ptr::from_ref).collect()
}
