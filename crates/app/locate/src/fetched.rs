//! Files that were fetched from a server: the transport that reads them, and their verification.
//!
//! A transport that fetches a file does not know the file's format. If the file is an archive, the
//! local transport for such archives reads the copy; an ACI is read from the fetched file itself,
//! after its signature was verified.

use std::path::Path;

use imgconv_file::{FileBundle, from_pipe};
use imgconv_format_aci::Manifest;
use imgconv_model::{
    Blob, Bundle, Code, Document, Env, Error, Extras, Facts, Fetched, Place, Reader, Result, Root,
    RootEntry, Shape, Signature, quote,
};
use imgconv_openpgp::Verified;
use imgconv_stream::Cancellable;

use crate::{
    catalog,
    locator::{Locator, is_fifo, neighbour},
};

/// Opens a place, local or on a server.
pub fn open(locator: &Locator, env: &Env) -> Result<Box<dyn Bundle>> {
    if let Some(stream) = stream(locator, env)? {
        return open_copy(stream, locator, env);
    }
    refuse_archive(locator, &locator.location)?;
    let opened = locator.transport.open(&locator.location, env);
    let bundle = opened.map_err(|error| advised(locator.advise(error), locator))?;
    // A file with a name of appc is an ACI, and must be verified before any of its bytes are used.
    let Some(fetched) = bundle.fetched().filter(|fetched| fetched.name.is_none()) else {
        return Ok(bundle);
    };
    // A file that is a whole image is read from the fetched copy, and named by its URL.
    let reader = catalog::transport_of(&fetched.path)?.filter(|reader| !reader.place().any_file);
    let (Some(reader), Some(path)) = (reader, fetched.path.to_str()) else {
        return Ok(bundle);
    };
    let opened = reader.open(path, env);
    let archive = opened.map_err(|error| error.at(bundle.locator()))?;
    Ok(Box::new(FetchedArchive {
        read_by: reader.place(),
        fetched: bundle,
        archive,
    }))
}

/// Copies the contents of a pipe, where a locator means a pipe that no transport reads itself.
fn stream(locator: &Locator, env: &Env) -> Result<Option<FileBundle>> {
    let (place, location) = (locator.transport.place(), &*locator.location);
    let takes_any = place.any_file || catalog::said_by(place).is_some();
    let is_input = location == "-" && takes_any;
    match is_input || place.shape == Shape::File && is_fifo(location)? {
        true => from_pipe(location, env).map(Some),
        false => Ok(None),
    }
}

/// Opens the copy of a stream: by the named transport, or by the one that recognises the bytes, as
/// for a bare path (robustness K23).
fn open_copy(stream: FileBundle, locator: &Locator, env: &Env) -> Result<Box<dyn Bundle>> {
    let path = stream.copy_path();
    let Some(path) = path.as_deref().and_then(Path::to_str) else {
        return Ok(Box::new(stream));
    };
    refuse_archive(locator, path)?;
    let said = Some(locator.transport).filter(|said| !said.place().any_file);
    let reader = match said {
        Some(said) => Some(said),
        None => catalog::transport_of(Path::new(path))?,
    };
    let Some(reader) = reader.filter(|reader| !reader.place().any_file) else {
        return Ok(Box::new(stream));
    };
    let copied = Locator {
        transport: reader,
        location: path.to_owned(),
        ..locator.clone()
    };
    let archive = reader
        .open(path, env)
        .map_err(|error| advised(error, &copied).at(locator.location.clone()))?;
    Ok(Box::new(FetchedArchive {
        read_by: reader.place(),
        fetched: Box::new(stream),
        archive,
    }))
}

/// Refuses an archive of images in a place that takes every tar for one image. `path` is where the bytes
/// of the place are.
///
/// # Errors
/// [`Code::Mismatch`] with the scheme that reads the archive, and if the file can't be examined.
fn refuse_archive(locator: &Locator, path: &str) -> Result<()> {
    let path = Path::new(path);
    let Some(said) = catalog::said_by(locator.transport.place()) else {
        return Ok(());
    };
    if !imgconv_fs::is_file(path)? {
        return Ok(());
    }
    let transports = catalog::TRANSPORTS.iter();
    let archives = transports.filter(|it| !it.place().any_file);
    let Some(archive) = catalog::first_of(archives, path)? else {
        return Ok(());
    };
    let scheme = archive.place().scheme;
    let found = format!("an archive of images ({scheme})");
    Err(Error::mismatch("the format", said, found)
        .at(quote(&locator.location))
        .hint(format!("`{scheme}:{}` reads it", locator.location)))
}

/// Adds advice about the transport that can read a place, where the named transport can't.
fn advised(error: Error, locator: &Locator) -> Error {
    let (said, path) = (locator.transport.place(), Path::new(&locator.location));
    if error.advice().is_some() || !said.is_local() {
        return error;
    }
    if locator.location == "-" {
        return error.hint("`-` without a scheme is recognised by its bytes");
    }
    if let Some(hint) = imgconv_transport_docker_archive::unpacked(path) {
        return error.hint(hint);
    }
    // An error here would hide the error that the advice is for.
    match catalog::transport_of(path).ok().flatten() {
        Some(found) if found.place() != said && !found.place().any_file => {
            let hint = format!("`{}:` reads this place", found.place().scheme);
            error.hint(hint)
        }
        _ => match neighbour(&locator.location) {
            Some(hint) => error.hint(hint),
            None => error,
        },
    }
}

/// An archive that was fetched, or came out of a pipe, and that its own transport reads.
#[derive(Debug)]
struct FetchedArchive {
    /// The kind of place that the file is.
    read_by: &'static Place,
    /// The file, which must exist as long as the archive is read.
    fetched: Box<dyn Bundle>,
    archive: Box<dyn Bundle>,
}

impl Bundle for FetchedArchive {
    fn locator(&self) -> String {
        self.fetched.locator()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        self.archive.roots()
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        self.archive.root(entry)
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        self.archive.document(kind, facts, limit)
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        self.archive.blob(facts)
    }

    /// The archive answers for the contents, and the file for its origin.
    fn extras(&self) -> Extras<'_> {
        let Extras {
            listing,
            members,
            extracted,
            parts,
            top_level,
            list_notes,
            states,
            stored,
            signed: _,
            whole,
            fetched: _,
            read_by: _,
            summaries: _,
            referrers,
            repositories,
            partial,
        } = self.archive.extras();
        let of_file = self.fetched.extras();
        Extras {
            listing,
            members,
            extracted,
            parts,
            top_level,
            list_notes,
            states,
            stored,
            signed: of_file.signed,
            whole,
            fetched: of_file.fetched,
            read_by: Some(self.read_by),
            summaries: None,
            referrers,
            repositories,
            partial,
        }
    }
}

/// Verifies the signature of an ACI called `name`. A fetched ACI needs a good signature; a local
/// ACI is verified if there is a signature beside it and the user named trusted keys.
///
/// # Errors
/// As [`signature_to_check`] and [`check_signature`].
pub fn verify(bundle: &dyn Bundle, blob: &Blob, name: &str, env: &Env) -> Result<Verified> {
    match signature_to_check(bundle, name, env)? {
        Some(signature) => check_signature(&signature, blob, name, env),
        None => Ok(Verified::default()),
    }
}

/// Returns the signature that the ACI of a place must fit; `None` if its signature is not verified.
///
/// # Errors
/// [`Code::Denied`] if a fetched ACI has no signature.
pub fn signature_to_check(bundle: &dyn Bundle, name: &str, env: &Env) -> Result<Option<Signature>> {
    let network = &env.network;
    let was_fetched = bundle.fetched().is_some();
    if network.insecure_image || !was_fetched && network.keyrings.is_empty() {
        return Ok(None);
    }
    let signature = bundle.signature(&env.limits)?;
    if was_fetched && signature.is_none() {
        let message = format!("{} has no signature", quote(name));
        return Err(Error::new(Code::Denied, message)
            .hint("`--insecure-image` accepts the image without a signature"));
    }
    Ok(signature)
}

/// Verifies the signature of the bytes of an ACI called `name`.
///
/// # Errors
/// The errors of [`imgconv_openpgp::check`].
pub fn check_signature(
    signature: &Signature,
    blob: &Blob,
    name: &str,
    env: &Env,
) -> Result<Verified> {
    let data = || -> Result<Reader> { Ok(Box::new(Cancellable::new(blob.open()?, env))) };
    imgconv_openpgp::check(signature, name, &data, env)
}

/// Compares an ACI with the requested name and labels (appc spec, discovery.md, "Validation").
///
/// # Errors
/// [`Code::Mismatch`].
pub fn check_asked(fetched: &Fetched, manifest: &Manifest) -> Result<()> {
    if let Some(name) = &fetched.name
        && *name != manifest.name
    {
        let (wanted, found) = (quote(name), quote(&manifest.name));
        return Err(Error::mismatch("the name of the image", wanted, found));
    }
    for (label, wanted) in &fetched.labels {
        let found = manifest.label(label);
        if found != Some(&**wanted) {
            let found = found.map_or_else(|| "none".to_owned(), quote);
            let what = format!("the label {}", quote(label));
            return Err(Error::mismatch(what, quote(wanted), found));
        }
    }
    for (label, assumed) in &fetched.assumed {
        if let Some(found) = manifest.label(label)
            && found != assumed
        {
            let what = format!("the label {}", quote(label));
            let error = Error::mismatch(what, quote(assumed), quote(found));
            return Err(error.hint(format!("request it: add `,{label}={found}` to the name")));
        }
    }
    Ok(())
}
