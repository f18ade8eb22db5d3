//! Running the jobs of a plan: several images at a time, each recorded in the journal when it is
//! complete at the destination.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use imgconv_fs::jobs_within_limit;
use imgconv_model::{
    BundleSink, Child, Code, Digest, Env, Error, Event, Format, FormatId, Phase, Publication,
    Report, Result, TopLevel,
};
use imgconv_pipeline::{Done as Layers, Sealer};
use imgconv_stream::Pool;
use imgconv_tags::Labels;
use imgconv_transport_oci_layout::lists;
use serde_json::value::{RawValue, to_raw_value};

use imgconv_convert::{
    Item,
    choose::{
        candidates::Candidates,
        dependencies,
        platforms::{is_wanted, nearest},
        request::{Request, target},
        signing::SCHEMA1,
    },
    descriptors::{self, Room},
    expect::expect,
    name_roots, not_held, note_digests,
    options::Options,
    outcome::ImageOutcome,
    plan::{data::Plan as ConversionPlan, plan},
    read::{
        cosign::Signed, node::ImageNode, root::SourceRoot, search::lose_unread, source::Source,
        spec::spec_of,
    },
    refuse_losses, room, signatures, tell_removed, write,
};
use imgconv_locate::locator::Locator;
use imgconv_publish::publish::PublishedFile;

use super::{
    destination::{Destination, Kind, archive_name},
    journal::{Done, Journal, Kept},
    memory::Remembered,
    plan::{Job, Plan, decoded, text},
    report::{Failure, Migrated, Notes, Status, have_lost, lack_record},
    sources::{empty, unnamed, with_sources},
    watch::{Repository, Whereabouts},
};

/// The work on a share: its jobs, and where they are read from and written to.
pub(super) struct Worker<'a> {
    pub(super) source: &'a Source,
    pub(super) destination: &'a Destination,
    pub(super) options: &'a Options,
    pub(super) env: &'a Env,
    pub(super) pool: &'a Pool,
    pub(super) plan: &'a Plan,
    /// Positions in the plan.
    pub(super) jobs: &'a [usize],
    pub(super) journal: Option<Arc<Journal>>,
    /// The warnings about images that lost a name in a layout.
    pub(super) moved: &'a imgconv_model::Notes,
    pub(super) state: State<'a>,
}

/// What the jobs of a share have in common while they are done.
#[derive(Default)]
pub(super) struct State<'a> {
    places: BTreeMap<&'a str, Place>,
    /// The written layers, in all places.
    layers: Arc<Layers>,
    /// The own fields of the source's list; `lost` are those that the destination can't hold.
    top_level: TopLevel,
    lost: Report,
    elsewhere: Whereabouts,
    /// The files that were checked, with the result: true if a file is as the journal records it.
    standing: Mutex<BTreeMap<String, bool>>,
    next: AtomicUsize,
    stop: AtomicBool,
    results: Mutex<BTreeMap<usize, Migrated>>,
    /// The files of the images, by job.
    files: Mutex<BTreeMap<usize, Files>>,
    /// The error that ended the work early.
    stopped: Mutex<Option<Error>>,
}

/// The files of an image, for a site.
pub(super) struct Files {
    pub(super) acis: Vec<PublishedFile>,
    /// The image tags for the file: repository, tag and labels.
    pub(super) tags: Vec<(String, String, Labels)>,
}

/// A place that several images go to.
#[derive(Default)]
struct Place {
    /// The number of jobs that are left.
    left: AtomicUsize,
    /// The sink that the jobs share, while it is open.
    sink: Mutex<Option<Shared>>,
    /// The publications, by job.
    publications: Mutex<BTreeMap<usize, Vec<Publication>>>,
}

/// A sink that several threads write to, and the last of them commits.
type Shared = Arc<Box<dyn BundleSink>>;

/// The open sink of a job.
enum Opened {
    /// The sink of all jobs of a place.
    Shared(Shared),
    /// A sink of the job alone.
    Own(Box<dyn BundleSink>),
}

impl Opened {
    fn sink(&self) -> &dyn BundleSink {
        match self {
            Self::Shared(sink) => &***sink,
            Self::Own(sink) => &**sink,
        }
    }
}

impl<'a> State<'a> {
    /// The state before the first job.
    pub(super) fn new(
        source: &Source,
        destination: &Destination,
        (plan, jobs): (&'a Plan, &[usize]),
        journal: Option<&Arc<Journal>>,
        env: &Env,
    ) -> Self {
        let room = match destination.kind {
            Kind::Layouts => Room::None(
                "the field describes the whole source, and the source becomes several layouts",
            ),
            _ => room(&destination.locator, env),
        };
        let (top_level, lost) = descriptors::top_level([source], &room);
        let layers = match journal {
            None => Layers::default(),
            Some(journal) => Layers::remembering(Arc::new(Remembered {
                journal: Arc::clone(journal),
                destination: destination.clone(),
                env: env.clone(),
            })),
        };
        let mut places: BTreeMap<&str, Place> = BTreeMap::new();
        for i in jobs {
            let place = places.entry(&*plan.jobs[*i].place).or_default();
            *place.left.get_mut() += 1;
        }
        Self {
            places,
            layers: Arc::new(layers),
            top_level,
            lost,
            ..Self::default()
        }
    }
}

impl Worker<'_> {
    /// Runs all jobs; returns the result and the files of each, in their order, and the error that
    /// ended the work early.
    pub(super) fn run(self) -> (Vec<Migrated>, Vec<Files>, Option<Error>) {
        thread::scope(|scope| {
            for _ in 1..self.workers() {
                scope.spawn(|| self.work());
            }
            self.work();
        });
        let mut results = lock(&self.state.results);
        for i in self.jobs {
            results.entry(*i).or_insert_with(|| self.planned(*i));
        }
        let images = std::mem::take(&mut *results).into_values().collect();
        drop(results);
        let stopped = lock(&self.state.stopped).take();
        // A cancelled run reports the cancellation, whatever error the workers saw.
        let stopped = stopped.or_else(|| self.env.check_cancelled().err());
        let files = std::mem::take(&mut *lock(&self.state.files));
        (images, files.into_values().collect(), stopped)
    }

    fn work(&self) {
        let mut candidates = None;
        loop {
            let at = self.state.next.fetch_add(1, Ordering::Relaxed);
            let Some(i) = self.jobs.get(at).copied() else {
                return;
            };
            if self.state.stop.load(Ordering::Relaxed) {
                return;
            }
            let job = &self.plan.jobs[i];
            let result = self.job(i, job, &mut candidates);
            let result = result.unwrap_or_else(|error| {
                let failed = self.unwritten(i, Status::Failed, &error);
                self.end_if_fatal(error);
                failed
            });
            if self.env.check_cancelled().is_err() && result.status == Status::Failed {
                // A job that an interruption ended has not failed.
                return;
            }
            let status = result.status.to_string();
            lock(&self.state.results).insert(i, result);
            self.env.progress.event(Event::Image {
                name: &job.name,
                status: &status,
                bytes: job.bytes,
            });
            self.leave(&job.place);
        }
    }

    /// Ends the work if the run was cancelled, or every other image would fail with the same error.
    fn end_if_fatal(&self, error: Error) {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let is_full = kind_of(&error)
            .is_some_and(|kind| [QuotaExceeded, ReadOnlyFilesystem, StorageFull].contains(&kind));
        if error.code() == Code::Cancelled || is_full {
            self.state.stop.store(true, Ordering::Relaxed);
            lock(&self.state.stopped).get_or_insert(error);
        }
    }

    /// The result of a job that is planned only.
    fn planned(&self, i: usize) -> Migrated {
        let job = &self.plan.jobs[i];
        let place = self.locator_of(job);
        Migrated {
            position: i,
            source: job.text.clone(),
            name: job.name.clone(),
            destination: self.destination.text(&place, Some(&job.name)),
            status: Status::Planned,
            digest: None,
            source_bytes: Some(job.bytes),
            file_bytes: None,
            error: None,
            notes: Notes::default(),
            outcomes: empty(),
        }
    }

    /// The result of a job that wrote nothing.
    fn unwritten(&self, i: usize, status: Status, error: &Error) -> Migrated {
        Migrated {
            status,
            error: Some(Failure::of(error)),
            ..self.planned(i)
        }
    }

    /// The result of a job with outcomes; the digest is that of its first root.
    fn result(
        &self,
        i: usize,
        status: Status,
        outcomes: Box<RawValue>,
        digest: Option<Digest>,
    ) -> Migrated {
        Migrated {
            status,
            digest: digest.map(|digest| digest.to_string()),
            notes: Notes::of(&outcomes),
            outcomes,
            ..self.planned(i)
        }
    }

    /// Runs one job, unless an earlier run did. `candidates` are the dependencies that a thread has
    /// found.
    fn job(&self, i: usize, job: &Job, candidates: &mut Option<Candidates>) -> Result<Migrated> {
        self.env.check_cancelled()?;
        if let Some(done) = self.done_before(job)? {
            let publications = done.publications()?;
            let outcomes = self.told_again(job, &done.outcomes);
            return Ok(self.finished(i, Status::Kept, done, publications, outcomes));
        }
        let locator = self.locator_of(job);
        let (mut roots, mut options) = (self.roots(job)?, self.options.clone());
        options.platforms = nearest(&options.platforms, &roots);
        let target = match target(&locator, &roots)? {
            // The format that replaces schema 1 where a registry refuses it.
            own if own.id() == SCHEMA1 && self.is_refused(&locator) => {
                Format::Documents(&imgconv_format_docker_v2s2::DOCKER_V2S2)
            }
            own => own,
        };
        let env = &self.lanes().for_image(&job.name);
        let request = Request::new(target, &locator, &options, env)?;
        if target.id() != FormatId::ACI {
            let store = &*self.source.bundle;
            dependencies::render_in_store(&mut roots, store, candidates, &options, env)?;
        }
        // Losses of the whole list are reported with the first job.
        let mut lost = match self.jobs.first() == Some(&i) {
            true => self.state.lost.clone(),
            false => Report::default(),
        };
        let wanted = |image: &ImageNode, listed: Option<&Child>| {
            is_wanted(&options.platforms, &spec_of(image, listed))
        };
        lose_unread(&job.unread, &roots, &wanted, options.exact, &mut lost)?;
        let plan = plan(&roots, &request, lost)?;
        // If the images are not wanted, that is the reason why nothing is written.
        let has_images = roots.iter().any(|root| !root.platforms().is_empty());
        let nothing = |items: &[Item], left: &Report| {
            // Referrers alone are left out with their image.
            let mut images = items.iter().flat_map(|item| &item.images);
            let is_left_out = match has_images {
                true => images.all(|image| image.platform.is_none()),
                false => items.is_empty(),
            };
            is_left_out.then(|| {
                let unwanted = Error::new(Code::Missing, "no image of a platform that is wanted");
                let why = not_held(left).filter(|_| !has_images).unwrap_or(unwanted);
                self.unwritten(i, Status::LeftOut, &why)
            })
        };
        if options.strict || options.dry_run {
            let expected = expect(&plan, &request)?;
            if options.strict {
                refuse_losses(&expected.items)?;
            }
            if options.dry_run {
                if let Some(left_out) = nothing(&expected.items, &expected.left_behind) {
                    return Ok(left_out);
                }
                let outcomes = self.outcomes(&expected.items, &locator);
                return Ok(self.result(i, Status::Planned, outcomes, None));
            }
        }
        self.write(i, &locator, plan, &request, &nothing)
    }

    /// Writes a planned job, and records it. `nothing` returns the result if no image is written.
    fn write(
        &self,
        i: usize,
        locator: &Locator,
        plan: ConversionPlan<'_>,
        request: &Request<'_>,
        nothing: &dyn Fn(&[Item], &Report) -> Option<Migrated>,
    ) -> Result<Migrated> {
        let (job, options, env) = (&self.plan.jobs[i], request.options, request.env);
        let opened = match self.destination.is_shared() {
            true => Opened::Shared(self.shared(job, locator)?),
            false => Opened::Own(self.destination.open(locator, options, env)?),
        };
        let sink = opened.sink();
        sink.comes_from(&self.source.text);
        let repository = Repository {
            inner: sink,
            elsewhere: &self.state.elsewhere,
        };
        let target: &dyn BundleSink = match self.destination.kind {
            Kind::Registry => &repository,
            _ => sink,
        };
        let place = write::Destination {
            sink: target,
            sealer: &Sealer::new(target, self.pool).sharing(&self.state.layers),
            pool: self.pool,
        };
        let written = write::write(&plan, request, &place)?;
        let mut items = written.items;
        name_roots(sink, &mut items, options)?;
        if options.strict {
            refuse_losses(&items)?;
        }
        if let Some(left_out) = nothing(&items, &written.left_behind) {
            return Ok(left_out);
        }
        env.check_cancelled()?;
        let publications = items.iter().map(|item| item.publication.clone());
        let mut publications: Vec<Publication> = publications.collect();
        let files = match opened {
            Opened::Shared(sink) => {
                sink.settle()?;
                note_digests(&mut items, &publications);
                self.files(job, &written.stored)?
            }
            Opened::Own(sink) => {
                self.announce(locator, &publications)?;
                let before = signatures(&items, locator);
                let places = sink.finish(&mut publications)?;
                tell_removed(&mut items, &places, &before);
                note_digests(&mut items, &publications);
                for (digest, _) in written.stored {
                    self.state.elsewhere.note(digest, &job.place);
                }
                let exact = items
                    .iter()
                    .map(|item| item.images.iter().any(|image| image.exact));
                let exact: Vec<bool> = exact.collect();
                self.images(locator, &publications, (&places, &exact))?
            }
        };
        let outcomes = self.outcomes(&items, locator);
        let unsaid = self.unsaid(job, &outcomes);
        let done = Done::new(&publications, files, unsaid, plan.tagged);
        if let (Some(journal), Some(key)) = (&self.journal, &job.key) {
            journal.note_image(key, &done)?;
            // A run that can't ask for referrers keeps what this one made with them.
            if let Some(key) = job.key_of_images.as_ref()
                && job.has_about
                && job.unread.is_empty()
            {
                journal.note_image(key, &done)?;
            }
        }
        Ok(self.finished(i, Status::Done, &done, publications, outcomes))
    }

    /// Records the files of a job in the journal before they are written, unless they are recorded or stand there.
    fn announce(&self, locator: &Locator, publications: &[Publication]) -> Result<()> {
        let (Some(journal), Some(root)) = (&self.journal, self.destination.root()) else {
            return Ok(());
        };
        let place = Path::new(&locator.location);
        let paths: Vec<PathBuf> = match self.destination.kind {
            Kind::Archives => vec![place.to_owned()],
            Kind::Acis => {
                let names = publications.iter().filter_map(|one| one.file_name.as_ref());
                names.map(|name| place.join(name)).collect()
            }
            Kind::Site | Kind::Layout | Kind::Layouts | Kind::Registry | Kind::Engine => Vec::new(),
        };
        for path in paths {
            if self.env.places.keeps(&path) && !imgconv_fs::is_there(&path)? {
                journal.note_file(root, &path)?;
            }
        }
        Ok(())
    }

    /// The result of a job whose images are at the destination. Records the publications, which become
    /// visible when all images of their place are done, and the files, for a site.
    fn finished(
        &self,
        i: usize,
        status: Status,
        done: &Done,
        publications: Vec<Publication>,
        outcomes: Box<RawValue>,
    ) -> Migrated {
        let root = publications.first().map(|one| one.root.digest);
        if self.destination.is_shared() {
            let place = &self.state.places[&*self.plan.jobs[i].place];
            lock(&place.publications).insert(i, publications);
        }
        if let (Kind::Site, Some(root)) = (self.destination.kind, self.destination.root()) {
            let anew = have_lost(&done.outcomes, "signature");
            let files = done.files.iter().filter(|file| !file.is_signature());
            let acis = files.enumerate().map(|(i, file)| PublishedFile {
                path: root.join(&file.path),
                signs_anew: anew.get(i).copied().unwrap_or_default(),
            });
            let (acis, tags) = (acis.collect(), done.tags.clone());
            lock(&self.state.files).insert(i, Files { acis, tags });
        }
        // The bytes of the files, where an image is a file of its own.
        let images = done.files.iter().filter(|file| !file.is_signature());
        let sizes = images.map(|file| file.size);
        Migrated {
            file_bytes: self.destination.has_whole_files().then(|| sizes.sum()),
            ..self.result(i, status, outcomes, root)
        }
    }

    /// The locator of the output of a job.
    fn locator_of(&self, job: &Job) -> Locator {
        let file = archive_name(&job.name);
        self.destination.locator_of(&job.place, &file)
    }

    /// Returns the journal's record of a job, if all of its files still exist unchanged.
    fn done_before(&self, job: &Job) -> Result<Option<&Done>> {
        // An image that an earlier run made with all referrers is not replaced by the image without them.
        if !job.unread.is_empty()
            && let Some(done) = self.done_as(job, job.key_of_images.as_ref())?
        {
            return Ok(Some(done));
        }
        self.done_as(job, job.key.as_ref())
    }

    /// Returns the journal's record of a job under a key of the job.
    fn done_as(&self, job: &Job, key: Option<&String>) -> Result<Option<&Done>> {
        let (Some(journal), Some(key)) = (&self.journal, key) else {
            return Ok(None);
        };
        let Some(done) = journal.image(key).filter(|done| self.fits(job, done)) else {
            return Ok(None);
        };
        // A record that could not be read may have been repaired since.
        let still: Vec<&str> = job.unread.iter().map(|unread| &*unread.field).collect();
        if lack_record(&done.outcomes, &still) {
            return Ok(None);
        }
        let standing = match self.destination.root() {
            Some(root) => done.files.iter().all(|file| {
                if let Some(known) = lock(&self.state.standing).get(&file.path) {
                    return *known;
                }
                let stands = file.stands(root);
                lock(&self.state.standing).insert(file.path.clone(), stands);
                stands
            }),
            None => self.stands_in_registry(job, done)?,
        };
        Ok(standing.then_some(done))
    }

    /// Says whether the journal's record of a job is plausible: something is published, under names
    /// of the job, and the files are those that such images have here.
    fn fits(&self, job: &Job, done: &Done) -> bool {
        let Ok(publications) = done.publications() else {
            return false;
        };
        let by_name = !self.destination.has_files();
        let known = |publication: &Publication| {
            let name = publication.name.as_ref();
            name.is_none_or(|name| job.names.is_empty() || job.names.contains(name))
        };
        !publications.is_empty()
            && (!by_name || publications.iter().all(known))
            && self
                .destination
                .fits(&job.place, &job.name, &publications, &done.files)
    }

    /// The outcomes of an image without places of the source, for the journal: other users may be
    /// able to read the destination.
    fn unsaid(&self, job: &Job, outcomes: &RawValue) -> Box<RawValue> {
        let mut names = BTreeMap::new();
        for (i, (position, _)) in job.entries.iter().enumerate() {
            let known = names.entry(self.text_of(*position));
            known.or_insert_with(|| unnamed(i));
        }
        with_sources(outcomes, &names)
    }

    /// The recorded outcomes of an image, with the places of the source.
    fn told_again(&self, job: &Job, outcomes: &RawValue) -> Box<RawValue> {
        let both = job.entries.iter().enumerate();
        let names = both.map(|(i, (position, _))| (unnamed(i), self.text_of(*position)));
        with_sources(outcomes, &names.collect())
    }

    fn text_of(&self, position: usize) -> String {
        text(self.source, self.plan.entry(self.source, position))
    }

    fn stands_in_registry(&self, job: &Job, done: &Done) -> Result<bool> {
        for publication in done.publications()? {
            let digest = publication.root.digest;
            // A referrer has no name, and is found by its digest.
            let name = publication.name.filter(|name| !name.is_by_digest());
            let tag = name
                .as_ref()
                .map(|name| name.tag.as_deref().unwrap_or("latest"));
            let there = self.destination.has_tag(&job.place, tag, &digest, self.env);
            match there {
                Ok(true) => {}
                Err(error) if error.code() == Code::Cancelled => return Err(error),
                // Pushing will show the error.
                Ok(false) | Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Says whether a registry would refuse schema 1: a manifest has to be signed for the name that
    /// it gets, and most registries no longer accept schema 1.
    fn is_refused(&self, locator: &Locator) -> bool {
        let asked = locator.format.is_some() || self.options.sign_key.is_some();
        self.destination.kind == Kind::Registry && !asked
    }

    /// Decodes the entries of a job.
    fn roots(&self, job: &Job) -> Result<Vec<SourceRoot<'_>>> {
        let mut memo = self.source.memo();
        let mut signed = Signed::default();
        let root = |(position, renamed): &(usize, Option<imgconv_model::Name>)| {
            let entry = self.plan.entry(self.source, *position);
            let mut root = decoded(self.source, entry, self.env, &mut memo)?;
            root.find_signed(&mut signed, self.env)?;
            root.renamed.clone_from(renamed);
            Ok(root)
        };
        job.entries.iter().map(root).collect()
    }

    /// The number of images that are done at once. A registry takes twice as many as there are threads, because
    /// most of the time of an upload is the wait for answers.
    fn workers(&self) -> usize {
        let jobs = self.env.jobs.max(1);
        let most = match self.destination.kind {
            Kind::Registry if jobs > 1 => jobs_within_limit(2 * jobs),
            _ => jobs,
        };
        most.min(self.jobs.len())
    }

    /// The environment of one image: the threads are divided among the workers.
    fn lanes(&self) -> Env {
        Env {
            jobs: self.env.jobs.max(1).div_ceil(self.workers()),
            ..self.env.clone()
        }
    }

    /// Returns the sink that the images of a place share.
    fn shared(&self, job: &Job, locator: &Locator) -> Result<Shared> {
        let mut open = lock(&self.state.places[&*job.place].sink);
        if let Some(sink) = &*open {
            return Ok(Arc::clone(sink));
        }
        let sink = Arc::new(self.open(locator)?);
        *open = Some(Arc::clone(&sink));
        Ok(sink)
    }

    fn open(&self, locator: &Locator) -> Result<Box<dyn BundleSink>> {
        let env = self.env.with_notes(self.moved);
        let mut sink = self.destination.open(locator, self.options, &env)?;
        if self.destination.kind == Kind::Layout {
            sink.set_top_level(self.state.top_level.clone());
        }
        Ok(sink)
    }

    /// Ends a job: the last job of a place makes its images visible.
    fn leave(&self, name: &str) {
        let place = &self.state.places[name];
        if place.left.fetch_sub(1, Ordering::AcqRel) > 1
            || !self.destination.is_shared()
            || self.options.dry_run
        {
            return;
        }
        if let Err(error) = self.commit(name, place) {
            let failure = Failure::of(&error);
            let mut results = lock(&self.state.results);
            for i in lock(&place.publications).keys() {
                if let Some(told) = results.get_mut(i) {
                    told.status = Status::Failed;
                    told.error = Some(failure.clone());
                }
            }
            drop(results);
            self.end_if_fatal(error);
        }
    }

    fn commit(&self, name: &str, place: &Place) -> Result<()> {
        self.env.check_cancelled()?;
        let publications: Vec<Publication> = lock(&place.publications)
            .values()
            .flatten()
            .cloned()
            .collect();
        if publications.is_empty() {
            return Ok(());
        }
        if self.state.places.len() == 1 {
            self.env.phase(Phase::Committing);
        }
        let opened = lock(&place.sink).take();
        let locator = self.destination.locator_of(name, "");
        let ref_name = self.options.ref_name;
        if opened.is_none() && lists(&locator.location, &publications, ref_name, self.env)? {
            return Ok(());
        }
        let sink = match opened {
            Some(shared) => Arc::try_unwrap(shared).map_err(|_| {
                Error::new(Code::Io, "an image of this place is still being written")
            })?,
            // All images were there already; opening the place shows whether they are listed.
            None => self.open(&locator)?,
        };
        sink.commit(&publications).map(drop)
    }

    /// The outcomes of the images of a job.
    fn outcomes(&self, items: &[Item], locator: &Locator) -> Box<RawValue> {
        let mut all: Vec<ImageOutcome> = items.iter().flat_map(|i| i.images.clone()).collect();
        for image in &mut all {
            image.destination = self.destination.text(locator, image.name.as_deref());
        }
        to_raw_value(&all).expect("outcomes are text, numbers and lists")
    }

    /// Describes the blobs of an image in a layout.
    fn files(&self, job: &Job, stored: &BTreeSet<(Digest, u64)>) -> Result<Vec<Kept>> {
        let mut files = Vec::new();
        for (digest, size) in stored {
            match self.destination.kept(&job.place, digest, *size) {
                Ok(kept) => files.extend(kept),
                // A foreign layer is listed, and not stored.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Describes the files of an image: ACIs and the signatures beside those that are restored exactly, or an archive.
    fn images(
        &self,
        locator: &Locator,
        publications: &[Publication],
        (places, exact): (&[String], &[bool]),
    ) -> Result<Vec<Kept>> {
        let Some(root) = self.destination.root() else {
            return Ok(Vec::new());
        };
        let below = |path: &str| {
            let path = Path::new(path).strip_prefix(root).ok()?;
            Some(path.to_string_lossy().into_owned())
        };
        if self.destination.kind == Kind::Archives {
            let path = below(&locator.location).into_iter();
            return path.map(|path| Kept::look_at(root, path)).collect();
        }
        let both = publications.iter().zip(places);
        let found = both.filter_map(|(publication, place)| Some((publication, below(place)?)));
        let mut files = found
            .map(|(publication, path)| {
                Kept::look(root, path, &publication.root.digest, publication.root.size)
            })
            .collect::<Result<Vec<Kept>>>()?;
        for (place, _) in places.iter().zip(exact).filter(|(_, exact)| **exact) {
            if let Some(path) = below(place) {
                files.extend(Kept::look_at_signature(root, &path, &self.env.limits)?);
            }
        }
        Ok(files)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kind_of(error: &Error) -> Option<io::ErrorKind> {
    error.cause().map(io::Error::kind)
}

fn is_absent(error: &Error) -> bool {
    kind_of(error) == Some(io::ErrorKind::NotFound)
}
