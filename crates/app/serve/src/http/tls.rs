//! TLS of the server: certificate and key from files, TLS 1.2 and 1.3.

use std::{path::Path, sync::Arc};

use imgconv_model::{Code, Error, Result, quote_path};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

use crate::options::Tls;

/// The most bytes of a file with certificates or a key.
const FILE: u64 = 1 << 20;

/// Reads the files.
///
/// # Errors
/// If a file can't be read or has not what it should have, or the key belongs to another certificate.
pub(super) fn acceptor(options: &Tls) -> Result<TlsAcceptor> {
    let certificates = certificates(&options.certificate)?;
    let key = key(&options.key)?;
    let at = || quote_path(&options.certificate);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Unsupported, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certificates, key);
    let mut config = config.map_err(|error| {
        let why = match error {
            rustls::Error::InconsistentKeys(_) => format!(
                "the first certificate is not of the key in {}",
                quote_path(&options.key)
            ),
            error => error.to_string(),
        };
        Error::new(Code::Usage, why)
            .at(at())
            .hint("the certificate of the server comes first, those of its issuers follow")
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let list = list.map_err(|error| bad(path, &error))?;
    match list.is_empty() {
        true => Err(bad(path, &pem::Error::NoItemsFound).hint("write the certificates as PEM")),
        false => Ok(list),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let key = PrivateKeyDer::from_pem_slice(&read(path)?);
    key.map_err(|error| {
        bad(path, &error)
            .hint("write the key as PEM, without a passphrase (PKCS#8, PKCS#1 or SEC1)")
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = imgconv_fs::read_given(path, ("key_file", FILE), "the file");
    bytes.map_err(|error| error.at(quote_path(path)))
}

/// A file without certificate or key. The text of the error never has bytes of the file.
fn bad(path: &Path, error: &pem::Error) -> Error {
    let message = match error {
        pem::Error::NoItemsFound => "the file has no such PEM section",
        _ => "the file is not well-formed PEM",
    };
    Error::new(Code::Usage, message).at(quote_path(path))
}
