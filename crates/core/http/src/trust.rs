//! The trusted certificates: files of PEM, read block by block.
//!
//! A block that can't be read is skipped if the file has others, as OpenSSL and Go do: one bad line
//! in the bundle of a system would otherwise make every server unknown.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use imgconv_model::{Code, Error, Limits, Network, Result};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// The largest file of certificates or keys in bytes; a system's bundle has some 200 KiB.
const FILE: u64 = 16 << 20;

/// The most files of a directory of certificates; a system's directory has some 300.
const FILES: usize = 10_000;

/// Reads the authorities that are trusted for all servers: those of `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`, else the system's.
///
/// # Errors
/// The errors of [`named`], for a file that the user named.
pub(crate) fn everywhere(network: &Network) -> Result<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    if !network.trust_files.is_empty() || !network.trust_directories.is_empty() {
        for file in &network.trust_files {
            found.extend(named(file)?);
        }
        for directory in &network.trust_directories {
            found.extend(directory_of(directory));
        }
    } else {
        // A machine without a bundle trusts only the certificates that the user named.
        let probed = openssl_probe::probe();
        if let Some(file) = &probed.cert_file {
            found.extend(readable(file));
        }
        for directory in &probed.cert_dir {
            found.extend(directory_of(directory));
        }
    }
    found.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    found.dedup();
    Ok(found)
}

/// Reads a file that the user named, and that must have a certificate.
///
/// # Errors
/// [`Code::Io`] if the file can't be read, [`Code::Usage`] if it has no certificate,
/// [`Code::Limit`].
pub(crate) fn named(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let (found, first) = blocks(&read(path)?);
    match first {
        Some(why) if found.is_empty() => Err(malformed(path, &why)),
        None if found.is_empty() => Err(nothing("certificate", path)),
        _ => Ok(found),
    }
}

/// Reads all certificates of a file that can be read.
fn readable(path: &Path) -> Vec<CertificateDer<'static>> {
    read(path).map_or_else(|_| Vec::new(), |bytes| blocks(&bytes).0)
}

/// Reads the files of a directory in the form of OpenSSL's `rehash`. A file without a certificate,
/// and a directory that does not exist, is skipped.
fn directory_of(path: &Path) -> Vec<CertificateDer<'static>> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.take(FILES).map(|entry| entry.path()).collect();
    // Hash names are links to files of the same directory, and most systems keep the bundle there
    // too.
    files.retain_mut(|file| match std::fs::canonicalize(&*file) {
        Ok(real) => {
            *file = real;
            file.is_file()
        }
        Err(_) => false,
    });
    files.sort_unstable();
    files.dedup();
    files.iter().flat_map(|file| readable(file)).collect()
}

/// Reads the certificates of a PEM text, and returns the error of the first bad block.
fn blocks(text: &[u8]) -> (Vec<CertificateDer<'static>>, Option<String>) {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let (mut found, mut first) = (Vec::new(), None);
    let mut store = RootCertStore::empty();
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let mut block: Vec<u8> = Vec::new();
    let mut take = |block: &[u8]| {
        if block.is_empty() {
            return;
        }
        let read = CertificateDer::from_pem_slice(block).map_err(|error| error.to_string());
        let read = read.and_then(|der| match store.add(der.clone()) {
            Ok(()) => Ok(der),
            Err(error) => Err(error.to_string()),
        });
        match read {
            Ok(der) => found.push(der),
            Err(why) => first = first.take().or(Some(why)),
        }
    };
    for line in lines {
        if line.trim_ascii() == BEGIN {
            take(&block);
            block.clear();
        } else if block.is_empty() {
            continue;
        }
        block.extend_from_slice(line);
    }
    take(&block);
    (found, first)
}

/// Reads a file of certificates or keys.
///
/// # Errors
/// [`Code::Io`], [`Code::Limit`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let place = || path.display().to_string();
    let mut bytes = Vec::new();
    imgconv_fs::open_given(path)
        .and_then(|file| file.take(FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::io(error, place()))?;
    if bytes.len() as u64 > FILE {
        return Err(Limits::exceeded("key_file", FILE, place()));
    }
    Ok(bytes)
}

/// Makes the error of a file that has no certificate or key of the expected kind.
pub(crate) fn nothing(what: &str, path: &Path) -> Error {
    Error::new(Code::Usage, format!("there is no {what} (PEM) in it"))
        .at(path.display().to_string())
}

/// Makes the error of a file whose PEM can't be read.
pub(crate) fn malformed(path: &Path, why: &str) -> Error {
    Error::new(Code::Usage, why).at(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use imgconv_testkit::server::Authority;

    use super::*;

    // robustness K46
    #[test]
    fn k46_a_block_that_is_no_certificate_costs_no_other_block() {
        let (a, b) = (Authority::new().pem(), Authority::new().pem());
        let end = "-----END CERTIFICATE-----\n";
        for bad in [
            format!("-----BEGIN CERTIFICATE-----\n@@@@\n{end}"),
            format!("-----BEGIN CERTIFICATE-----\nAAAA\n{end}"),
            format!("-----BEGIN CERTIFICATE-----\n{end}"),
            "-----BEGIN CERTIFICATE-----\nMIIB\n".to_owned(),
            "-----BEGIN CERTIFICATE-----\n\u{e4}\n".to_owned(),
            "a word\n".to_owned(),
        ] {
            for text in [
                format!("{bad}{a}{b}"),
                format!("{a}{bad}{b}"),
                format!("{a}{b}{bad}"),
                format!("{a}{bad}{b}").replace('\n', "\r\n"),
            ] {
                assert_eq!(blocks(text.as_bytes()).0.len(), 2, "{text}");
            }
            assert!(blocks(bad.as_bytes()).0.is_empty(), "{bad}");
        }
    }

    // robustness K46
    #[test]
    fn k46_a_directory_is_read_through_its_links_and_past_what_is_no_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.pem"), Authority::new().pem()).unwrap();
        std::fs::write(at("b.pem"), Authority::new().pem()).unwrap();
        std::fs::write(at("README"), "no certificate").unwrap();
        std::os::unix::fs::symlink("a.pem", at("12345678.0")).unwrap();
        std::os::unix::fs::symlink("gone", at("87654321.0")).unwrap();
        std::fs::create_dir(at("java")).unwrap();
        assert_eq!(directory_of(folder.path()).len(), 2);
        assert_eq!(directory_of(&at("missing")).len(), 0);
    }
}
