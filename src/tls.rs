//! TLS to a server that a private authority vouches for: whom to trust, and what to show.
//!
//! The PEM files are read again when they change. A handshake asks for what they hold now, so that a new
//! authority or certificate counts from the next connection on, whoever makes it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::reload::{Files, Live, Privacy};

/// The PEM files of one peer.
#[derive(Clone, Debug)]
pub struct Pem {
    /// The authorities that sign its certificate.
    pub ca: PathBuf,
    /// Our certificate chain and its key, where the peer asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What the files held.
pub struct Material {
    verifier: Arc<WebPkiServerVerifier>,
    identity: Option<Arc<CertifiedKey>>,
}

/// Which of the files is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The authorities.
    Ca,
    /// The certificate.
    Cert,
    /// The key.
    Key,
}

/// What is wrong with a file. Nothing of what it holds is shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// Which.
        which: Which,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It holds no such thing.
    #[error("{} holds no {wanted} in PEM form", .path.display())]
    Pem {
        /// Which.
        which: Which,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// What it holds cannot be used.
    #[error("{} cannot be used: {reason}", .path.display())]
    Unusable {
        /// Which.
        which: Which,
        /// The file.
        path: PathBuf,
        /// What TLS said.
        reason: String,
    },
}

/// Answers each handshake from the files as they are now.
#[derive(Debug)]
struct Current(Live<Material>);

// === impl Pem ===

impl Pem {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be read or used.
    pub fn load(&self, files: &mut Files) -> Result<Material, Error> {
        // All are read before any is judged, so that a change of any is noticed.
        let ca = read(Which::Ca, &self.ca, Privacy::Public, files);
        let identity = self.identity.as_ref().map(|(cert, key)| {
            (read(Which::Cert, cert, Privacy::Public, files), read(Which::Key, key, Privacy::Secret, files))
        });
        let mut roots = RootCertStore::empty();
        for certificate in certificates(Which::Ca, &self.ca, &ca?)? {
            roots.add(certificate).map_err(|error| unusable(Which::Ca, &self.ca, &error))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let verifier = verifier.map_err(|error| unusable(Which::Ca, &self.ca, &error))?;
        let identity = match (&self.identity, identity) {
            (Some((cert, key)), Some((chain, secret))) => {
                let chain = certificates(Which::Cert, cert, &chain?)?;
                let wanted = "private key";
                let secret = PrivateKeyDer::from_pem_slice(&secret?).map_err(|_| Error::Pem {
                    which: Which::Key,
                    path: key.clone(),
                    wanted,
                })?;
                let pair = CertifiedKey::from_der(chain, secret, &provider());
                Some(Arc::new(pair.map_err(|error| unusable(Which::Cert, cert, &error))?))
            }
            (None, _) | (_, None) => None,
        };
        Ok(Material { verifier, identity })
    }
}

// === impl Material ===

impl fmt::Debug for Material {
    /// It holds a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

// === impl Error ===

impl Error {
    /// Which of the files it is about.
    #[must_use]
    pub fn which(&self) -> Which {
        match self {
            Self::Read { which, .. } | Self::Pem { which, .. } | Self::Unusable { which, .. } => *which,
        }
    }

    /// What is wrong without the file's name, which in a setting may be anything, a password too.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::Read { source, .. } => format!("cannot be read: {source}"),
            Self::Pem { wanted, .. } => format!("holds no {wanted} in PEM form"),
            Self::Unusable { reason, .. } => format!("cannot be used: {reason}"),
        }
    }
}

fn read(which: Which, path: &Path, privacy: Privacy, files: &mut Files) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
    files.read(path, privacy).map_err(|source| Error::Read { which, path: path.to_owned(), source })
}

fn certificates(which: Which, path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let lacks = || Error::Pem { which, path: path.to_owned(), wanted: "certificate" };
    found.ok().filter(|found| !found.is_empty()).ok_or_else(lacks)
}

fn unusable(which: Which, path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Unusable { which, path: path.to_owned(), reason: error.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What connections to the peer are made with. Sessions are not resumed: each connection has the peer's
/// certificate proved anew, so that one that has expired since is noticed.
#[must_use]
pub fn client(material: &Live<Material>) -> ClientConfig {
    let current = || Arc::new(Current(material.clone()));
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.expect("ring speaks TLS 1.2 and 1.3").dangerous();
    // Not dangerous: the verifier asks rustls's own, with the authorities of the moment.
    let mut config = builder.with_custom_certificate_verifier(current()).with_client_cert_resolver(current());
    config.resumption = Resumption::disabled();
    config
}

// === impl Current ===

impl ServerCertVerifier for Current {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.0.get().verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.get().verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.get().verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.get().verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.get().identity.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.get().identity.is_some()
    }
}
