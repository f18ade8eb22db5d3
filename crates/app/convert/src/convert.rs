//! A conversion from start to end: locate, read, choose, plan, write, commit.

use std::{ops::Range, path::Path};

use imgconv_locate::locator::Locator;
use imgconv_model::{Child, Env, FormatId, Notes, Phase, Report, Result};
use imgconv_pipeline::Sealer;
use imgconv_stream::Pool;

use crate::{
    assemble::{
        descriptors,
        names::{add_names, refuse_one_name},
        output::Item,
    },
    check, choose,
    choose::{
        dependencies, described, family,
        platforms::{self, nearest},
        request::{Request, target},
    },
    commit, expect,
    options::Options,
    outcome::Outcome,
    plan,
    read::{
        about,
        cosign::Signed,
        node::ImageNode,
        root::SourceRoot,
        search::{Beside, Search, Unread, belong_to_only_image, decode_beside, lose_unread},
        source::Source,
        spec::spec_of,
    },
    write::{self, Destination},
};

/// Converts every image that the sources mean to one destination.
///
/// Nothing is visible at the destination before everything has been written and verified.
///
/// # Errors
/// The first error, with its place; [`Code::Strict`](imgconv_model::Code::Strict) if there would be
/// a loss and losses are forbidden.
pub fn convert(
    sources: &[Locator],
    destination: &Locator,
    options: &Options,
    env: &Env,
) -> Result<Outcome> {
    if destination.location != "-" && destination.transport.place().is_local() {
        check::refuse_same_place(sources, Path::new(&destination.location))?;
    }
    if destination.transport.place().writes.is_none() {
        // A read-only transport returns its own error here.
        destination.transport.create(&destination.location, env)?;
    }
    dependencies::check(&options.deps)?;
    choose::names::check_given(destination, options)?;
    let mut options = choose::names::given(destination, options)?;

    // Read.
    env.phase(Phase::Reading);
    let opened = open(sources, &options, env)?;
    let (mut roots, unread, left) = read(&opened, env)?;
    if let Some(config) = &options.config {
        described::by_file(&mut roots, config, env)?;
    }

    // Choose.
    family::check(options.pair, sources, &roots)?;
    options.platforms = nearest(&options.platforms, &roots);
    let options = &options;
    let mut unread = lose(&unread, &roots, options)?;
    unread.merge(left);
    platforms::warn_missing(&options.platforms, &roots, &mut unread);
    let target = target(destination, &roots)?;
    check::image_tags(target, destination, options)?;
    let writes = destination.transport.place().writes;
    options.check_sharing(writes.is_some_and(|writes| writes.shares_blobs))?;
    let request = Request::new(target, destination, options, env)?;
    check::missing(target, options)?;
    // Of all formats, only an ACI can hold dependencies and a path whitelist.
    if target.id() != FormatId::ACI {
        dependencies::render(&mut roots, options, target.is_stream(), env)?;
    }
    choose::names::keep_one_name(&mut roots, destination, &request, &mut unread);
    choose::names::check_naming(&roots, destination, options)?;

    choose::names::check_several(destination, &request)?;

    // Plan.
    let room = commit::room(destination, env);
    let (mut top_level, mut lost) = descriptors::top_level(&opened, &room);
    lost.merge(unread);
    let plan = plan::plan(&roots, &request, lost)?;
    let mut expected = expect::expect(&plan, &request)?;
    add_names(&mut expected.items, options)?;
    let stale = commit::stale_subject(&expected, &mut top_level);
    commit::tell_first(&mut expected.items, &stale);
    let tags = commit::image_tags(&plan, destination, env)?;
    if expected.items.is_empty() {
        return Err(check::nothing_left(&roots, options, &expected.left_behind));
    }
    refuse(&expected.items, &roots, sources, destination, &request)?;
    if options.dry_run {
        return Ok(commit::outcome(expected.items, tags, destination, &[]));
    }

    // Write.
    let notes = Notes::default();
    let mut sink = commit::create(destination, options, &env.with_notes(&notes))?;
    sink.set_top_level(top_level);
    for source in &opened {
        sink.comes_from(&source.text);
    }
    let pool = &Pool::new(env.jobs)?;
    let place = Destination {
        sink: &*sink,
        sealer: &Sealer::new(&*sink, pool),
        pool,
    };
    let mut items = write::write(&plan, &request, &place)?.items;
    add_names(&mut items, options)?;
    commit::tell_first(&mut items, &stale);
    commit::name_roots(&*sink, &mut items, options)?;
    if options.strict {
        check::refuse_losses(&items)?;
    }

    // Commit.
    env.check_cancelled()?;
    env.phase(Phase::Committing);
    let mut publications = commit::publications(&items, &tags, destination, &*sink)?;
    let signatures = commit::signatures(&items, destination);
    let places = sink.finish(&mut publications)?;
    commit::tell_removed(&mut items, &places, &signatures);
    commit::tell_last(&mut items, &notes);
    commit::note_digests(&mut items, &publications);
    Ok(commit::outcome(items, tags, destination, &places))
}

/// Opens every source. All tags of a repository are opened where image tags files are written.
fn open(sources: &[Locator], options: &Options, env: &Env) -> Result<Vec<Source>> {
    let open = |locator: &Locator| match options.image_tags {
        true => Source::open_all(locator, env),
        false => Source::open(locator, env),
    };
    sources.iter().map(open).collect()
}

/// The roots of a source among all roots, and the records of reversal of the source that can't be read.
type UnreadOf = (Range<usize>, Vec<Unread>);

/// Reports the records of reversal that can't be read.
///
/// # Errors
/// If the user wants exact originals only, and an image may need such a record.
fn lose(unread: &[UnreadOf], roots: &[SourceRoot<'_>], options: &Options) -> Result<Report> {
    let mut report = Report::default();
    let wanted = |image: &ImageNode, listed: Option<&Child>| {
        platforms::is_wanted(&options.platforms, &spec_of(image, listed))
    };
    for (of_source, unread) in unread {
        let roots = &roots[of_source.clone()];
        lose_unread(unread, roots, &wanted, options.exact, &mut report)?;
    }
    Ok(report)
}

/// All roots, the records that can't be read, and the warnings about documents that stay behind.
type ReadRoots<'s> = (Vec<SourceRoot<'s>>, Vec<UnreadOf>, Report);

/// Decodes every chosen entry, with all documents below it, and the documents about the chosen images. Also returns the
/// records of reversal that can't be read.
fn read<'s>(opened: &'s [Source], env: &Env) -> Result<ReadRoots<'s>> {
    let (mut roots, mut all, mut left) = (Vec::new(), Vec::new(), Report::default());
    for source in opened {
        let mut signed = Signed::default();
        let (mut search, mut beside) = (Search::new(source), Vec::new());
        let Beside { found, mut unread } = decode_beside(source, env)?;
        let first = roots.len();
        let documents = about::about(source, &found, env)?;
        left.merge(documents.left);
        for (entry, node) in found {
            let about = search.beside(&entry, &node, env)?;
            beside.extend(about.found);
            for one in about.unread {
                if unread.iter().all(|known| known.field != one.field) {
                    unread.push(one);
                }
            }
            let mut root = SourceRoot::new(source, &entry, node);
            root.find_signed(&mut signed, env)?;
            roots.push(root);
        }
        // A document about an image comes along with the image.
        let beside = documents.found.into_iter().chain(beside);
        roots.extend(beside.map(|(entry, node)| SourceRoot::new(source, &entry, node)));
        belong_to_only_image(source, &mut unread);
        all.push((first..roots.len(), unread));
    }
    Ok((roots, all, left))
}

/// Checks everything that can be checked before a byte is written.
fn refuse(
    expected: &[Item],
    roots: &[SourceRoot<'_>],
    sources: &[Locator],
    destination: &Locator,
    request: &Request<'_>,
) -> Result<()> {
    let options = request.options;
    if options.change {
        check::refuse_unchangeable(expected, roots)?;
    }
    check::refuse_one_file(expected, request, destination)?;
    if request.target.is_stream() {
        check::refuse_same_file(expected, sources, destination)?;
    } else if request.place.has_names() {
        refuse_one_name(expected, destination)?;
    }
    if options.strict {
        check::refuse_losses(expected)?;
    }
    Ok(())
}
