//! A folder of images: every image, archive, layout or store below it, as if the folder were one
//! place.
//!
//! The bytes of a file decide its kind, by the catalog: therefore this transport is here and not
//! beside the others, which depend neither on each other nor on any format.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_file::FileBundle;
use imgconv_format_aci::Aci;
use imgconv_fs::{is_directory, or_nothing};
use imgconv_model::{
    Addressing, Blob, Bundle, Code, Digest, Document, Env, Error, Extras, Facts, FormatFamily,
    ListNotes, Parts, Place, Result, Root, RootEntry, Shape, States, StreamFormat as _, TopLevel,
    Transport, quote_path,
};
use walkdir::WalkDir;

/// The depth to which a folder is searched.
const DEPTH: usize = 16;
/// The most places that are open at a time, whatever the number of threads.
const OPEN: usize = 16;
/// The most files and folders that are examined to recognise a folder.
const LOOKED_AT: usize = 4096;

/// Returns the files below a folder whose names end with `.json`: some may be image tags.
pub fn json_files(root: &Path) -> impl Iterator<Item = PathBuf> {
    let walk = WalkDir::new(root).follow_root_links(true).max_depth(DEPTH);
    walk.into_iter()
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
}

/// The facts of a folder with any images.
static TREE_PLACE: Place = Place {
    scheme: "tree",
    syntax: "tree:PATH[:REF]",
    about: "all ACIs, archives, layouts and stores below a folder (read only)",
    shape: Shape::Directory,
    addressing: Addressing::Reference,
    any_file: false,
    layout: false,
    families: &[],
    writes: None,
};

/// The facts of a folder from which only ACIs are read.
static ACI_TREE_PLACE: Place = Place {
    scheme: "aci-tree",
    syntax: "aci-tree:PATH[:REF]",
    about: "all ACIs below a folder, found by content (read only)",
    families: &[FormatFamily::Aci],
    ..TREE_PLACE
};

/// Returns the transports that may read the files below a folder; trees among them are passed over.
pub type Transports = fn() -> &'static [&'static dyn Transport];

/// A folder with images.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// Read ACIs only, and not everything below the folder.
    pub acis_only: bool,
    /// The transports, passed in by the catalog: the catalog lists trees, so trees can't depend on
    /// it.
    pub transports: Transports,
}

impl Transport for Tree {
    fn place(&self) -> &'static Place {
        match self.acis_only {
            true => &ACI_TREE_PLACE,
            false => &TREE_PLACE,
        }
    }

    /// Says whether there is any place below a folder. A bare path always means all of it.
    fn recognise(&self, path: &Path) -> Result<bool> {
        if self.acis_only || !is_directory(path)? {
            return Ok(false);
        }
        let mut failed = Ok(false);
        for found in self.walk(path).take(LOOKED_AT).flatten() {
            match or_nothing(found.transport.map(Some)) {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {}
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(Folder::open(*self, rest, env)?))
    }
}

/// A place or an unreadable file below a folder.
#[derive(Debug)]
struct Found {
    path: String,
    /// The transport of a place that has images; the error of a file or folder that can't be examined.
    transport: Result<&'static dyn Transport>,
}

impl Found {
    fn unreadable(path: &Path, error: Error) -> Self {
        let path = path.to_string_lossy().into_owned();
        let transport = Err(error);
        Self { path, transport }
    }
}

impl Tree {
    /// Examines every file and folder below a folder, sorted; `None` stands for anything but a
    /// place. Symbolic links are not followed, and a directory that is a place is not searched. A directory of which
    /// a part can't be examined is told as unreadable and searched: it may hold images beside that part.
    fn walk(self, root: &Path) -> impl Iterator<Item = Option<Found>> {
        let mut walk = WalkDir::new(root)
            .sort_by_file_name()
            .follow_root_links(true)
            .max_depth(DEPTH)
            .into_iter();
        // The directory that is listed now, and whether it was told as unreadable.
        let mut listed = (root.to_owned(), false);
        std::iter::from_fn(move || {
            let entry = match walk.next()? {
                Ok(entry) => entry,
                // A file system's own folder, which only root can list.
                Err(error) if error.path().is_some_and(is_lost_and_found) => return Some(None),
                Err(error) => {
                    // An error in the middle of a directory names no path. It comes right after the directory,
                    // because the names are sorted before any of them is told.
                    let path = error.path().unwrap_or(&listed.0).to_owned();
                    if listed == (path.clone(), true) {
                        return Some(None);
                    }
                    let error = Error::io(cause(error), quote_path(&path));
                    return Some(Some(Found::unreadable(&path, error)));
                }
            };
            let found = self.look(&entry);
            if entry.file_type().is_dir() {
                let is_partly_closed = |found: &Found| {
                    let failed = matches!(&found.transport, Err(error) if error.code() == Code::Io);
                    failed && can_be_searched(entry.path())
                };
                listed = (entry.path().to_owned(), found.is_some());
                if !found.as_ref().is_none_or(is_partly_closed) {
                    walk.skip_current_dir();
                }
            }
            Some(found)
        })
    }

    fn look(self, entry: &walkdir::DirEntry) -> Option<Found> {
        let path = entry.path();
        let kind = entry.file_type();
        let unreadable = |code, message: String| {
            let error = Error::new(code, message).at(quote_path(path));
            Some(Found::unreadable(path, error))
        };
        if entry.depth() == 0 && kind.is_dir() || !kind.is_dir() && !kind.is_file() {
            return None;
        }
        let place = match self.recognised(path, kind.is_dir()) {
            Err(_) if is_lost_and_found(path) => return None,
            Err(error) => return Some(Found::unreadable(path, error)),
            Ok(place) => place,
        };
        match (path.to_str(), place) {
            (Some(path), Some(transport)) => Some(Found {
                path: path.to_owned(),
                transport: Ok(transport),
            }),
            (None, Some(_)) => {
                let message = "the name of the file is not UTF-8".to_owned();
                unreadable(Code::BadName, message)
            }
            (_, None) if kind.is_dir() && entry.depth() == DEPTH => {
                let message = format!(
                    "folders are searched to a depth of {DEPTH}, and this folder is deeper"
                );
                unreadable(Code::Limit, message)
            }
            // A damaged ACI must not pass for a file of another kind.
            (_, None) if kind.is_file() && is_called_aci(path) => {
                let message = "the file is called an ACI, but is none, or is damaged";
                unreadable(Code::BadTar, message.to_owned())
            }
            (_, None) => None,
        }
    }

    /// Returns the transport that recognises a path.
    fn recognised(self, path: &Path, directory: bool) -> Result<Option<&'static dyn Transport>> {
        for transport in (self.transports)() {
            let place = transport.place();
            if *place == TREE_PLACE
                || *place == ACI_TREE_PLACE
                || self.acis_only && !place.any_file
                || !transport.recognise(path)?
            {
                continue;
            }
            // The transport for plain files recognises any file, so only ACIs are accepted for it.
            let accepted = directory || !place.any_file || is_aci(path)?;
            return Ok(accepted.then_some(*transport));
        }
        Ok(None)
    }
}

/// Returns the error of the system in an error of a walk, whose own form has no number.
fn cause(error: walkdir::Error) -> io::Error {
    let number = error.io_error().and_then(io::Error::raw_os_error);
    number.map_or_else(|| error.into(), io::Error::from_raw_os_error)
}

/// Says whether the names in a directory can be looked up.
fn can_be_searched(directory: &Path) -> bool {
    is_directory(&directory.join(".")).is_ok_and(|found| found)
}

fn is_lost_and_found(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "lost+found")
}

fn is_called_aci(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("aci"))
}

fn is_aci(path: &Path) -> Result<bool> {
    let root = || -> Result<Option<Root>> {
        // A name that is not UTF-8 is told when the file is an ACI.
        let Some(text) = path.to_str() else {
            return Ok(None);
        };
        let bundle = FileBundle::open(text)?;
        let entry = bundle.roots()?.pop();
        entry.map(|entry| bundle.root(&entry)).transpose()
    };
    let root = or_nothing(root())?;
    Ok(matches!(root, Some(Root::Stream(stream)) if Aci.recognise(&stream)))
}

/// A place that is open, or being opened.
type Slot = Arc<Mutex<Option<Arc<dyn Bundle>>>>;

/// A folder that is read.
#[derive(Debug)]
struct Folder {
    locator: String,
    found: Vec<Found>,
    /// The entries; `inner` has for each the position of its place, and its entry there.
    roots: Vec<RootEntry>,
    inner: Vec<(usize, RootEntry)>,
    /// The own fields of the places' lists, by place, with the place's locator; lists without such
    /// fields are left out.
    top_levels: BTreeMap<usize, (String, TopLevel)>,
    /// The most recently opened places, the latest first.
    opened: Mutex<Vec<(usize, Slot)>>,
    env: Env,
}

impl Folder {
    fn open(tree: Tree, rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("{}:{rest}", tree.place().scheme);
        let root = Path::new(rest);
        if !is_directory(root)? {
            return Err(Error::new(Code::Missing, "no such directory").at(locator));
        }
        let mut folder = Self {
            locator,
            found: Vec::new(),
            roots: Vec::new(),
            inner: Vec::new(),
            top_levels: BTreeMap::new(),
            opened: Mutex::default(),
            env: env.clone(),
        };
        for found in tree.walk(root) {
            env.check_cancelled()?;
            folder.found.extend(found);
        }
        for place in 0..folder.found.len() {
            env.check_cancelled()?;
            folder.list(place, root);
        }
        Ok(folder)
    }

    /// Lists the entries of a place; an error of the place is reported when an entry is read.
    fn list(&mut self, place: usize, root: &Path) {
        let path = Path::new(&self.found[place].path);
        let relative = path.strip_prefix(root).unwrap_or(path);
        let relative = relative.to_string_lossy().into_owned();
        let one = RootEntry::only(None);
        let opened = self.place(place);
        if let Ok(bundle) = &opened {
            let top_level = bundle.top_level();
            if top_level != TopLevel::default() {
                self.top_levels.insert(place, (bundle.locator(), top_level));
            }
        }
        let entries = opened.and_then(|bundle| bundle.roots());
        for inner in entries.unwrap_or_else(|_| vec![one]) {
            let mut entry = inner.clone();
            entry.position = self.roots.len();
            entry.texts.insert(0, relative.clone());
            self.roots.push(entry);
            self.inner.push((place, inner));
        }
    }

    /// Opens a place. Only the most recent places stay open, one for each thread, however many
    /// there are.
    fn place(&self, place: usize) -> Result<Arc<dyn Bundle>> {
        let slot = {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = match opened.iter().position(|(known, _)| *known == place) {
                Some(at) => opened.remove(at).1,
                None => Slot::default(),
            };
            let most = self.env.jobs.clamp(1, OPEN);
            opened.truncate(most - 1);
            opened.insert(0, (place, Arc::clone(&slot)));
            slot
        };
        // The first thread opens the place, and other threads that need it wait.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bundle) = &*slot {
            return Ok(Arc::clone(bundle));
        }
        let found = &self.found[place];
        let transport = found.transport.as_ref().map_err(Error::again)?;
        let bundle: Arc<dyn Bundle> = Arc::from(transport.open(&found.path, &self.env)?);
        *slot = Some(Arc::clone(&bundle));
        Ok(bundle)
    }

    /// Asks one place after the other for data with a known digest.
    fn first<T>(&self, facts: &Facts, ask: impl Fn(&dyn Bundle) -> Result<T>) -> Result<T> {
        for place in 0..self.found.len() {
            self.env.check_cancelled()?;
            let Ok(bundle) = self.place(place) else {
                continue;
            };
            match ask(&*bundle) {
                Err(error) if matches!(error.code(), Code::Missing | Code::Unsupported) => {}
                other => return other,
            }
        }
        let digest = facts
            .digest
            .as_ref()
            .map_or(String::new(), Digest::to_string);
        let message = format!("no place in the folder has the blob {digest}");
        Err(Error::new(Code::Missing, message).at(self.locator.clone()))
    }
}

impl Bundle for Folder {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(self.roots.clone())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        match self.part(entry)? {
            Some((bundle, inner)) => bundle.root(&inner),
            None => Err(Error::new(Code::Missing, "the entry does not exist")),
        }
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        self.first(facts, |bundle| bundle.document(kind, facts, limit))
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        self.first(facts, |bundle| bundle.blob(facts))
    }

    fn extras(&self) -> Extras<'_> {
        // Questions about an entry go to the place that holds it; other questions have no answer
        // here.
        Extras {
            listing: None,
            members: None,
            extracted: None,
            parts: Some(self),
            top_level: None,
            list_notes: Some(self),
            states: Some(self),
            stored: None,
            signed: None,
            whole: None,
            fetched: None,
            read_by: None,
            summaries: None,
            referrers: None,
            repositories: None,
            partial: false,
        }
    }
}

impl Parts for Folder {
    fn part(&self, entry: &RootEntry) -> Result<Option<(Arc<dyn Bundle>, RootEntry)>> {
        let Some((place, inner)) = self.inner.get(entry.position) else {
            return Ok(None);
        };
        Ok(Some((self.place(*place)?, inner.clone())))
    }

    /// The own fields of the lists of the places that hold the entries; of all places, also of
    /// those without entries, if the entries are all there are.
    fn top_levels(&self, entries: &[RootEntry]) -> Vec<(String, TopLevel)> {
        let places = entries
            .iter()
            .filter_map(|entry| self.inner.get(entry.position));
        let places: BTreeSet<usize> = places.map(|(place, _)| *place).collect();
        let all = entries.len() == self.roots.len();
        let wanted = |place: &usize| all || places.contains(place);
        let found = self.top_levels.iter().filter(|(place, _)| wanted(place));
        found.map(|(_, found)| found.clone()).collect()
    }
}

impl ListNotes for Folder {
    fn bad_name(&self, entry: &RootEntry) -> Option<Error> {
        let (bundle, inner) = self.part(entry).ok()??;
        bundle.bad_name(&inner)
    }

    fn duplicate_listings(&self, entry: &RootEntry) -> Vec<String> {
        let part = self.part(entry).ok().flatten();
        part.map_or_else(Vec::new, |(bundle, inner)| {
            bundle.duplicate_listings(&inner)
        })
    }

    fn is_unusable_record(&self, entry: &RootEntry) -> bool {
        let part = self.part(entry).ok().flatten();
        part.is_some_and(|(bundle, inner)| bundle.is_unusable_record(&inner))
    }
}

impl States for Folder {
    fn state(&self, entry: &RootEntry) -> Result<Option<String>> {
        match self.part(entry)? {
            Some((bundle, inner)) => bundle.state(&inner),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use imgconv_testkit::unprivileged;

    use super::*;

    static TRANSPORTS: [&dyn Transport; 2] = [
        &imgconv_transport_oci_layout::OCI_LAYOUT,
        &imgconv_transport_docker_root::DOCKER_ROOT,
    ];
    const TREE: Tree = Tree {
        acis_only: false,
        transports: || &TRANSPORTS,
    };

    /// Runs as a user who can't use a path with this mode.
    fn with_mode<T: Send>(path: &Path, mode: u32, run: impl FnOnce() -> T + Send) -> T {
        let set = |mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        set(mode);
        let found = unprivileged(run);
        set(0o700);
        found
    }

    #[test]
    fn k50_a_folder_that_cannot_be_listed_is_an_error_with_the_cause() {
        let folder = tempfile::tempdir().unwrap();
        let error = with_mode(folder.path(), 0o300, || TREE.recognise(folder.path()));
        let text = error.unwrap_err().to_string();
        let expected = format!(
            "{}: Permission denied (os error 13)",
            quote_path(folder.path())
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn k50_a_folder_of_which_a_part_is_closed_is_searched_and_each_error_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // The directory `image` may be a part of docker's data root.
        fs::create_dir_all(at("sub/image")).unwrap();
        fs::create_dir_all(at("sub/layout/blobs")).unwrap();
        fs::write(
            at("sub/layout/oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        fs::write(at("sub/layout/index.json"), "{}").unwrap();
        let list = || {
            let found = TREE.walk(folder.path()).flatten();
            let shown = found.map(|found| {
                let relative = Path::new(&found.path).strip_prefix(folder.path());
                let relative = relative.unwrap().display().to_string();
                let kind = found.transport.map(|transport| transport.place().scheme);
                (relative, kind.map_err(|error| error.to_string()))
            });
            shown.collect::<Vec<_>>()
        };
        for mode in [0, 0o444] {
            let found = with_mode(&at("sub/image"), mode, list);
            let failed = found.iter().filter(|(_, kind)| kind.is_err());
            let failed: Vec<&str> = failed.map(|(path, _)| &**path).collect();
            assert_eq!(failed, ["sub", "sub/image"], "{mode:o}: {found:?}");
            let layout = ("sub/layout".to_owned(), Ok("oci"));
            assert!(found.contains(&layout), "{found:?}");
        }
        // The names in the folder itself can't be looked up.
        let found = with_mode(&at("sub"), 0o444, list);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
