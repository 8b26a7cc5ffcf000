//! TLS from PEM files: the server's certificate, and the authorities that sign callers'.
//!
//! A caller's certificate is asked for and not demanded, since health needs none; whoever shows one that the
//! authorities did not sign gets no connection. Sessions are not resumed: each connection proves its certificate anew.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::{
    InconsistentKeys, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use webpki::EndEntityCert;
use zeroize::Zeroize as _;

use super::certificate::Shown;
use crate::{
    callers::San,
    config::Server,
    reload::{Files, Live, Privacy},
};

/// Longest time for a handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
const ALPN: &[u8] = b"h2";

/// Configurations that were loaded.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// What a handshake is made with.
#[derive(Debug)]
pub struct Config {
    server: Arc<ServerConfig>,
    /// Who judges callers' certificates, where they are asked for.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Tells this one from those before it.
    generation: u64,
}

/// The PEM files.
#[derive(Clone, Debug)]
pub struct Pem {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// What is wrong with a file. Nothing of what it holds is shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{setting}: cannot read {}", .path.display())]
    Read {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It holds no such thing.
    #[error("{setting}: {} holds no {wanted} in PEM form", .path.display())]
    Pem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// The certificate and the key cannot be used together.
    #[error("server.tls_cert, server.tls_key: {} and {} cannot be used together", .cert.display(), .key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What TLS said.
        #[source]
        source: rustls::Error,
    },
    /// The authorities cannot be used.
    #[error("server.tls_client_ca: {} cannot be used", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What TLS said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The bytes of the files, each under its setting.
struct Source<'a> {
    setting: &'static str,
    path: &'a Path,
    bytes: zeroize::Zeroizing<Vec<u8>>,
}

// === impl Pem ===

impl Pem {
    /// The files that the settings name; `None` without TLS.
    #[must_use]
    pub fn new(settings: &Server) -> Option<Self> {
        let (cert, key) = (settings.tls_cert.clone()?, settings.tls_key.clone()?);
        Some(Self { cert, key, client_ca: settings.tls_client_ca.clone() })
    }

    /// Reads them.
    ///
    /// # Errors
    /// When one cannot be read or used.
    pub fn load(&self, files: &mut Files) -> Result<Config, Error> {
        // All are read before any is judged, so that a change of any is noticed.
        let cert = Source::read("server.tls_cert", &self.cert, Privacy::Public, files);
        let key = Source::read("server.tls_key", &self.key, Privacy::Secret, files);
        let ca = self.client_ca.as_deref();
        let ca = ca.map(|path| Source::read("server.tls_client_ca", path, Privacy::Public, files)).transpose();
        let (cert, key, ca) = (cert?.certificates()?, key?.key()?, ca?);

        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3");
        let verifier = ca.map(|ca| {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca.authorities()?), provider);
            verifier.allow_unauthenticated().build().map_err(|error| ca.unusable(error))
        });
        let verifier = verifier.transpose()?;
        let builder = match verifier.clone() {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let pair = |source| Error::Pair { cert: self.cert.clone(), key: self.key.clone(), source };
        let pair = certified(cert, key).map_err(pair)?;
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        Ok(Config { server: Arc::new(config), verifier, generation })
    }
}

// === impl Config ===

impl Config {
    /// Another number for each one that is loaded.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a chain, of which the caller has proven to hold the key, is good now.
    ///
    /// # Errors
    /// Why it is not; always where no certificates are asked for.
    pub(super) fn verify(&self, chain: &[CertificateDer<'static>]) -> Result<(), rustls::Error> {
        let verifier = self.verifier.as_ref().ok_or(rustls::Error::General("none is asked for".to_owned()))?;
        let (own, others) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        verifier.verify_client_cert(own, others, UnixTime::now()).map(drop)
    }
}

/// As `with_single_cert` does it, except that the key's bytes are wiped.
fn certified(
    cert: Vec<CertificateDer<'static>>,
    mut key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    let signer = ring::sign::any_supported_type(&key);
    key.zeroize();
    let pair = CertifiedKey::new(cert, signer?);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(error) => Err(error),
    }
}

// === impl Source ===

impl<'a> Source<'a> {
    fn read(setting: &'static str, path: &'a Path, privacy: Privacy, files: &mut Files) -> Result<Self, Error> {
        let refused = |source| Error::Read { setting, path: path.to_owned(), source };
        Ok(Self { setting, path, bytes: files.read(path, privacy).map_err(refused)? })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        certificates.ok().filter(|certificates| !certificates.is_empty()).ok_or_else(|| self.lacks("certificate"))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|_| self.lacks("private key"))
    }

    fn authorities(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.unusable(error))?;
        }
        Ok(roots)
    }

    fn lacks(&self, wanted: &'static str) -> Error {
        Error::Pem { setting: self.setting, path: self.path.to_owned(), wanted }
    }

    fn unusable(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Authorities { path: self.path.to_owned(), source: Box::new(error) }
    }
}

/// Makes a handshake, within [`HANDSHAKE_LIMIT`], and tells what certificate the peer has shown, if it names anybody.
pub(super) async fn accept<I>(tls: &Live<Config>, io: I) -> io::Result<(TlsStream<I>, Option<Shown>)>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let config = tls.get();
    let stream = timeout(HANDSHAKE_LIMIT, TlsAcceptor::from(Arc::clone(&config.server)).accept(io)).await??;
    let (_, session) = stream.get_ref();
    let chain: Vec<_> =
        session.peer_certificates().unwrap_or_default().iter().map(|it| it.clone().into_owned()).collect();
    let sans = chain.first().map(sans).unwrap_or_default();
    let shown = (!sans.is_empty()).then(|| Shown::new(chain, sans, &config, tls.clone()));
    Ok((stream, shown))
}

/// The DNS names and URIs of a certificate that was verified.
fn sans(certificate: &CertificateDer<'_>) -> Vec<San> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let names = certificate.valid_dns_names().map(San::dns);
    names.chain(certificate.valid_uri_names().map(San::uri)).collect()
}
