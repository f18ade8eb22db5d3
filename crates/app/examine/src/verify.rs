//! Reads all bytes of a place, and reports every fault.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::Path,
    sync::Arc,
};

use imgconv_layer::{Discard, Tree};
use imgconv_manifest::find_blob;
use imgconv_model::{
    Algorithm, Child, Code, Compression, Counted, Digest, Env, Error, Event, Layer, Phase, Result,
    RootEntry, Work, quote_path,
};
use imgconv_pipeline::{Budget, Tar, watch};
use imgconv_stream::{Cancellable, HashingReader, ahead};

use crate::{
    fsck, lint, records,
    verdict::{Finding, Part, SignedBy, Verdict},
};
use imgconv_convert::read::{
    node::{ImageNode, Node, semantics},
    root::SourceRoot,
    search::Search,
    source::Source,
};
use imgconv_locate::locator::Locator;

/// Reads all images that a locator means.
///
/// # Errors
/// Only if the run was interrupted, or the locator is a whole registry: all faults of the place are in
/// the verdict.
pub fn verify(locator: &Locator, env: &Env) -> Result<Verdict> {
    locator.refuse_whole_registry()?;
    let mut verdict = Verdict::default();
    env.phase(Phase::Reading);
    let Some(source) = open(locator, env, &mut verdict) else {
        env.check_cancelled()?;
        return Ok(verdict);
    };
    let mut seen = Seen::default();
    env.progress.event(Event::Images {
        count: source.entries.len() as u64,
        bytes: None,
    });
    let mut found = Vec::new();
    let mut search = Search::new(&source);
    for (entry, node) in source.decode_each(env) {
        env.check_cancelled()?;
        let text = source.entry_text(entry);
        let before = verdict.problems.len();
        if let Some(child) = &entry.child {
            lint::entry(child, &text, env, &mut verdict.warnings);
        }
        match node {
            Ok(node) => {
                if let Some(error) = source.bundle.bad_name(entry) {
                    verdict.fault(&error.at(&*text));
                }
                if let Some(error) = &entry.ambiguous {
                    verdict.fault(&error.again().at(&*source.text));
                }
                let at = At {
                    source: &source,
                    locator,
                    layout: source.held_by(entry).ok().flatten(),
                };
                let env = &env.for_image(&text);
                check_node(&at, &node, &text, env, &mut seen, &mut verdict)?;
                found.push(SourceRoot::new(&source, entry, node));
            }
            Err(error) => {
                let read = || source.bundle.root(entry).is_ok();
                match error.code() {
                    // A server that does not give a list of referrers says nothing about damage.
                    Code::Net | Code::Denied if entry.child.is_none() => {
                        verdict.problem(&error, locator, Part::Root);
                    }
                    // The entry itself is malformed, whatever the entry leads to.
                    _ if entry.error.is_some() => verdict.fault(&error),
                    // A document that is there, and leads to a missing one, is damage.
                    Code::Missing if read() => verdict.problem(&error, locator, Part::Below),
                    // The file was read, and has no signature of a trusted key.
                    Code::Denied if source.bundle.fetched().is_some() && read() => {
                        verdict.fault(&error);
                    }
                    _ => verdict.problem(&error, locator, Part::Root),
                }
            }
        }
        env.progress.event(Event::Image {
            name: &text,
            status: match verdict.problems.len() == before {
                true => "done",
                false => "failed",
            },
            bytes: 0,
        });
    }
    let lists = source.entries.iter().filter(|entry| entry.error.is_some());
    let lists: Vec<&str> = lists.filter_map(RootEntry::tag).collect();
    let is_told = |field: &str| lists.iter().any(|tag| field.ends_with(tag));
    for at in 0..found.len() {
        let (entry, node) = (found[at].entry.clone(), Arc::clone(&found[at].node));
        match search.beside(&entry, &node, env) {
            Ok(beside) => {
                for unread in beside.unread {
                    if is_told(&unread.field) {
                        continue;
                    }
                    let error = unread.error.at(unread.field);
                    verdict.problem(&error, locator, Part::Below);
                }
                let roots = beside.found.into_iter();
                found.extend(roots.map(|(entry, node)| SourceRoot::new(&source, &entry, node)));
            }
            Err(error) => verdict.problem(&error, locator, Part::Below),
        }
    }
    records::check(&found, locator, env, &mut verdict)?;
    // An error after an interruption is no finding.
    env.check_cancelled()?;
    let all = locator.reference.is_none();
    fsck::check(&source, all, &seen.shown, env, &mut verdict)?;
    env.check_cancelled()?;
    verdict.problems.sort();
    verdict.problems.dedup();
    verdict.warnings.sort();
    verdict.warnings.dedup();
    Ok(verdict)
}

/// Opens a place; a layout also if its marker or its index is wrong, which is reported.
fn open(locator: &Locator, env: &Env, verdict: &mut Verdict) -> Option<Source> {
    let error = match Source::open(locator, env) {
        Ok(source) => return Some(source),
        // An empty place has no faulty images, but may store faulty blobs.
        Err(error) if error.code() == Code::Missing => match Source::open_empty(locator, env) {
            Some(source) => return Some(source),
            None => error,
        },
        Err(error) => error,
    };
    let Some((source, errors)) = Source::open_damaged(locator, env) else {
        let error = error.at(locator.to_string());
        verdict.problem(&error, locator, Part::Place);
        return None;
    };
    // A directory without any file of a layout is no layout; but a layout may be empty.
    let stored = source.bundle.stored();
    let nothing = errors.len() > 1
        && errors.iter().all(|error| error.code() == Code::Missing)
        && stored.is_ok_and(|stored| stored.is_none_or(|stored| stored.is_empty()));
    let found: Vec<Finding> = errors.iter().map(Finding::of).collect();
    if nothing {
        verdict.unread.extend(found.iter().cloned());
    }
    verdict.problems.extend(found);
    Some(source)
}

/// The place that is read.
struct At<'a> {
    source: &'a Source,
    locator: &'a Locator,
    /// The locator of the place in a folder that holds the entry.
    layout: Option<String>,
}

impl At<'_> {
    /// Names a blob, and its file if the blob is in a layout somewhere below a folder: the user has to find
    /// the file.
    fn blob(&self, digest: &Digest) -> String {
        let layout = self
            .layout
            .as_deref()
            .and_then(|text| text.strip_prefix("oci:"));
        let file = layout.map(|layout| {
            let algorithm = digest.algorithm().as_str();
            Path::new(layout).join(format!("blobs/{algorithm}/{}", digest.hex()))
        });
        match file.filter(|file| file.is_file()) {
            Some(file) => format!("{digest}, file {}", quote_path(&file)),
            None => digest.to_string(),
        }
    }
}

#[derive(Default)]
struct Seen {
    /// The nodes that several entries or indexes lead to; kept, so that no other node gets the same
    /// address.
    nodes: BTreeMap<*const Node, Arc<Node>>,
    /// The results of reading the images.
    shown: fsck::Seen,
    /// Blobs that are copied unchanged and were read already.
    read: BTreeSet<Digest>,
}

fn check_node(
    place: &At<'_>,
    node: &Arc<Node>,
    text: &str,
    env: &Env,
    seen: &mut Seen,
    verdict: &mut Verdict,
) -> Result<()> {
    // A file has one entry.
    let is_file = matches!(&**node, Node::Image(image) if image.child.is_none());
    if !is_file {
        let known = seen.nodes.insert(Arc::as_ptr(node), Arc::clone(node));
        if known.is_some() {
            return Ok(());
        }
    }
    match &**node {
        Node::Image(image) => {
            if let Some(child) = &image.child {
                seen.shown.verified(child);
                seen.shown.decoded.insert(child.digest);
            }
            if let Some(manifest) = image.original("manifest") {
                lint::document(&manifest.bytes, text, env, &mut verdict.warnings);
            }
            lint::config(&image.image, text, &mut verdict.warnings);
            check_image(place, image, text, env, seen, verdict)?;
            verdict.checked += 1;
        }
        Node::Index {
            index,
            child,
            children,
        } => {
            seen.shown.verified(child);
            let index_at = format!("{text} › index");
            lint::document(&index.document.bytes, &index_at, env, &mut verdict.warnings);
            for (listed, child) in index.children.iter().zip(children) {
                let at = format!("{text} › index › {}", listed.digest);
                match child {
                    Some(child) => check_node(place, child, &at, env, seen, verdict)?,
                    None if place.source.bundle.extras().partial => {
                        let platform = listed.platform.as_ref();
                        let platform = platform.map_or_else(String::new, |it| format!(" ({it})"));
                        let message =
                            "the index lists the document, but the engine did not fetch it";
                        let at = format!("{at}{platform}");
                        verdict.warn("not-fetched", at, message);
                    }
                    None => {
                        let message =
                            "the index lists the document, but the place does not store it";
                        verdict.problems.push(Finding::new("missing", at, message));
                    }
                }
            }
        }
        Node::Opaque { opaque, child } => {
            if let Some(document) = &opaque.document {
                seen.shown.verified(child);
                seen.read.insert(child.digest);
                lint::document(&document.bytes, text, env, &mut verdict.warnings);
            }
            for blob in &opaque.blobs {
                check_blob(place, blob, text, env, seen, verdict);
            }
            let artifact = (Arc::clone(node), text.to_owned());
            seen.shown.artifacts.push(artifact);
            verdict.checked += 1;
        }
    }
    Ok(())
}

fn check_image(
    of: &At<'_>,
    node: &ImageNode,
    text: &str,
    env: &Env,
    seen: &mut Seen,
    verdict: &mut Verdict,
) -> Result<()> {
    let env = &env.with_notes(&node.notes);
    if let (Some(digest), Some(config)) = (node.config_digest(&env.limits), node.original("config"))
    {
        let size = config.bytes.len() as u64;
        seen.shown.verified(&Child::new("", digest, size));
    }
    for signer in node.aci.iter().flat_map(|aci| &aci.signers) {
        verdict.signatures.push(SignedBy {
            at: text.to_owned(),
            fingerprint: signer.fingerprint.clone(),
            user_ids: signer.user_ids.clone(),
        });
    }
    let mut tree = Tree::new(env);
    let budget = Budget::default();
    for (i, layer) in node.image.layers.iter().enumerate() {
        env.check_cancelled()?;
        let place = match layer.blob.facts.digest {
            Some(digest) => format!("{text} › layer {i} ({})", of.blob(&digest)),
            None => text.to_owned(),
        };
        seen.shown.digests.extend(layer.blob.facts.digest);
        let what = format!("layer {i}");
        let mut work = |layer: &Layer, env: &Env, _| -> Result<()> {
            let mut source = Tar::open(layer, &budget, env, &what)?;
            // The reader compares the digest of the blob, which is the diff ID of a plain tar.
            let is_compared = source.compression() == Compression::None
                && layer.diff_id.is_some()
                && layer.diff_id == layer.blob.facts.digest;
            let algorithms: Vec<Algorithm> = match layer.diff_id {
                Some(id) if !is_compared => vec![id.algorithm()],
                _ => Vec::new(),
            };
            let mut check = |source: &mut dyn Read| {
                let mut source = HashingReader::new(source, &algorithms);
                tree.apply(&mut source, semantics(node), &mut Discard, &what)
                    .map_err(|error| imgconv_stream::blame(error, &mut source))?;
                source.finish().map_err(Error::from_io)
            };
            let (found, _) = match env.jobs > 1 {
                true => ahead(&mut source, check)?,
                false => check(&mut source)?,
            };
            match (layer.diff_id, found.first()) {
                (Some(claimed), Some(found)) if claimed != *found => {
                    Err(Error::mismatch("the diff ID", claimed, *found))
                }
                _ => Ok(()),
            }
        };
        match watch(layer, &what, env, &mut work) {
            Ok(()) => {
                let facts = &layer.blob.facts;
                seen.shown
                    .good
                    .extend(facts.digest.map(|it| (it, facts.size)));
            }
            // A foreign layer need not be stored with its image (robustness C6a).
            Err(error) if error.code() == Code::Missing && !layer.urls.is_empty() => {
                verdict.warn("foreign-layer", place, error.message());
            }
            Err(error) => verdict.problem(&error.at(place), of.locator, Part::Below),
        }
    }
    let mut report = node.report.clone();
    report.merge(env.notes.snapshot());
    verdict.warn_all(text, report);
    Ok(())
}

/// Reads one blob that is copied unchanged.
fn check_blob(
    of: &At<'_>,
    blob: &Child,
    text: &str,
    env: &Env,
    seen: &mut Seen,
    verdict: &mut Verdict,
) {
    seen.shown.digests.insert(blob.digest);
    if !seen.read.insert(blob.digest) {
        return;
    }
    let work = || -> Result<()> {
        let reader = find_blob(&*of.source.bundle, blob, &env.limits)?.open()?;
        let what = blob.digest.to_string();
        let reader = Work::begin(&what, Counted::Source, Some(blob.size), env).reading(reader);
        HashingReader::new(Cancellable::new(reader, env), &[])
            .finish()
            .map_err(Error::from_io)?;
        Ok(())
    };
    match work() {
        Ok(()) => seen.shown.verified(blob),
        Err(error) => {
            let place = format!("{text} › blob {}", of.blob(&blob.digest));
            verdict.problem(&error.at(place), of.locator, Part::Below);
        }
    }
}
