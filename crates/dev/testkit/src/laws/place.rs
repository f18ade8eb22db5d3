//! The promises of a place to those who read it, and what damaged files of a place may lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use imgconv_model::{
    Blob, Bundle, Code, Digest, Env, Error, Facts, Notes, Platform, Result, Root, RootEntry,
    Transport,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use super::transport::{facts, fails, read, tree};
use crate::{sha256_hex, unprivileged};

/// The most bytes of one blob that the laws read: the images of tests are smaller.
const MOST: u64 = 16 << 20;
/// The size of a file that is larger than every limit on documents, and takes no room on the disk.
const HUGE: u64 = 256 << 20;

/// The message about a stream that goes on: its reader has limits of its own.
const TOO_LARGE: &str = "the blob is larger than any blob of the test";

/// A place with at least one valid image, under the laws of reading.
#[derive(Clone, Debug)]
pub struct Readable<'a> {
    /// The transport.
    pub transport: &'static dyn Transport,
    /// The locator after the scheme.
    pub rest: String,
    /// The files of the place; `None` if the place is a server.
    pub path: Option<&'a Path>,
    /// The settings.
    pub env: Env,
    /// True if the transport recognises the path without a scheme.
    pub recognised: bool,
    /// The names of files whose bytes no digest protects: with a changed byte they may hold another
    /// image.
    pub unprotected: &'a [&'a str],
}

/// One image that was read: its name, its blobs in the order of its documents.
type Found = (Option<String>, Vec<Vec<u8>>);

/// A damage of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Removed,
    Empty,
    Half,
    Folder,
    Pipe,
    /// A symbolic link to a file with the same bytes outside of the place.
    Link,
    Huge,
    /// One byte has changed, at this part of the file, in quarters.
    Flipped(usize),
}

const DAMAGES: [Damage; 11] = [
    Damage::Removed,
    Damage::Empty,
    Damage::Half,
    Damage::Folder,
    Damage::Pipe,
    Damage::Link,
    Damage::Huge,
    Damage::Flipped(0),
    Damage::Flipped(1),
    Damage::Flipped(2),
    Damage::Flipped(4),
];

/// What a damaged place gave: the images that were read, and the errors and warnings.
#[derive(Debug, Default)]
struct Outcome {
    found: Vec<Found>,
    errors: Vec<String>,
    warnings: usize,
}

impl<'a> Readable<'a> {
    /// Makes the law for a place at a local path, whose images are verified by digests.
    ///
    /// # Panics
    /// If the path is not UTF-8.
    pub fn at(transport: &'static dyn Transport, path: &'a Path) -> Self {
        Self {
            transport,
            rest: path.to_str().unwrap().to_owned(),
            path: Some(path),
            env: Env::new(std::env::temp_dir(), Platform::new("linux", "amd64")),
            recognised: true,
            unprotected: &[],
        }
    }

    /// Makes the law for a place on a server.
    pub fn served(transport: &'static dyn Transport, rest: &str, env: Env) -> Self {
        Self {
            transport,
            rest: rest.to_owned(),
            path: None,
            env,
            recognised: true,
            unprotected: &[],
        }
    }

    fn open(&self) -> Result<Box<dyn Bundle>> {
        self.transport.open(&self.rest, &self.env)
    }

    /// Checks the laws of reading.
    ///
    /// # Panics
    /// If a law is broken.
    pub fn keeps_the_laws(&self) {
        let before = self.path.map(tree);
        self.every_entry_is_read_twice_alike();
        self.absent_blobs_are_missing();
        if self.transport.place().writes.is_none() {
            self.writing_is_refused();
        }
        if let Some(path) = self.path {
            assert_eq!(self.transport.recognise(path).unwrap(), self.recognised);
            self.a_missing_place_is_named(path);
            if self.recognised {
                self.a_closed_place_is_not_recognised_as_none(path);
            }
        }
        assert_eq!(before, self.path.map(tree), "reading has changed the place");
    }

    fn every_entry_is_read_twice_alike(&self) {
        let (bundle, again) = (self.open().unwrap(), self.open().unwrap());
        assert!(!bundle.locator().is_empty());
        assert_eq!(bundle.locator(), again.locator());
        let roots = bundle.roots().unwrap();
        assert!(!roots.is_empty(), "the place has no image");
        assert!(bundle.listing().unwrap().len() >= roots.len());
        let shown = |roots: &[RootEntry]| -> Vec<_> {
            let show = |entry: &RootEntry| (entry.position, name(entry), entry.texts.clone());
            roots.iter().map(show).collect()
        };
        assert_eq!(shown(&roots), shown(&bundle.roots().unwrap()));
        assert_eq!(shown(&roots), shown(&again.roots().unwrap()));
        for entry in &roots {
            entry.check().unwrap();
            let image = contents(&*bundle, entry).unwrap();
            assert_eq!(image, contents(&*bundle, entry).unwrap());
            let resolved = bundle.resolve(entry).unwrap();
            let Some(child) = &entry.child else {
                continue;
            };
            assert_eq!(resolved.child.unwrap().digest, child.digest);
            if let Root::Document(document) = bundle.root(entry).unwrap() {
                assert_eq!(facts(&document.bytes), child.facts());
            }
        }
    }

    fn absent_blobs_are_missing(&self) {
        let bundle = self.open().unwrap();
        let absent = facts(b"never stored");
        fails(bundle.blob(&absent).and_then(|b| read(&b)), Code::Missing);
        fails(
            bundle.document("x", &absent, ("manifest", 1 << 20)),
            Code::Missing,
        );
        if bundle.extras().members.is_some() {
            let member = bundle.member("no/such-member", &Facts::default());
            let code = member.unwrap_err().code();
            assert!(matches!(code, Code::Missing | Code::BadName), "{code}");
        }
    }

    fn writing_is_refused(&self) {
        let error = self.transport.create(&self.rest, &self.env).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported, "{error}");
        assert!(
            error.to_string().contains(self.transport.place().scheme),
            "{error}"
        );
        assert!(error.advice().is_some(), "{error}");
    }

    fn a_missing_place_is_named(&self, path: &Path) {
        let missing = path.with_file_name("no-such-place");
        assert!(!self.transport.recognise(&missing).unwrap());
        let error = self
            .transport
            .open(missing.to_str().unwrap(), &self.env)
            .unwrap_err();
        assert_eq!(error.code(), Code::Missing, "{error}");
        assert!(error.to_string().contains("no-such-place"), "{error}");
        assert!(!missing.exists(), "a missing place was made");
    }

    /// A place that the user may not open, or not even look up, is an error with the path and the cause. A
    /// place whose kind is known without that may be recognised.
    fn a_closed_place_is_not_recognised_as_none(&self, path: &Path) {
        let closed = tempfile::tempdir().unwrap();
        let link = closed.path().join("link");
        symlink(fs::canonicalize(path).unwrap(), &link).unwrap();
        let ask = |closed: &Path, path: &Path| {
            let before = fs::metadata(closed).unwrap().permissions();
            fs::set_permissions(closed, fs::Permissions::from_mode(0o0)).unwrap();
            let recognised = unprivileged(|| self.transport.recognise(path));
            fs::set_permissions(closed, before).unwrap();
            recognised
        };
        let of_place = ask(path, path);
        let of_name = ask(closed.path(), &link);
        assert!(of_name.is_err());
        for (recognised, path) in [(of_place, path), (of_name, &link)] {
            let error = match recognised {
                Ok(recognised) => {
                    assert!(recognised, "{} is closed", path.display());
                    continue;
                }
                Err(error) => error,
            };
            assert_eq!(error.code(), Code::Io);
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            assert!(text.contains("Permission denied"), "{text}");
        }
    }

    /// Replaces each file of the place in turn by nothing, an empty file, half of the file, a
    /// directory, a FIFO, a link out of the place, a huge file, and the file with one changed byte.
    /// Each image is the same as before then, or there is an error that names the file. A place
    /// that hangs, as one that opens a FIFO, is stopped by the runner of the tests.
    ///
    /// # Panics
    /// If the law is broken; all breaches are listed.
    pub fn survives_damage(&self) {
        let path = self.path.expect("a server has no files to damage");
        let before = self.outcome();
        assert_eq!(before.errors, Vec::<String>::new());
        let single = path.is_file();
        let files = match single {
            true => vec![path.to_owned()],
            false => files(path),
        };
        let aside = tempfile::tempdir_in(path.parent().unwrap()).unwrap();
        let aside = aside.path().join("original");
        let mut breaches = Vec::new();
        for file in files {
            let shown = file.strip_prefix(path.parent().unwrap()).unwrap();
            fs::rename(&file, &aside).unwrap();
            let mut needed = true;
            for damage in DAMAGES {
                // The path that the user gives may be a link or a pipe.
                if single && matches!(damage, Damage::Pipe | Damage::Link) {
                    continue;
                }
                damage.apply(&aside, &file);
                let outcome = catch_unwind(AssertUnwindSafe(|| self.outcome()));
                let mut breach = |what: String| {
                    breaches.push(format!("{} {damage:?}: {what}", shown.display()));
                };
                match outcome {
                    Err(_) => breach("a panic".to_owned()),
                    Ok(after) => {
                        if damage == Damage::Removed {
                            needed = after.found != before.found || !after.errors.is_empty();
                        }
                        for what in self.judge(&before, &after, damage, needed, shown) {
                            breach(what);
                        }
                    }
                }
                remove(&file);
            }
            fs::rename(&aside, &file).unwrap();
        }
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        assert_eq!(self.outcome().found, before.found);
    }

    /// Reads everything.
    fn outcome(&self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut env = self.env.clone();
        env.notes = Notes::default();
        match self.transport.open(&self.rest, &env).and_then(|bundle| {
            let roots = bundle.roots()?;
            Ok((bundle, roots))
        }) {
            Err(error) => outcome.errors.push(text(&error)),
            Ok((bundle, roots)) => {
                for entry in roots {
                    let image = entry.check().and_then(|()| contents(&*bundle, &entry));
                    match image {
                        Ok(image) => outcome.found.push((name(&entry), image)),
                        Err(error) => outcome.errors.push(text(&error)),
                    }
                }
            }
        }
        outcome.found.sort();
        let report = env.notes.take();
        outcome.warnings = report.warnings.len() + report.losses.len();
        outcome
    }

    /// Names everything that is wrong with an outcome.
    fn judge(
        &self,
        before: &Outcome,
        after: &Outcome,
        damage: Damage,
        needed: bool,
        file: &Path,
    ) -> Vec<String> {
        let mut breaches = Vec::new();
        let own = file.file_name().and_then(|name| name.to_str());
        let protected = !self.unprotected.iter().any(|name| own == Some(name));
        let known: BTreeSet<&Vec<Vec<u8>>> = before.found.iter().map(|(_, image)| image).collect();
        let named: BTreeSet<&Found> = before.found.iter().collect();
        for found in &after.found {
            if protected && !known.contains(&found.1) {
                breaches.push(format!("another image, {:?}", found.0));
            } else if protected
                && !matches!(damage, Damage::Flipped(_))
                // An image that lost its tag is named by its digest.
                && found.0.as_ref().is_some_and(|name| !name.contains('@'))
                && !named.contains(found)
            {
                breaches.push(format!("another name, {:?}", found.0));
            }
        }
        let quiet = after.errors.is_empty() && after.warnings == 0;
        let gone = before.found.len() > after.found.len();
        if quiet && gone {
            breaches.push("an image is gone without a word".to_owned());
        }
        if quiet && needed && damage == Damage::Link && after.found == before.found {
            breaches.push("a link out of the place was followed".to_owned());
        }
        // A reference to another file is all that a changed byte or a missing list may show.
        let vague = matches!(damage, Damage::Flipped(_) | Damage::Removed);
        for error in &after.errors {
            if !vague && !error.contains(TOO_LARGE) && !names_file(error, file) {
                breaches.push(format!("the error does not name the file: {error}"));
            }
        }
        breaches
    }
}

impl Damage {
    /// Puts a damaged copy of a file to its place.
    fn apply(self, original: &Path, file: &Path) {
        let bytes = || fs::read(original).unwrap();
        match self {
            Self::Removed => {}
            Self::Empty => fs::write(file, b"").unwrap(),
            Self::Half => {
                let bytes = bytes();
                fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
            }
            Self::Folder => fs::create_dir(file).unwrap(),
            Self::Pipe => {
                mknodat(CWD, file, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
            }
            Self::Link => symlink(original, file).unwrap(),
            Self::Huge => {
                fs::write(file, bytes()).unwrap();
                File::options()
                    .write(true)
                    .open(file)
                    .unwrap()
                    .set_len(HUGE)
                    .unwrap();
            }
            Self::Flipped(quarter) => {
                let mut bytes = bytes();
                let last = bytes.len().saturating_sub(1);
                if let Some(byte) = bytes.get_mut(last * quarter / 4) {
                    *byte ^= 1;
                }
                fs::write(file, bytes).unwrap();
            }
        }
    }
}

fn remove(path: &Path) {
    let gone = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    gone.unwrap();
}

/// Lists the files below a directory, in order; a file with several names counts once.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            match kind {
                kind if kind.is_dir() => open.push(path),
                kind if kind.is_file() => found.push(path),
                kind => assert!(!kind.is_socket() && !kind.is_fifo()),
            }
        }
    }
    found.sort();
    found
}

fn text(error: &Error) -> String {
    format!(
        "{error} [{}] {}",
        error.code(),
        error.advice().unwrap_or_default()
    )
}

/// Says whether an error names a file: by its name, or by a part of its path that is a digest or an
/// ID, perhaps in the short form.
fn names_file(error: &str, file: &Path) -> bool {
    let own = file.file_name().unwrap().to_str().unwrap();
    if own.len() > 3 && error.contains(own) {
        return true;
    }
    let parts = file.iter().filter_map(|part| part.to_str());
    let mut ids = parts.filter(|part| part.len() >= 24);
    ids.any(|part| error.contains(&part[part.len() - 24..]) || error.contains(&part[..12]))
        || error.contains(&format!("{}/{own}", parent(file)))
        || error.contains(&format!("\"{own}\""))
        || error.contains(&format!("/{own}\""))
}

fn parent(file: &Path) -> &str {
    let name = file.parent().and_then(Path::file_name);
    name.and_then(|name| name.to_str()).unwrap_or_default()
}

fn name(entry: &RootEntry) -> Option<String> {
    entry.name.as_ref().map(ToString::to_string)
}

/// Reads a blob that is no larger than those of tests.
fn bounded(blob: &Blob) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = blob.open()?.take(MOST + 1);
    reader.read_to_end(&mut bytes).map_err(Error::from_io)?;
    match bytes.len() as u64 > MOST {
        true => Err(Error::new(Code::Limit, TOO_LARGE).at(format!("{:?}", blob.facts.digest))),
        false => Ok(bytes),
    }
}

/// Reads an entry with everything that its documents refer to by descriptors or by the names of
/// members. A layer whose diff ID in the config differs is an error, as it is in a conversion.
///
/// # Errors
/// The first error of the place.
pub(super) fn contents(bundle: &dyn Bundle, entry: &RootEntry) -> Result<Vec<Vec<u8>>> {
    let document = match bundle.root(entry)? {
        Root::Stream(blob) => return Ok(vec![bounded(&blob)?]),
        Root::Document(document) => document,
    };
    let value: Value = serde_json::from_slice(&document.bytes).unwrap_or_default();
    let mut members = Vec::new();
    names_in(&value, &mut members);
    if bundle.extras().members.is_some() && !members.is_empty() {
        let mut blobs = Vec::new();
        for name in &members {
            let blob = bundle.member(name, &Facts::default())?;
            blobs.push(bounded(&blob).map_err(|error| error.at(name.clone()))?);
        }
        check_diff_ids(&members, &blobs)?;
        return Ok(blobs);
    }
    let mut blobs = vec![document.bytes.to_vec()];
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        let mut found = BTreeMap::new();
        descriptors(&value, &mut found);
        for (digest, Described { kind, size }) in found {
            let facts = Facts {
                digest: Some(digest),
                size,
            };
            // A registry has manifests and blobs at different places.
            let bytes = match is_manifest(&kind) {
                true => bundle
                    .document(&kind, &facts, ("manifest", MOST))?
                    .bytes
                    .to_vec(),
                false => bounded(&bundle.blob(&facts)?)?,
            };
            open.extend(serde_json::from_slice(&bytes).ok());
            blobs.push(bytes);
        }
    }
    Ok(blobs)
}

/// Collects the names of the members of an image, the config first.
fn names_in(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for key in ["Config", "layer", "Layers"] {
                match map.get(key) {
                    Some(Value::String(name)) => names.push(name.clone()),
                    Some(Value::Array(list)) => {
                        names.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => {}
                }
            }
            let rest = map.iter().filter(|(key, _)| *key != "Config");
            rest.for_each(|(_, value)| names_in(value, names));
        }
        Value::Array(list) => list.iter().for_each(|value| names_in(value, names)),
        _ => {}
    }
}

fn check_diff_ids(names: &[String], blobs: &[Vec<u8>]) -> Result<()> {
    let config: Value = serde_json::from_slice(&blobs[0]).unwrap_or_default();
    let ids = config["rootfs"]["diff_ids"].as_array().cloned();
    let layers = names.iter().zip(blobs).skip(1);
    for (id, (name, bytes)) in ids.into_iter().flatten().zip(layers) {
        let found = format!("sha256:{}", sha256_hex(bytes));
        if id.as_str() != Some(&found) {
            let expected = id.as_str().unwrap_or_default();
            return Err(Error::mismatch("diff ID", expected, found).at(name.clone()));
        }
    }
    Ok(())
}

/// The type and the size in a descriptor.
struct Described {
    kind: String,
    size: Option<u64>,
}

/// Says whether a media type is one of manifests and indexes, of OCI or of Docker.
fn is_manifest(kind: &str) -> bool {
    kind.contains(".manifest.") || kind.contains(".index.")
}

/// Collects the descriptors of a document.
fn descriptors(value: &Value, found: &mut BTreeMap<Digest, Described>) {
    match value {
        Value::Object(map) => {
            if let Some(digest) = map.get("digest").and_then(Value::as_str)
                && let Ok(digest) = Digest::parse(digest)
            {
                let kind = map.get("mediaType").and_then(Value::as_str);
                let described = Described {
                    kind: kind.unwrap_or_default().to_owned(),
                    size: map.get("size").and_then(Value::as_u64),
                };
                found.insert(digest, described);
            }
            map.values().for_each(|value| descriptors(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| descriptors(value, found)),
        _ => {}
    }
}
