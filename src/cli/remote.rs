//! The server that a client verb speaks to, and the credential that it shows.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use zeroize::Zeroizing;

use super::Failure;
use crate::{
    config::SecretText,
    proto::{
        cache_service_client::CacheServiceClient, health::health_client::HealthClient,
        status_service_client::StatusServiceClient, token_admin_service_client::TokenAdminServiceClient,
        token_service_client::TokenServiceClient, user_service_client::UserServiceClient,
    },
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const HTTPS: &str = "https:";
const UNIX: &str = "unix:";

/// Where the server is, how long an answer may take, and who asks.
#[derive(Args)]
#[command(next_help_heading = "Client options")]
pub(super) struct Target {
    /// The server that client verbs speak to: `http://HOST:PORT`, `https://HOST:PORT`, HOST:PORT or `unix:PATH`.
    #[arg(
        long,
        global = true,
        env = "TOKENWARD_ADDRESS",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    pub(super) address: String,
    /// Longest time that one call of a client verb may take.
    #[arg(long, global = true, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// A PEM file with the authorities that may have signed an `https` server's certificate, instead of the system's.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A PEM file with the caller's certificate.
    #[arg(long, global = true, value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// A PEM file with that certificate's private key.
    #[arg(long, global = true, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// A file whose first line is the caller's key.
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The caller's key. Only the environment may hold it: arguments are visible to others.
    #[arg(skip = caller_key())]
    key: Option<SecretText>,
}

/// A connection.
pub(super) struct Remote {
    channel: Channel,
    timeout: Duration,
    credential: Option<MetadataValue<Ascii>>,
    traceparent: Option<MetadataValue<Ascii>>,
}

fn caller_key() -> Option<SecretText> {
    std::env::var("TOKENWARD_CALLER_KEY").ok().filter(|key| !key.is_empty()).map(SecretText::from)
}

/// What ran the verb may be traced; OpenTelemetry hands a trace on to programs in this variable.
fn traceparent() -> Option<MetadataValue<Ascii>> {
    std::env::var("TRACEPARENT").ok()?.parse().ok()
}

// === impl Target ===

impl Target {
    /// Connects, within 2 s.
    pub(super) async fn connect(&self) -> Result<Remote, Failure> {
        let credential = self.credential()?;
        let endpoint = self.endpoint()?.connect_timeout(CONNECT_TIMEOUT.min(self.timeout));
        let refused = |source| Failure::Unreachable { address: self.address.clone(), source };
        let channel = endpoint.connect().await.map_err(refused)?;
        Ok(Remote { channel, timeout: self.timeout, credential, traceparent: traceparent() })
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let refused = |why: &str| Failure::Usage(format!("--address {}: {why}", self.address));
        let whole = if self.address.contains("://") || self.address.starts_with(UNIX) || !self.address.contains(':') {
            self.address.clone()
        } else {
            format!("http://{}", self.address)
        };
        let endpoint = Endpoint::from_shared(whole)
            .map_err(|_| refused("is none of http://HOST:PORT, https://HOST:PORT, HOST:PORT and unix:PATH"))?;
        if !self.address.starts_with(HTTPS) {
            return match (&self.ca, &self.cert) {
                (None, None) => Ok(endpoint),
                (Some(_), _) | (_, Some(_)) => Err(refused("is not https, and --ca or --cert was given")),
            };
        }
        endpoint.tls_config(self.tls()?).map_err(|error| Failure::Usage(format!("--ca, --cert, --cert-key: {error}")))
    }

    fn tls(&self) -> Result<ClientTlsConfig, Failure> {
        let mut tls = match &self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("--ca", ca)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let (Some(cert), Some(key)) = (&self.cert, &self.cert_key) {
            tls = tls.identity(Identity::from_pem(read("--cert", cert)?, read("--cert-key", key)?));
        }
        Ok(tls)
    }

    /// The value of the `authorization` header; a file wins over the environment.
    pub(super) fn credential(&self) -> Result<Option<MetadataValue<Ascii>>, Failure> {
        let key = match (&self.key_file, &self.key) {
            (Some(file), _) => first_line(&read("--key-file", file)?),
            (None, Some(key)) => Zeroizing::new(key.expose().to_owned()),
            (None, None) => return Ok(None),
        };
        let header = Zeroizing::new(format!("Bearer {}", key.as_str()));
        let mut header: MetadataValue<Ascii> =
            header.parse().map_err(|_| Failure::Usage("the caller's key is not visible ASCII".to_owned()))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}

fn read(flag: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let refused = |error| Failure::Usage(format!("{flag} {}: {error}", file.display()));
    fs::read(file).map(Zeroizing::new).map_err(refused)
}

/// A caller's file of keys may be given as it is: comments are skipped, as the server does.
fn first_line(bytes: &[u8]) -> Zeroizing<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Zeroizing::new(lines.next().unwrap_or_default().to_owned())
}

// === impl Remote ===

impl Remote {
    /// A request with the caller's credential, the deadline that the server is told too, and what it is traced below.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.lasting(message);
        request.set_timeout(self.timeout);
        request
    }

    /// The same without a deadline, for a stream that goes on as long as both sides want.
    pub(super) fn lasting<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(credential) = &self.credential {
            request.metadata_mut().insert("authorization", credential.clone());
        }
        if let Some(traceparent) = &self.traceparent {
            request.metadata_mut().insert("traceparent", traceparent.clone());
        }
        request
    }

    pub(super) fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub(super) fn admin(&self) -> TokenAdminServiceClient<Channel> {
        TokenAdminServiceClient::new(self.channel.clone())
    }

    pub(super) fn users(&self) -> UserServiceClient<Channel> {
        UserServiceClient::new(self.channel.clone())
    }

    pub(super) fn cache(&self) -> CacheServiceClient<Channel> {
        CacheServiceClient::new(self.channel.clone())
    }

    pub(super) fn status(&self) -> StatusServiceClient<Channel> {
        StatusServiceClient::new(self.channel.clone())
    }

    pub(super) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str) -> Target {
        let (ca, cert, cert_key, key_file, key) = (None, None, None, None, None);
        Target { address: address.to_owned(), timeout: CONNECT_TIMEOUT, ca, cert, cert_key, key_file, key }
    }

    fn uri(address: &str) -> Option<String> {
        target(address).endpoint().ok().map(|endpoint| endpoint.uri().to_string())
    }

    #[test]
    fn an_address_is_a_url_or_a_host_and_port_or_a_unix_socket() {
        assert_eq!(uri("127.0.0.1:50051").as_deref(), Some("http://127.0.0.1:50051/"));
        assert_eq!(uri("[::1]:50051").as_deref(), Some("http://[::1]:50051/"));
        assert_eq!(uri("http://example.org:1").as_deref(), Some("http://example.org:1/"));
        assert_eq!(uri("https://example.org:1").as_deref(), Some("https://example.org:1/"));
        assert!(uri("unix:/run/tokenward.sock").is_some());
        assert_eq!(uri("two words"), None);
        assert_eq!(uri(""), None);
    }

    #[test]
    fn a_certificate_without_tls_is_refused() {
        let certificate = |address| Target { ca: Some("ca.pem".into()), ..target(address) };
        let Err(Failure::Usage(why)) = certificate("http://example.org:1").endpoint() else { panic!("it is refused") };
        assert!(why.contains("is not https"), "{why}");
    }

    #[test]
    fn a_key_goes_into_one_header_that_is_marked_as_sensitive() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# new\n\n s3cret \nold\n").unwrap();
        let key = || Some(SecretText::new("environment"));
        let of_file = Target { key_file: Some(file.path().into()), key: key(), ..target("h:1") };
        let header = of_file.credential().unwrap().unwrap();
        assert_eq!((header.to_str().unwrap(), header.is_sensitive()), ("Bearer s3cret", true));
        let of_environment = Target { key: key(), ..target("h:1") };
        assert_eq!(of_environment.credential().unwrap().unwrap(), "Bearer environment");
        assert!(target("h:1").credential().unwrap().is_none());
    }
}
