//! Writing a layout as one tar: the same content gives the same bytes.
//!
//! Blobs wait in a private directory beside the destination, because the tar's entries are sorted
//! and their sizes come first. The tar is not compressed, since its blobs are. An existing archive
//! is replaced; nothing is ever added to an archive.

use imgconv_fs::Stage;
use imgconv_model::{
    BlobWriter, BundleSink, Digest, Env, Error, Publication, Result, SinkExtras, TopLevel,
};
use imgconv_tar::{Output, Pack};

use crate::{
    files::{ALGORITHMS, BLOBS, INDEX_FILE, LAYOUT_FILE},
    write::{list, subjects},
};
use imgconv_layout::{Index, MARKER, RefName};

/// A layout archive that is written.
#[derive(Debug)]
pub struct ArchiveSink {
    output: Output,
    ref_name: RefName,
    top_level: TopLevel,
    env: Env,
}

impl ArchiveSink {
    /// Opens a destination: a file, which is replaced if it exists, or `-` for standard output.
    ///
    /// # Errors
    /// [`Code::Denied`](imgconv_model::Code::Denied) if something other than a file is there,
    /// [`Code::Io`](imgconv_model::Code::Io) if the directory can't be written.
    pub fn create(path: &str, env: &Env) -> Result<Self> {
        Ok(Self {
            output: Output::create("oci-archive", path, env)?,
            ref_name: RefName::default(),
            top_level: TopLevel::default(),
            env: env.clone(),
        })
    }

    /// Sets the form of `org.opencontainers.image.ref.name` where the user gave no reference.
    #[must_use]
    pub fn with_ref_name(mut self, ref_name: RefName) -> Self {
        self.ref_name = ref_name;
        self
    }

    /// Writes every member, sorted by name.
    fn compose(&self, pack: &mut Pack<'_>, index: &[u8]) -> Result<()> {
        let stage = self.output.stage();
        let blobs = stage.list();
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
                pack.file(&name, stage.open(&staged.path)?, staged.size)?;
                // The written blob is no longer needed, and may be large.
                stage.remove(&staged.path);
            }
        }
        pack.file(INDEX_FILE, index, index.len() as u64)?;
        pack.file(LAYOUT_FILE, MARKER.as_bytes(), MARKER.len() as u64)
    }
}

impl BundleSink for ArchiveSink {
    fn locator(&self) -> String {
        self.output.locator().to_owned()
    }

    /// Only blobs that were written in this run count: an existing archive is replaced.
    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.output.stage().has(digest, size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        self.output.stage().writer()
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras::default()
    }

    fn set_top_level(&mut self, top_level: TopLevel) {
        self.top_level = top_level;
    }

    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        let at = |error: Error| error.at(self.output.locator().to_owned());
        self.env.check_cancelled()?;
        let (listed, places) = list(
            publications,
            self.ref_name,
            &self.env,
            self.output.locator(),
        )
        .map_err(at)?;
        for one in &listed {
            if !self.output.stage().has(&one.child.digest, one.child.size) {
                return Err(at(Stage::never_written(&one.child.digest)));
            }
        }
        let mut index = Index::empty();
        index.set_top_level(&self.top_level);
        index.merge(&listed, &self.env.limits).map_err(at)?;
        let stage = Some(&**self.output.stage());
        let mut subject = subjects(None, stage, &self.env);
        index.renew_records(&listed, &mut subject);
        let index = index.render();
        self.output.write(|pack| self.compose(pack, &index))?;
        Ok(places)
    }
}
