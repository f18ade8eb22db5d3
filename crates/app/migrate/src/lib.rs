//! Migrating: every image of a store to another place, as one job that can be ended at any point
//! and resumed.
//!
//! First a plan is made of documents alone ([`plan`]); then images are done several at a time
//! ([`work`]), each recorded in a [`journal`] when it is complete. Images of one layout
//! appear together, at the end and in the order of the plan, so that the result does not depend on
//! the timing of threads or on interruptions; files and tags appear one by one.

mod destination;
mod journal;
mod key;
mod memory;
mod page;
mod plan;
mod report;
mod rules;
mod shares;
mod sources;
mod watch;
mod work;

use std::{path::PathBuf, sync::Arc};

use imgconv_fs::jobs_within_limit;
use imgconv_model::{
    Code, Env, Error, Event, Notes as Warnings, Phase, PlaceOptions, Result, quote_path,
};
use imgconv_stream::Pool;

use self::{
    destination::Destination,
    journal::Journal,
    plan::Plan,
    work::{State, Worker},
};
pub use self::{
    page::report_page,
    report::{
        Failure, Merged, Migrated, Migration, Notes, Shard, Status, Totals, merge_reports,
        read_report,
    },
    rules::Rules,
};
use imgconv_convert::{
    choose::dependencies, options::Options, read::source::Source, refuse_same_place, tags,
};
use imgconv_locate::locator::Locator;
use imgconv_publish::publish::{SiteOptions, check_site, publish_files};

/// The user's options for a migration. [`Options::name`] is not used, since a name is for one
/// image.
#[derive(Clone, Debug, Default)]
pub struct MigrateOptions {
    /// The options for the conversion of each image.
    pub conversion: Options,
    /// The rules for the choice of images and for their names.
    pub rules: Rules,
    /// Make a layout for each repository.
    pub split: bool,
    /// Do only a share of the plan.
    pub shard: Option<Shard>,
    /// The directory of the journal, instead of one in the destination.
    pub journal: Option<PathBuf>,
    /// Make the directory of ACIs a site for appc discovery. [`Options::host`] is its host.
    pub site: Option<SiteOptions>,
    /// Continue although the destination seems to be too small.
    pub ignore_space: bool,
}

/// Migrates every image of a store. A failed image does not stop the rest: its error is in the
/// report.
///
/// # Errors
/// The errors of the store or the destination as a whole, or of the plan, before anything is
/// written. An error that ends the work later is in [`Migration::stopped`].
pub fn migrate(
    source: &Locator,
    destination: &Locator,
    options: &MigrateOptions,
    env: &Env,
) -> Result<Migration> {
    dependencies::check(&options.conversion.deps)?;
    let target = Destination::new(destination, options.split, options.site.is_some())?;
    if let Some(root) = target.root() {
        refuse_same_place(std::slice::from_ref(source), root)?;
    }
    let mut conversion = options.conversion.clone();
    conversion.name = None;
    let signing = options.site.as_ref().map(|site| site.signing.is_some());
    conversion.signs_anew = signing.unwrap_or_default();
    conversion.check_sharing(target.is_shared())?;
    target.share(&mut conversion.sharing);
    if conversion.image_tags && options.site.is_none() {
        let message = "image tags belong to a site";
        return Err(Error::new(Code::Usage, message).hint("`--site` makes one of `aci:DIR/`"));
    }
    env.phase(Phase::Reading);
    let source = Source::open_store(source, env)?;
    let plan = plan::plan(&source, &target, &options.rules, &conversion, env)?;
    if plan.jobs.is_empty() && plan.refused.is_empty() {
        let message = match source.entries.len() {
            0 => "the place has no images",
            _ => "no image is selected",
        };
        return Err(Error::new(Code::Missing, message)
            .at(&*source.text)
            .hint("`imgconv ls` lists every name; `--only` and `--exclude` choose"));
    }
    if let Some(site) = &options.site {
        let names = plan.jobs.iter().flat_map(|job| &job.names);
        let names = names.filter_map(|name| name.repository.as_deref());
        check_site(names, conversion.host.as_deref(), site)?;
    }
    let shard = options.shard;
    let mine = |text: &str| shard.is_none_or(|shard| shard.has(text));
    let jobs: Vec<usize> = match shard {
        None => (0..plan.jobs.len()).collect(),
        Some(shard) => {
            let weights = plan.jobs.iter().map(|job| (&*job.base, job.bytes));
            let shares = shares::assign(weights, shard.count);
            let own = shares.iter().map(|share| *share == shard.index - 1);
            (0..)
                .zip(own)
                .filter_map(|(i, own)| own.then_some(i))
                .collect()
        }
    };
    let (journal, began) = match conversion.dry_run {
        true => (None, false),
        false => begin(&target, &plan, &jobs, options, env)?,
    };
    let mut warnings = journal.as_ref().map(told).unwrap_or_default();
    // A migration replaces its own files, and no others. The ACIs of a site lie in a directory of the migration.
    let own_files = match (&journal, target.root()) {
        (Some(journal), Some(root)) => journal.own_files(root).into_iter().collect(),
        _ => Default::default(),
    };
    let env = &Env {
        jobs: jobs_within_limit(env.jobs),
        places: PlaceOptions {
            keep_files: env.places.keep_files && !(began && options.site.is_some()),
            own_files: Arc::new(own_files),
            ..env.places.clone()
        },
        ..env.clone()
    };
    let bytes = jobs.iter().map(|i| plan.jobs[*i].bytes).sum();
    env.phase(Phase::Writing);
    env.progress.event(Event::Images {
        count: jobs.len() as u64,
        bytes: Some(bytes),
    });
    let pool = Pool::new(env.jobs)?;
    let journal = journal.map(Arc::new);
    let moved = Warnings::default();
    let worker = Worker {
        source: &source,
        destination: &target,
        options: &conversion,
        env,
        pool: &pool,
        plan: &plan,
        jobs: &jobs,
        state: State::new(&source, &target, (&plan, &jobs), journal.as_ref(), env),
        journal,
        moved: &moved,
    };
    let (mut images, files, mut stopped) = worker.run();
    let mut moved = moved.take();
    moved.sort();
    warnings.extend(moved.warnings.into_iter().map(Failure::warned));
    let (acis, tags): (Vec<_>, Vec<_>) = files.into_iter().map(|it| (it.acis, it.tags)).unzip();
    if let (Some(site), None, false) = (&options.site, &stopped, conversion.dry_run)
        && !acis.concat().is_empty()
    {
        let root = std::path::Path::new(&destination.location);
        let tags = tags::files(&tags.concat(), &|_| Ok(None));
        let host = conversion.host.as_deref();
        stopped = tags
            .and_then(|tags| publish_files(&acis.concat(), tags, host, root, site, env))
            .err();
    }
    images.extend(left_over(&plan, &target, mine));
    let totals = Totals::of(&images, bytes);
    Ok(Migration {
        plan: plan.digest,
        shard: shard.map(|shard| shard.to_string()),
        images,
        totals,
        warnings,
        stopped: stopped.as_ref().map(Failure::of),
    })
}

/// Prepares the destination and opens the journal, unless there is too little room. Returns the journal,
/// if there is one, and whether an earlier run began the migration.
fn begin(
    target: &Destination,
    plan: &Plan,
    jobs: &[usize],
    options: &MigrateOptions,
    env: &Env,
) -> Result<(Option<Journal>, bool)> {
    let check = |journal: Option<&Journal>| match options.ignore_space {
        true => Ok(()),
        false => check_space(target, plan, jobs, journal),
    };
    let directory = options.journal.clone().or_else(|| target.journal());
    let began = match &directory {
        Some(path) => imgconv_fs::is_directory(path)?,
        None => false,
    };
    if !began {
        check(None)?;
    }
    target.prepare(env)?;
    let share = options.shard;
    let share = share.map_or(String::new(), |s| format!("-{}-of-{}", s.index, s.count));
    let named = options.journal.is_some();
    let journal = directory.map(|directory| Journal::open(&directory, &share, named));
    let journal = journal.transpose()?;
    if began {
        check(journal.as_ref())?;
    }
    Ok((journal, began))
}

/// The warnings about journal lines that nothing relies on.
fn told(journal: &Journal) -> Vec<Failure> {
    let mut messages = Vec::new();
    match journal.damaged {
        0 => {}
        1 => messages.push((
            Code::Mismatch,
            "a line of the journal is damaged".to_owned(),
        )),
        n => messages.push((
            Code::Mismatch,
            format!("{n} lines of the journal are damaged"),
        )),
    }
    for (version, count) in &journal.others {
        let lines = match count {
            1 => "a line of the journal has".to_owned(),
            n => format!("{n} lines of the journal have"),
        };
        let message = format!("{lines} version {version}, but this program reads version 2");
        messages.push((Code::Unsupported, message));
    }
    for (version, count) in journal.other_programs() {
        let message = format!(
            "imgconv {version} converted {count} of the images in the journal, and this is imgconv {}, \
             whose output may differ",
            journal::PROGRAM,
        );
        messages.push((Code::Unsupported, message));
    }
    let errors = messages.into_iter().map(|(code, message)| {
        Error::new(code, message)
            .at(quote_path(&journal.path))
            .hint("the images and layers of such lines are made once more")
    });
    errors.map(|error| Failure::of(&error)).collect()
}

/// The results for images without a job: images that can't be read, and copies of others.
fn left_over(plan: &Plan, target: &Destination, mine: impl Fn(&str) -> bool) -> Vec<Migrated> {
    let refused = plan.refused.iter().map(|image| (image, Status::Failed));
    let copies = plan.copies.iter().map(|image| (image, Status::LeftOut));
    let all = (plan.jobs.len()..).zip(refused.chain(copies));
    all.filter(|(_, (image, _))| mine(&image.text))
        .map(|(position, (image, status))| Migrated {
            position,
            source: image.text.clone(),
            name: image.name.clone(),
            destination: target.locator.to_string(),
            status,
            digest: None,
            source_bytes: None,
            file_bytes: None,
            error: Some(Failure::of(&image.error)),
            notes: Notes::default(),
            outcomes: sources::empty(),
        })
        .collect()
}

/// Refuses a destination with less room than the source's layers take, without the layers that the
/// journal records as written. The final size is not known; compression makes it smaller.
fn check_space(
    target: &Destination,
    plan: &Plan,
    jobs: &[usize],
    journal: Option<&Journal>,
) -> Result<()> {
    let Some(root) = target.root() else {
        return Ok(());
    };
    let there = root.ancestors().find(|path| path.exists());
    let place = there.filter(|path| !path.as_os_str().is_empty());
    let place = place.unwrap_or(std::path::Path::new("."));
    // If the free space is not known, writing shows whether there is enough.
    let Ok(stat) = rustix::fs::statvfs(place) else {
        return Ok(());
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let jobs = jobs.iter().map(|i| &plan.jobs[*i]);
    let new = jobs.filter(|job| {
        let known = job.key.as_deref().zip(journal);
        known.is_none_or(|(key, journal)| journal.image(key).is_none())
    });
    let needed: u64 = new.map(|job| job.bytes).sum();
    if needed <= free {
        return Ok(());
    }
    let message = format!(
        "the layers have {needed} bytes in the source, but the destination has only {free} free \
         bytes"
    );
    Err(Error::new(Code::Io, message).at(quote_path(root)).hint(
        "`--ignore-space` continues anyway; blobs that the destination has already need no \
             space",
    ))
}
