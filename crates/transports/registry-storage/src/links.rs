//! Digests of blobs other than those under which they are stored: `_layers/ALGORITHM/HEX/link` and
//! `_manifests/revisions/ALGORITHM/HEX/link` of a repository hold the digest of the stored blob
//! (distribution, registry/storage/linkedblobstore.go). A registry makes such a link for every name
//! by which a client pushed a blob: a digest of another algorithm, or a tar sum.

use std::{collections::BTreeMap, sync::OnceLock};

use imgconv_fs::Directory;
use imgconv_manifest::TarSum;
use imgconv_model::{Algorithm, Code, Digest, Error, Limits, Result, quote};

use crate::paths::{BASE, CANONICAL, read_link};

/// The stored blobs to which digests of other algorithms lead.
#[derive(Debug, Default)]
pub(crate) struct Links(OnceLock<BTreeMap<Digest, Digest>>);

impl Links {
    /// Returns the digest under which a blob is stored, if a link of a repository has it. All
    /// repositories are read once, at the first request: a blob has to match the digest that led to
    /// it, so any repository may have the link.
    pub(crate) fn stored(
        &self,
        digest: &Digest,
        repositories: &[String],
        directory: &Directory,
        limits: &Limits,
    ) -> Option<Digest> {
        if digest.algorithm() == CANONICAL {
            return None;
        }
        let known = self.0.get_or_init(|| {
            let mut known = BTreeMap::new();
            for repository in repositories {
                collect(repository, directory, limits, &mut known);
            }
            known
        });
        known.get(digest).copied()
    }
}

/// Collects the links of a repository. An unreadable link is passed over; the error of the missing
/// blob reports it.
fn collect(
    repository: &str,
    directory: &Directory,
    limits: &Limits,
    known: &mut BTreeMap<Digest, Digest>,
) {
    for kind in ["_layers", "_manifests/revisions"] {
        let algorithm = Algorithm::Sha512;
        let base = format!(
            "{BASE}/repositories/{repository}/{kind}/{}",
            algorithm.as_str()
        );
        for hex in directory.directories(&base).unwrap_or_default() {
            let Some(name) = Digest::from_hex(algorithm, &hex) else {
                continue;
            };
            if let Ok(stored) = read_link(directory, &format!("{base}/{hex}/link"), limits)
                && stored != name
            {
                known.entry(name).or_insert(stored);
            }
        }
    }
}

/// Says whether a repository has links for tar sums.
pub(crate) fn has_tar_sums(repository: &str, directory: &Directory) -> Result<bool> {
    directory.is_directory(&format!("{BASE}/repositories/{repository}/_layers/tarsum"))
}

/// Returns the digest of the blob for a tar sum in the first of the repositories that has a link
/// for it.
pub(crate) fn tar_sum(
    text: &str,
    sum: &TarSum,
    repositories: &[String],
    directory: &Directory,
    limits: &Limits,
) -> Result<Digest> {
    for repository in repositories {
        let path = format!(
            "{BASE}/repositories/{repository}/_layers/{}/link",
            sum.path()
        );
        match read_link(directory, &path, limits) {
            Err(error) if error.code() == Code::Missing => {}
            digest => return digest,
        }
    }
    let names: Vec<String> = repositories.iter().map(quote).collect();
    let message = match &names[..] {
        [] => format!(
            "its repository has no links for tar sums such as {}",
            quote(text)
        ),
        names => format!(
            "there is no link for {} in {}",
            quote(text),
            names.join(", ")
        ),
    };
    Err(Error::new(Code::Missing, message))
}
