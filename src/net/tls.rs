//! TLS: certificates towards clients, the checks of certificates towards servers. One provider: aws-lc-rs.

use super::end_point;
use super::stream::Stream;
use crate::config::settings::{ServerTls, ServerTlsMode};
use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, unreadable, or not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no certificate authorities, and none is configured.
    #[error("the system's certificate authorities cannot be read ({0}): name a `ca` file")]
    NoSystemRoots(String),
    /// rustls refused the set-up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// TLS towards clients: what a listener answers to those who ask for it.
#[derive(Debug, Clone)]
pub struct Acceptor {
    shown: Arc<ArcSwap<Shown>>,
    protocol: Option<&'static [u8]>,
}

/// A certificate, as it is shown.
#[derive(Debug)]
struct Shown {
    config: Arc<ServerConfig>,
    end_point: Option<Arc<[u8]>>,
}

/// A connection whose client has shaken hands with us.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, inside TLS.
    pub stream: Stream,
    /// What a proof of the client's can be bound to (`tls-server-end-point`): the hash of the certificate that it was shown. `None` when the
    /// certificate's signature defines none.
    pub end_point: Option<Arc<[u8]>>,
    /// Whether the client named the protocol that it speaks (ALPN).
    pub named: bool,
}

impl Acceptor {
    /// Reads a PEM chain and its PEM key.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let shown = Shown::load(certificate, key, None)?;
        Ok(Self { shown: Arc::new(ArcSwap::from_pointee(shown)), protocol: None })
    }

    /// The same, and clients who name protocols (ALPN) must name this one among them.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub fn load_for(protocol: &'static [u8], certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let shown = Shown::load(certificate, key, Some(protocol))?;
        Ok(Self { shown: Arc::new(ArcSwap::from_pointee(shown)), protocol: Some(protocol) })
    }

    /// Reads them anew: handshakes from now on use them, connections that stand keep what they have.
    ///
    /// # Errors
    /// Names the file and the reason; the old certificate stays in use.
    pub fn reload(&self, certificate: &Path, key: &Path) -> Result<(), TlsError> {
        self.shown.store(Arc::new(Shown::load(certificate, key, self.protocol)?));
        Ok(())
    }

    /// The handshake, as the server.
    ///
    /// # Errors
    /// When the connection breaks or the client does not agree.
    pub async fn accept(&self, stream: Stream) -> io::Result<Accepted> {
        let (config, end_point) = {
            let shown = self.shown.load();
            (Arc::clone(&shown.config), shown.end_point.clone())
        };
        let tls = TlsAcceptor::from(config).accept(stream.into_socket()?).await?;
        let named = tls.get_ref().1.alpn_protocol().is_some();
        Ok(Accepted { stream: Stream::Tls(Box::new(tls.into())), end_point, named })
    }
}

impl Shown {
    fn load(certificate: &Path, key: &Path, protocol: Option<&'static [u8]>) -> Result<Self, TlsError> {
        let shown = certified_key(certificate, key)?;
        let end_point = shown.end_entity_cert().ok().and_then(|certificate| end_point::of(certificate));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        // As the servers do it: no driver resumes a session, and a ticket looks like an answer that nobody asked for.
        config.send_tls13_tickets = 0;
        config.alpn_protocols = protocol.iter().map(|name| name.to_vec()).collect();
        Ok(Self { config: Arc::new(config), end_point: end_point.map(Arc::from) })
    }
}

fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let pem = PrivateKeyDer::from_pem_file(key).map_err(|error| bad_file(key, &error))?;
    CertifiedKey::from_der(chain, pem, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            bad_file(key, &format!("is not the key of the certificate in {}", certificate.display()))
        }
        error => bad_file(key, &error),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(|items| items.collect::<Result<Vec<_>, _>>())
        .map_err(|error| bad_file(path, &error))?;
    if chain.is_empty() {
        return Err(bad_file(path, &"holds no PEM certificate"));
    }
    Ok(chain)
}

fn bad_file(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: reason.to_string() }
}

/// TLS towards a server.
#[derive(Debug, Clone)]
pub struct Connector {
    mode: ServerTlsMode,
    config: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// Reads the authority, if one is named and needed.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub fn load(settings: &ServerTls) -> Result<Self, TlsError> {
        let verifier: Arc<dyn ServerCertVerifier> = match settings.mode {
            ServerTlsMode::Disable => return Ok(Self { mode: settings.mode, config: None }),
            ServerTlsMode::Prefer | ServerTlsMode::Require => Arc::new(Lenient::Anybody(default_provider())),
            ServerTlsMode::VerifyCa => Arc::new(Lenient::AnyName(strict(settings.ca.as_deref())?)),
            ServerTlsMode::VerifyFull => strict(settings.ca.as_deref())?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { mode: settings.mode, config: Some(Arc::new(config)) })
    }

    /// How much is asked of the server.
    #[must_use]
    pub fn mode(&self) -> ServerTlsMode {
        self.mode
    }

    /// The handshake, as the client; `host` is the name that the certificate must carry.
    ///
    /// # Errors
    /// When the connection breaks, or the server's certificate is not accepted.
    pub async fn connect(&self, stream: Stream, host: &str) -> io::Result<Stream> {
        let Some(config) = &self.config else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS is disabled for this server"));
        };
        let name = ServerName::try_from(host.to_owned())
            .or_else(|error| if self.checks_name() { Err(error) } else { ServerName::try_from("server") })
            .map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("\"{host}\" is no host name that a certificate could carry"),
                )
            })?;
        let tls = TlsConnector::from(config.clone()).connect(name, stream.into_socket()?).await?;
        Ok(Stream::Tls(Box::new(tls.into())))
    }

    fn checks_name(&self) -> bool {
        self.mode == ServerTlsMode::VerifyFull
    }
}

fn strict(ca: Option<&Path>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| bad_file(path, &error))?;
        }
    } else {
        let system = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(system.certs);
        if added == 0 {
            let reason =
                system.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
            return Err(TlsError::NoSystemRoots(reason));
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))
}

/// libpq's milder modes.
#[derive(Debug)]
enum Lenient {
    /// `prefer`, `require`: encrypted, to whomever.
    Anybody(CryptoProvider),
    /// `verify-ca`: signed by the authority, whatever its name.
    AnyName(Arc<WebPkiServerVerifier>),
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Self::AnyName(strict) = self else { return Ok(ServerCertVerified::assertion()) };
        match strict.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self {
            Self::Anybody(provider) => rustls::crypto::verify_tls12_signature(
                message,
                certificate,
                signature,
                &provider.signature_verification_algorithms,
            ),
            Self::AnyName(strict) => strict.verify_tls12_signature(message, certificate, signature),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self {
            Self::Anybody(provider) => rustls::crypto::verify_tls13_signature(
                message,
                certificate,
                signature,
                &provider.signature_verification_algorithms,
            ),
            Self::AnyName(strict) => strict.verify_tls13_signature(message, certificate, signature),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self {
            Self::Anybody(provider) => provider.signature_verification_algorithms.supported_schemes(),
            Self::AnyName(strict) => strict.supported_verify_schemes(),
        }
    }
}

#[cfg(test)]
mod tests;
