//! The directories in which users keep the certificates of one host.

use std::path::{Path, PathBuf};

use imgconv_model::{ClientCertificate, Code, Error, Result};

/// What a directory of certificates for one host holds, as docker, podman and skopeo lay it out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateDirectory {
    /// Every `*.crt`: certificates that are trusted.
    pub ca_files: Vec<PathBuf>,
    /// The `*.cert` and `*.key` of the client.
    pub client: Option<ClientCertificate>,
}

impl CertificateDirectory {
    /// Lists a directory.
    ///
    /// # Errors
    /// [`Code::Io`] if it can't be listed, [`Code::Usage`] if a certificate has no key or there are
    /// two.
    pub fn read(path: &Path) -> Result<Self> {
        let place = || path.display().to_string();
        let failed = |error| Error::io(error, place());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            files.push(entry.map_err(failed)?.path());
        }
        files.sort();
        let ending = |ending: &str| -> Vec<PathBuf> {
            let fits = |path: &&PathBuf| path.extension().is_some_and(|found| found == ending);
            files.iter().filter(fits).cloned().collect()
        };
        let client = match &ending("cert")[..] {
            [] => None,
            [chain] => {
                let key = chain.with_extension("key");
                if !files.contains(&key) {
                    let message = format!("{} has no key beside it", chain.display());
                    return Err(Error::new(Code::Usage, message).at(place()));
                }
                let chain = chain.clone();
                Some(ClientCertificate { chain, key })
            }
            _ => {
                let message = "there are two client certificates";
                return Err(Error::new(Code::Usage, message).at(place()));
            }
        };
        Ok(Self {
            ca_files: ending("crt"),
            client,
        })
    }
}
