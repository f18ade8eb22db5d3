//! Writing a layout as one tar: the same bytes for the same content, whoever writes it.
//!
//! Blobs wait in a private directory beside the destination, because the tar's entries are sorted
//! and their sizes come first. The tar is not compressed: its blobs are. An archive that exists is
//! replaced; nothing is ever added to one.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_model::{
    BlobWriter, BundleSink, Code, Digest, Env, Error, FormatId, Publication, Result, quote,
};
use imgconv_tar::{END, Entry, EntryKind, Time, head, padding};
use rustix::fs::{Mode, OFlags};

use crate::{
    files::{ALGORITHMS, BLOBS, INDEX_FILE, LAYOUT_FILE},
    index::{Index, LAYOUT},
    naming::RefName,
    stage::{PREFIX, Stage, never_written},
    write::list,
};

/// A layout archive that is written.
#[derive(Debug)]
pub struct ArchiveSink {
    /// The file; `None` is standard output.
    path: Option<PathBuf>,
    locator: String,
    stage: Arc<Stage>,
    ref_name: RefName,
    env: Env,
}

impl ArchiveSink {
    /// Opens a destination: a file, which is replaced if it exists, or `-` for standard output.
    ///
    /// # Errors
    /// [`Code::Denied`] if something other than a file is there, [`Code::Io`] if the directory
    /// can't be written.
    pub fn create(path: &str, env: &Env) -> Result<Self> {
        let locator = format!("oci-archive:{path}");
        let (path, stage) = match path {
            "" => return Err(Error::new(Code::Usage, "the path of the archive is empty")),
            "-" => (None, Stage::new(&env.tmpdir, PREFIX, false)?),
            path => {
                let destination = PathBuf::from(path);
                refuse_odd(&destination)?;
                let stage = Stage::new(&parent(&destination), PREFIX, false)?;
                (Some(destination), stage)
            }
        };
        Ok(Self {
            path,
            locator,
            stage,
            ref_name: RefName::default(),
            env: env.clone(),
        })
    }

    /// Sets what `org.opencontainers.image.ref.name` holds where the user gave no reference.
    #[must_use]
    pub fn with_ref_name(mut self, ref_name: RefName) -> Self {
        self.ref_name = ref_name;
        self
    }

    /// Writes the whole archive: entries sorted by name, every attribute fixed.
    fn compose(&self, output: &mut impl Write, index: &[u8]) -> Result<()> {
        let mut pack = Pack {
            output,
            env: &self.env,
            place: self.locator.clone(),
        };
        let blobs = self.stage.list();
        pack.directory(&format!("{BLOBS}/"))?;
        for algorithm in ALGORITHMS {
            let mut of_this = blobs
                .iter()
                .filter(|(digest, _)| digest.algorithm() == algorithm)
                .peekable();
            if of_this.peek().is_none() && algorithm != imgconv_model::Algorithm::Sha256 {
                continue;
            }
            let directory = format!("{BLOBS}/{}/", algorithm.as_str());
            pack.directory(&directory)?;
            for (digest, staged) in of_this {
                let name = format!("{directory}{}", digest.hex());
                pack.file(&name, self.stage.open(&staged.path)?, staged.size)?;
                // It is of no use any more, and may be large.
                self.stage.remove(&staged.path);
            }
        }
        pack.file(INDEX_FILE, index, index.len() as u64)?;
        pack.file(LAYOUT_FILE, LAYOUT.as_bytes(), LAYOUT.len() as u64)?;
        pack.write(&END)
    }

    fn to_stdout(&self, index: &[u8]) -> Result<()> {
        // Past the line buffer of `Stdout`, which looks for line ends in what is no text.
        let descriptor = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| Error::io(e, "standard output"))?;
        let mut output = io::BufWriter::with_capacity(1 << 18, File::from(descriptor));
        self.compose(&mut output, index)?;
        output.flush().map_err(|e| Error::io(e, "standard output"))
    }

    fn to_file(&self, path: &Path, index: &[u8]) -> Result<()> {
        let place = quote(path.as_os_str().as_encoded_bytes());
        let (file, name) = self.stage.file()?;
        let mut output = io::BufWriter::with_capacity(1 << 18, file);
        self.compose(&mut output, index)?;
        let failed = |error| Error::io(error, place.clone());
        let file = output
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        self.env.check_cancelled()?;
        let above: OwnedFd = rustix::fs::open(
            parent(path),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| failed(error.into()))?;
        refuse_odd(path)?;
        let last = path.file_name().unwrap_or_default();
        rustix::fs::renameat(self.stage.descriptor(), &*name, &above, last)
            .and_then(|()| rustix::fs::fsync(&above))
            .map_err(|error| failed(error.into()))
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Refuses to replace anything but a file or a symbolic link to one.
fn refuse_odd(path: &Path) -> Result<()> {
    let place = || quote(path.as_os_str().as_encoded_bytes());
    let odd = match fs::metadata(path) {
        Ok(metadata) => !metadata.is_file(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.file_name().is_none(),
        Err(error) => return Err(Error::io(error, place())),
    };
    if odd {
        let message = "an OCI archive is a file, and something else is there";
        return Err(Error::new(Code::Denied, message)
            .hint("`oci:` writes a directory, `oci-archive:-` to standard output")
            .at(place()));
    }
    Ok(())
}

/// A tar that is being written.
struct Pack<'a, W> {
    output: &'a mut W,
    env: &'a Env,
    place: String,
}

impl<W: Write> Pack<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.output
            .write_all(bytes)
            .map_err(|error| Error::io(error, self.place.clone()))
    }

    fn head(&mut self, name: &str, kind: EntryKind, mode: u32, size: u64) -> Result<()> {
        let entry = Entry {
            path: name.as_bytes().to_vec(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            uname: Vec::new(),
            gname: Vec::new(),
            mtime: Time::default(),
            size,
            link: Vec::new(),
            device: (0, 0),
            pax: Vec::new(),
            offset: 0,
        };
        let bytes = head(&entry)?;
        self.write(&bytes)
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        self.head(name, EntryKind::Directory, 0o755, 0)
    }

    fn file(&mut self, name: &str, mut source: impl Read, size: u64) -> Result<()> {
        self.head(name, EntryKind::Regular, 0o644, size)?;
        let mut buffer = vec![0; 1 << 18];
        let mut count = 0u64;
        loop {
            self.env.check_cancelled()?;
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io(error, format!("temporary file of {name}"))),
            };
            count += read as u64;
            self.write(&buffer[..read])?;
        }
        if count != size {
            return Err(Error::mismatch(
                format!("size of the temporary file of {name}"),
                size,
                count,
            ));
        }
        self.write(&END[..padding(size)])
    }
}

impl BundleSink for ArchiveSink {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn accepts(&self) -> &'static [FormatId] {
        &[FormatId("oci")]
    }

    /// Only what was written in this run counts: an archive that exists is replaced.
    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.stage.has(digest, size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        self.stage.writer()
    }

    fn commit(self: Box<Self>, publications: &[Publication]) -> Result<Vec<String>> {
        let at = |error: Error| error.at(self.locator.clone());
        self.env.check_cancelled()?;
        let (listed, places) =
            list(publications, self.ref_name, &self.env, &self.locator).map_err(at)?;
        for one in &listed {
            if !self.stage.has(&one.child.digest, one.child.size) {
                return Err(at(never_written(&one.child.digest)));
            }
        }
        let mut index = Index::new();
        index.merge(&listed);
        let index = index.render();
        match &self.path {
            None => self.to_stdout(&index)?,
            Some(path) => self.to_file(path, &index)?,
        }
        Ok(places)
    }
}
