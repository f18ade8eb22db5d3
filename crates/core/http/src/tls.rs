//! Which certificates are trusted, and which one is shown.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_model::{ClientCertificate, Code, Error, Limits, Network, Result};
use rustls::{
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

/// Where systems keep the certificates they trust, as one PEM file: Debian, Fedora, openSUSE, Alpine.
const SYSTEM: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Bytes of a file of certificates or keys; a system's bundle has some 200 KiB.
const FILE: u64 = 16 << 20;

/// Everything that is read from files, once for a client.
#[derive(Debug)]
pub(crate) struct Certificates {
    provider: Arc<CryptoProvider>,
    roots: Vec<Certificate<'static>>,
    own: Option<ClientCert>,
}

impl Certificates {
    /// Reads the system's certificates and those that the user named.
    ///
    /// # Errors
    /// [`Code::Io`] if a file that the user named can't be read, [`Code::Usage`] if it holds nothing
    /// of the kind.
    pub(crate) fn read(network: &Network) -> Result<Self> {
        let mut roots = Vec::new();
        for path in SYSTEM {
            // A machine without them trusts no one but whom the user named.
            if let Ok(found) = certificates(Path::new(path)) {
                roots = found;
                break;
            }
        }
        let mut roots: Vec<Certificate<'static>> = roots.iter().map(owned).collect();
        add(&mut roots, &network.ca_files)?;
        let provider = Arc::new(ring::default_provider());
        let own = network.client_certificate.as_ref();
        let own = own.map(|own| identity(own, &provider)).transpose()?;
        Ok(Self {
            provider,
            roots,
            own,
        })
    }

    /// Adds what the user keeps for one host, `HOST[:PORT]`; `None` if there is nothing.
    ///
    /// # Errors
    /// As [`Certificates::read`].
    pub(crate) fn of_host(&self, authority: &str, network: &Network) -> Result<Option<Self>> {
        let (mut roots, mut own) = (self.roots.clone(), self.own.clone());
        let mut any = false;
        for directory in &network.host_certificates {
            let directory = directory.join(authority);
            // One that is not there, or not for us, says nothing.
            if authority.starts_with('.') || std::fs::read_dir(&directory).is_err() {
                continue;
            }
            let found = CertificateDirectory::read(&directory)?;
            add(&mut roots, &found.ca_files)?;
            // What the user named outright is shown first.
            if let (None, Some(client)) = (&own, &found.client) {
                own = Some(identity(client, &self.provider)?);
            }
            any = true;
        }
        let provider = Arc::clone(&self.provider);
        Ok(any.then_some(Self {
            provider,
            roots,
            own,
        }))
    }

    /// Makes the settings of a group of connections.
    pub(crate) fn config(&self, verify: bool, named: bool) -> TlsConfig {
        TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::clone(&self.provider))
            .root_certs(RootCerts::new_with_certs(&self.roots))
            .client_cert(self.own.clone().filter(|_| named))
            .disable_verification(!verify)
            .build()
    }
}

/// Adds the certificates of files, of which each must have one.
fn add(roots: &mut Vec<Certificate<'static>>, files: &[PathBuf]) -> Result<()> {
    for path in files {
        let found = certificates(path)?;
        if found.is_empty() {
            return Err(nothing("certificate", path));
        }
        roots.extend(found.iter().map(owned));
    }
    Ok(())
}

fn owned(certificate: &CertificateDer<'_>) -> Certificate<'static> {
    Certificate::from_der(certificate).to_owned()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let place = || path.display().to_string();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::io(error, place()))?;
    if bytes.len() as u64 > FILE {
        return Err(Limits::exceeded("key_file", FILE, place()));
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(path, &error.to_string()))
}

fn identity(own: &ClientCertificate, provider: &CryptoProvider) -> Result<ClientCert> {
    let chain = certificates(&own.chain)?;
    if chain.is_empty() {
        return Err(nothing("certificate", &own.chain));
    }
    let pem = read(&own.key)?;
    let bad_key = |error: String| malformed(&own.key, &error);
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| bad_key(e.to_string()))?;
    let private = PrivateKey::from_pem(&pem).map_err(|e| bad_key(e.to_string()))?;
    let shown: Vec<Certificate<'static>> = chain.iter().map(owned).collect();
    // What does not belong together would be found out only when a server asks for it.
    CertifiedKey::from_der(chain, key, provider).map_err(|e| bad_key(e.to_string()))?;
    Ok(ClientCert::new_with_certs(&shown, private))
}

fn nothing(what: &str, path: &Path) -> Error {
    Error::new(Code::Usage, format!("there is no {what} (PEM) in it"))
        .at(path.display().to_string())
}

fn malformed(path: &Path, why: &str) -> Error {
    Error::new(Code::Usage, why).at(path.display().to_string())
}

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
