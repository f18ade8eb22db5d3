//! Where a migration writes: one layout, a layout for each repository, a folder of archives or of
//! ACIs, a registry, or a running engine.
//!
//! A destination decides which images go to one place together, and under which names. It does not
//! look at the images.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use imgconv_fs::{Directory, Stage, is_directory, metadata, parent, sweep, sync_directory};
use imgconv_model::{
    Algorithm, BundleSink, Code, Digest, Env, Error, Name, Names, Publication, Report, Result,
    Root, Shape, Transport as _, quote, quote_path,
};
use imgconv_transport_oci_layout::{LayoutSink, Link, Sharing};
use imgconv_transport_registry::{Location, REGISTRY};

use imgconv_convert::options::Options;
use imgconv_locate::locator::Locator;

use super::journal::{Kept, SIGNATURE, own_directory};

/// The kind of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One layout.
    Layout,
    /// A directory with a layout for each repository.
    Layouts,
    /// A directory with an archive for each image.
    Archives,
    /// A directory of ACIs.
    Acis,
    /// A site for appc discovery: ACIs that are made beside the journal, and published together.
    Site,
    /// A registry: a repository for each name.
    Registry,
    /// An engine, which loads image by image.
    Engine,
}

/// The directory of the journal, in the destination.
const DIRECTORY: &str = ".imgconv-migrate";
/// The pool of blobs of many layouts, beside the journal.
const POOL: &str = "blobs";
/// Where the ACIs of a site are made, beside the journal.
const ACIS: &str = "acis";

/// Where a migration writes.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) kind: Kind,
    pub(super) locator: Locator,
}

impl Destination {
    /// Reads a destination.
    ///
    /// # Errors
    /// [`Code::Usage`] if it can't hold many images.
    pub(super) fn new(locator: &Locator, split: bool, site: bool) -> Result<Self> {
        let place = locator.transport.place();
        let usage = |message: String, hint: &str| {
            let error = Error::new(Code::Usage, message).at(locator.to_string());
            Err(error.hint(hint))
        };
        if let Some(reference) = &locator.reference {
            let message = format!("{reference} names one image, but a migration copies many");
            return usage(message, "`--rename` gives images other names");
        }
        let kind = match (place.names(), place.shape) {
            (Some(Names::Tags), Shape::Directory) if split => Kind::Layouts,
            (Some(Names::Tags), Shape::Directory) => Kind::Layout,
            (Some(Names::Location), _) => Kind::Registry,
            (Some(Names::Repositories), Shape::Server) => Kind::Engine,
            (Some(Names::Repositories), _) => Kind::Archives,
            (Some(Names::Image), _) if site && locator.location != "-" => Kind::Site,
            (Some(Names::Image), _)
                if locator.location != "-" && !locator.location.ends_with(".aci") =>
            {
                Kind::Acis
            }
            _ => {
                let message = format!("`{}:` can't hold the images of a store", place.scheme);
                let hint = "`oci:DIR`, `docker-archive:DIR/`, `aci:DIR/`, \
                            `docker://HOST/PREFIX` and `docker-daemon:` can";
                return usage(message, hint);
            }
        };
        if split && kind != Kind::Layouts {
            let message = "`--split repo` is for layouts; other places need no split";
            return usage(message.to_owned(), "write to `oci:DIR`");
        }
        if site && kind != Kind::Site {
            let message = "`--site` is for ACIs".to_owned();
            return usage(message, "write to `aci:DIR/`");
        }
        if kind == Kind::Registry {
            let location = Location::parse(&locator.location)?;
            if location.tag.is_some() || location.digest.is_some() {
                let message = "a tag names one image, but a migration copies many".to_owned();
                return usage(message, "write to `docker://HOST/PREFIX`");
            }
        }
        let locator = locator.clone();
        Ok(Self { kind, locator })
    }

    /// The directory that holds everything; `None` for a registry and an engine.
    pub(super) fn root(&self) -> Option<&Path> {
        let elsewhere = matches!(self.kind, Kind::Registry | Kind::Engine);
        (!elsewhere).then(|| Path::new(&self.locator.location))
    }

    /// The default directory of the journal.
    pub(super) fn journal(&self) -> Option<PathBuf> {
        Some(self.root()?.join(DIRECTORY))
    }

    /// Lets layouts share blobs by a pool beside the journal, unless the user named another pool or
    /// wants copies.
    pub(super) fn share(&self, sharing: &mut Sharing) {
        if self.kind == Kind::Layouts && sharing.pool.is_none() && sharing.link != Link::Copy {
            sharing.pool = self.journal().map(|journal| journal.join(POOL));
        }
    }

    /// Says whether one sink writes all images of a place, which then appear together.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Layout | Kind::Layouts)
    }

    /// Says whether images become files in one directory that get their names from the images.
    pub(super) fn has_files(&self) -> bool {
        matches!(self.kind, Kind::Acis | Kind::Site)
    }

    /// Says whether an image is a file of its own, or several, and shares no layer with another image.
    pub(super) fn has_whole_files(&self) -> bool {
        self.has_files() || self.kind == Kind::Archives
    }

    /// Returns the name of an image at the destination. `text` is its name in the store.
    ///
    /// # Errors
    /// [`Code::BadName`] if the destination can't hold the name.
    pub(super) fn name(&self, name: Option<&Name>, text: &str) -> Result<Option<Name>> {
        if self.kind != Kind::Registry {
            return Ok(name.cloned());
        }
        let nameless = || {
            let message = format!("{} has no name in the registry", quote(text));
            Error::new(Code::BadName, message).hint(
                "`--rename 'REGEX=REPLACEMENT'` gives the image a name, `--exclude` leaves the \
                 image out",
            )
        };
        let reference = name
            .and_then(|name| name.to_full_reference(&mut Report::default()))
            .ok_or_else(nameless)?;
        let (_, path) = reference.split_once('/').ok_or_else(nameless)?;
        let prefix = self.locator.location.trim_start_matches('/');
        let name = Name::parse_reference(&format!("{}/{path}", prefix.trim_end_matches('/')))?;
        Ok(Some(name))
    }

    /// Returns the place, below the destination, that images of this name share.
    pub(super) fn place(&self, name: Option<&Name>) -> String {
        let repository = name.and_then(|name| name.repository.clone());
        match self.kind {
            Kind::Layout | Kind::Acis | Kind::Archives | Kind::Site | Kind::Engine => String::new(),
            Kind::Layouts => {
                repository.map_or_else(|| "%unnamed".to_owned(), |name| directory_name(&name))
            }
            Kind::Registry => repository.unwrap_or_default(),
        }
    }

    /// Returns the locator of a place; `file` is the name of an archive.
    pub(super) fn locator_of(&self, place: &str, file: &str) -> Locator {
        let root = &self.locator.location;
        let below = |name: &str| Path::new(root).join(name).to_string_lossy().into_owned();
        let location = match self.kind {
            Kind::Layout | Kind::Engine => root.clone(),
            Kind::Layouts => below(place),
            Kind::Acis => format!("{}/", root.trim_end_matches('/')),
            Kind::Site => format!("{}/", below(&format!("{DIRECTORY}/{ACIS}"))),
            Kind::Archives => below(file),
            Kind::Registry => format!("//{place}"),
        };
        Locator {
            location,
            ..self.locator.clone()
        }
    }

    /// Returns the text for the place of an image of this name, for reports.
    pub(super) fn text(&self, place: &Locator, name: Option<&str>) -> String {
        match (self.kind, name) {
            (Kind::Layout | Kind::Layouts, Some(name)) => format!("{place}:{name}"),
            (Kind::Registry, Some(name)) => format!("docker://{name}"),
            (Kind::Engine, Some(name)) => format!("{place}{name}"),
            _ => place.to_string(),
        }
    }

    /// Makes the directory that holds everything.
    ///
    /// # Errors
    /// If the directory can't be made, or something else is there.
    pub(super) fn prepare(&self, env: &Env) -> Result<()> {
        let Some(root) = self.root() else {
            return Ok(());
        };
        let at = || quote_path(root);
        // A directory that is no layout, and not empty, is refused before anything is written to
        // it.
        let exists = metadata(root)?.is_some();
        if self.kind == Kind::Layout && exists {
            drop(LayoutSink::create(&self.locator.location, env)?);
        }
        // Where every file is there already, no sink is opened that would do this.
        if self.has_whole_files() && exists {
            sweep(root, Stage::PREFIX, env);
        }
        let made = match fs::create_dir(root) {
            Ok(()) => sync_directory(parent(root)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Error::io(error, at())),
        };
        match made {
            Err(error) => Err(error),
            _ if !is_directory(root)? => Err(Error::new(Code::Io, "not a directory").at(at())),
            _ if self.kind == Kind::Layouts => own_directory(&root.join(DIRECTORY)).map(drop),
            _ if self.kind == Kind::Site => {
                own_directory(&root.join(DIRECTORY))?;
                own_directory(&root.join(DIRECTORY).join(ACIS)).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Says whether the files in a journal are those that an image of this name would have here: in
    /// the same places, and with the digests of the publications.
    pub(super) fn fits(
        &self,
        place: &str,
        name: &str,
        publications: &[Publication],
        files: &[Kept],
    ) -> bool {
        let digest = |kept: &Kept| kept.digest.as_deref().and_then(|d| Digest::parse(d).ok());
        let acis = match self.kind {
            Kind::Site => format!("{DIRECTORY}/{ACIS}/"),
            _ => String::new(),
        };
        match self.kind {
            Kind::Layout | Kind::Layouts => {
                let own = |kept: &Kept| {
                    digest(kept).is_some_and(|digest| kept.path == blob_path(place, &digest))
                };
                let has = |publication: &Publication| {
                    let mut all = files.iter();
                    all.any(|kept| digest(kept) == Some(publication.root.digest))
                };
                files.iter().all(own) && publications.iter().all(has)
            }
            Kind::Acis | Kind::Site => {
                let fits = |(kept, publication): (&Kept, &Publication)| {
                    let name = kept.path.strip_prefix(&*acis);
                    let plain = name.is_some_and(|name| !name.contains('/'));
                    let same = publication
                        .file_name
                        .as_deref()
                        .is_none_or(|own| name == Some(own));
                    plain && same && digest(kept) == Some(publication.root.digest)
                };
                let (images, signatures): (Vec<&Kept>, Vec<&Kept>) =
                    files.iter().partition(|kept| !kept.is_signature());
                let beside = |kept: &&Kept| {
                    let mut images = images.iter();
                    images.any(|image| kept.path == format!("{}{SIGNATURE}", image.path))
                };
                images.len() == publications.len()
                    && images.iter().copied().zip(publications).all(fits)
                    && signatures.iter().all(beside)
            }
            Kind::Archives => matches!(files, [one] if one.path == archive_name(name)),
            Kind::Registry | Kind::Engine => files.is_empty(),
        }
    }

    /// Opens a blob that was written to a layout, or to the pool of several.
    ///
    /// # Errors
    /// If the blob can't be opened.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<File>> {
        let (true, Some(root)) = (self.is_shared(), self.root()) else {
            return Ok(None);
        };
        let path = match blob_path("", digest) {
            path if self.kind == Kind::Layout => path,
            path => format!("{DIRECTORY}/{POOL}/{}", path.trim_start_matches("blobs/")),
        };
        Ok(Directory::open(root)?.file(&path)?.map(|(file, _)| file))
    }

    /// Opens a place for writing.
    ///
    /// # Errors
    /// If the place can't be written.
    pub(super) fn open(
        &self,
        locator: &Locator,
        options: &Options,
        env: &Env,
    ) -> Result<Box<dyn BundleSink>> {
        if self.is_shared() {
            let sink = LayoutSink::growing(&locator.location, env)?;
            let sink = sink.with_ref_name(options.ref_name);
            return Ok(Box::new(sink.with_sharing(&options.sharing)?));
        }
        locator.transport.create(&locator.location, env)
    }

    /// Looks at a file that was written: a blob of a layout, or a whole image.
    ///
    /// # Errors
    /// If the file is not there.
    pub(super) fn kept(&self, place: &str, digest: &Digest, size: u64) -> Result<Option<Kept>> {
        let (true, Some(root)) = (self.is_shared(), self.root()) else {
            return Ok(None);
        };
        Kept::look(root, blob_path(place, digest), digest, size).map(Some)
    }

    /// Says whether a registry has a pushed image, under a tag or by its digest alone. An engine is
    /// not asked: its images may change under their names, so each is loaded again.
    ///
    /// # Errors
    /// If the registry can't be asked.
    pub(super) fn has_tag(
        &self,
        place: &str,
        tag: Option<&str>,
        digest: &Digest,
        env: &Env,
    ) -> Result<bool> {
        if self.kind == Kind::Engine {
            return Ok(false);
        }
        let place = match tag {
            Some(tag) => format!("//{place}:{tag}"),
            None => format!("//{place}@{digest}"),
        };
        let bundle = REGISTRY.open(&place, env)?;
        for entry in bundle.roots()? {
            let entry = bundle.resolve(&entry)?;
            let Some(child) = &entry.child else { continue };
            if child.digest == *digest {
                return Ok(true);
            }
            // A registry may list a tag's image under another digest.
            if child.digest.algorithm() != digest.algorithm()
                && let Root::Document(document) = bundle.root(&entry)?
                && imgconv_stream::digest(digest.algorithm(), &document.bytes) == *digest
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The path of a blob in the layout of a place, below the destination.
fn blob_path(place: &str, digest: &Digest) -> String {
    let path = format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex());
    match place {
        "" => path,
        place => format!("{place}/{path}"),
    }
}

/// The directory of a repository: `/` becomes `+`, which no repository name contains; characters
/// that a file system might misread become `%` and two digits. Different repositories have
/// different directories.
fn directory_name(repository: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-~".contains(&byte);
    let mut name = String::new();
    for byte in repository.bytes() {
        match byte {
            b'/' => name.push('+'),
            b'.' if name.is_empty() => name.push_str("%2E"),
            byte if plain(byte) => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() <= 200 {
        return name;
    }
    let digest = imgconv_stream::digest(Algorithm::Sha256, repository.as_bytes());
    format!("{}%{}", &name[..180], &digest.hex()[..12])
}

/// The file of an archive: named like the directory of a repository, with `@` before the tag.
pub(super) fn archive_name(name: &str) -> String {
    let stem = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains(['/', '@']) && !repository.contains('@') => {
            format!("{}@{}", directory_name(repository), directory_name(tag))
        }
        _ => directory_name(name),
    };
    format!("{stem}.tar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_repository_has_a_directory_of_its_own() {
        for (repository, directory) in [
            ("docker.io/library/my-app", "docker.io+library+my-app"),
            ("localhost:5000/a_b", "localhost%3A5000+a_b"),
            ("../x", "%2E.+x"),
            ("A/b", "%41+b"),
            ("example.com/~user/app", "example.com+~user+app"),
        ] {
            assert_eq!(directory_name(repository), directory);
        }
        assert_eq!(
            archive_name("example.com:80/a:1.0"),
            "example.com%3A80+a@1.0.tar"
        );
        assert_eq!(archive_name("a@sha256:12"), "a%40sha256%3A12.tar");
        let [a, b] = ["a", "b"].map(|end| directory_name(&format!("{}{end}", "x".repeat(250))));
        assert_ne!(a, b);
        assert!(a.len() <= 200 && b.len() <= 200);
    }
}
