//! TLS: verification of a server's certificate, and the client certificate that is sent to it.

use std::{
    fmt,
    io::{Read as _, Write as _},
    path::PathBuf,
    sync::Arc,
};

use imgconv_model::{ClientCertificate, Code, Error, Network, Result};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use crate::{certificates::CertificateDirectory, trust};

/// The certificates that are read from files, once per client.
#[derive(Debug)]
pub(crate) struct Certificates {
    provider: Arc<CryptoProvider>,
    roots: Vec<CertificateDer<'static>>,
    own: Option<Arc<Identity>>,
    /// The reason why the authorities for all servers can't be read: an error of the first
    /// connection that needs them, not of other connections.
    unreadable: Option<(Code, String, String)>,
}

/// The client certificate, for servers that require one.
#[derive(Debug)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificates {
    /// Reads the system's certificates and those that the user named.
    ///
    /// # Errors
    /// [`Code::Io`] if a file that the user named can't be read, [`Code::Usage`] if the file holds
    /// no certificate or key.
    pub(crate) fn read(network: &Network) -> Result<Self> {
        let (mut roots, unreadable) = match trust::everywhere(network) {
            Ok(roots) => (roots, None),
            Err(error) => {
                let place = error.places().join(" › ");
                let why = (error.code(), error.message().to_owned(), place);
                (Vec::new(), Some(why))
            }
        };
        add(&mut roots, &network.ca_files)?;
        let provider = Arc::new(ring::default_provider());
        let own = network.client_certificate.as_ref();
        let own = own.map(|own| identity(own, &provider)).transpose()?;
        Ok(Self {
            provider,
            roots,
            own,
            unreadable,
        })
    }

    /// Adds the user's certificates for one host, `HOST[:PORT]`; `None` if there are none.
    ///
    /// # Errors
    /// The errors of [`Certificates::read`].
    pub(crate) fn of_host(&self, authority: &str, network: &Network) -> Result<Option<Self>> {
        let (mut roots, mut own) = (self.roots.clone(), self.own.clone());
        let mut any = false;
        for directory in &network.host_certificates {
            let directory = directory.join(authority);
            // A directory that does not exist or can't be read is skipped.
            if authority.starts_with('.') || std::fs::read_dir(&directory).is_err() {
                continue;
            }
            let found = CertificateDirectory::read(&directory)?;
            add(&mut roots, &found.ca_files)?;
            // A client certificate from the command line takes precedence.
            if let (None, Some(client)) = (&own, &found.client) {
                own = Some(identity(client, &self.provider)?);
            }
            any = true;
        }
        Ok(any.then(|| Self {
            provider: Arc::clone(&self.provider),
            roots,
            own,
            unreadable: self.unreadable.clone(),
        }))
    }

    /// Makes the settings of a group of connections.
    ///
    /// # Errors
    /// If the authorities that the user trusts instead of the system's can't be read.
    pub(crate) fn config(&self, verify: bool, named: bool) -> Result<Arc<ClientConfig>> {
        let verifier: Arc<dyn ServerCertVerifier> = match (verify, &self.unreadable) {
            (false, _) => Arc::new(Unverified(Arc::clone(&self.provider))),
            (true, Some((code, message, place))) => {
                return Err(Error::new(*code, message.clone())
                    .hint("`SSL_CERT_FILE` names the certificates that are trusted")
                    .at(place.clone()));
            }
            (true, None) => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(self.roots.iter().cloned());
                let store = Arc::new(store);
                // Without an authority no verifier can be built, and no server is trusted.
                let inner = match store.is_empty() {
                    true => None,
                    false => Some(
                        WebPkiServerVerifier::builder_with_provider(
                            store,
                            Arc::clone(&self.provider),
                        )
                        .build()
                        .map_err(|error| Error::new(Code::Usage, error.to_string()))?,
                    ),
                };
                Arc::new(Trusting {
                    provider: Arc::clone(&self.provider),
                    inner,
                    roots: self.roots.clone(),
                })
            }
        };
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| Error::new(Code::Net, error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match self.own.as_deref().filter(|_| named) {
            Some(own) => config
                .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
                .map_err(|error| Error::new(Code::Usage, error.to_string()))?,
            None => config.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

/// Verifies a server's certificate by the trusted authorities, or because the certificate itself is
/// trusted.
///
/// A certificate that the user added to the trusted ones ends every chain, as for OpenSSL
/// (`X509_V_FLAG_PARTIAL_CHAIN`, which curl sets) and Go, even if it is marked as an authority
/// (`openssl req -x509` does that), or is issued by an unknown authority. Its times and name are
/// verified as for any other certificate.
#[derive(Debug)]
struct Trusting {
    provider: Arc<CryptoProvider>,
    inner: Option<Arc<WebPkiServerVerifier>>,
    roots: Vec<CertificateDer<'static>>,
}

impl Trusting {
    /// Verifies a certificate that is trusted itself.
    fn verify_trusted(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let mut store = RootCertStore::empty();
        store.add(certificate.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        let alone = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        match alone.verify_server_cert(certificate, &[], name, &[], now) {
            Ok(_) => Ok(()),
            // Both errors are found after the check of the times of the certificate, and before
            // that of its name.
            Err(error) if is_of_another(&error) || is_authority(&error) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns true if the certificate is issued by another one.
fn is_of_another(error: &rustls::Error) -> bool {
    use CertificateError::UnknownIssuer;
    matches!(error, rustls::Error::InvalidCertificate(UnknownIssuer))
}

/// Returns true if the certificate is marked as that of an authority.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    let found = other.0.downcast_ref::<webpki::Error>();
    matches!(found, Some(webpki::Error::CaUsedAsEndEntity))
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::from(CertificateError::UnknownIssuer);
        let usual = match &self.inner {
            Some(inner) => {
                inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(unknown()),
        };
        let error = match usual {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        if !self.roots.iter().any(|root| root == end_entity) {
            return Err(error);
        }
        self.verify_trusted(end_entity, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// Accepts every certificate: the user set `--tls-verify=false`.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.0.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// A connection inside TLS.
pub(crate) struct Tls {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Tls {
    /// Shakes hands over an open connection with the server `host`.
    pub(crate) fn open(
        connection: Box<dyn Transport>,
        config: &Arc<ClientConfig>,
        host: &str,
        timeout: NextTimeout,
        details: &ConnectionDetails<'_>,
    ) -> Result<Self, ureq::Error> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.trim_end_matches('.').to_owned())
            .map_err(|_| ureq::Error::Tls("the host can't be in a certificate"))?;
        let mut conn = ClientConnection::new(Arc::clone(config), name)?;
        let mut sock = TransportAdapter::new(connection, Arc::clone(&details.current_time));
        sock.set_timeout(timeout);
        conn.complete_io(&mut sock)?;
        let stream = StreamOwned { conn, sock };
        let (input, output) = (
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        let buffers = LazyBuffers::new(input, output);
        Ok(Self { buffers, stream })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Transport for Tls {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// Adds the certificates of files, each of which must have at least one.
fn add(roots: &mut Vec<CertificateDer<'static>>, files: &[PathBuf]) -> Result<()> {
    for path in files {
        roots.extend(trust::named(path)?);
    }
    Ok(())
}

fn identity(own: &ClientCertificate, provider: &CryptoProvider) -> Result<Arc<Identity>> {
    let pem = trust::read(&own.chain)?;
    // Here every block counts: a chain with a gap can't be verified.
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| trust::malformed(&own.chain, &error.to_string()))?;
    if chain.is_empty() {
        return Err(trust::nothing("certificate", &own.chain));
    }
    let pem = trust::read(&own.key)?;
    let bad_key = |error: String| trust::malformed(&own.key, &error);
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| bad_key(e.to_string()))?;
    // A key that does not fit the certificate would otherwise fail only when a server asks for it.
    CertifiedKey::from_der(chain.clone(), key.clone_key(), provider)
        .map_err(|e| bad_key(e.to_string()))?;
    Ok(Arc::new(Identity { chain, key }))
}
