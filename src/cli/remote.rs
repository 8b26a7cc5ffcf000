//! The server that a client verb speaks to.

use std::time::Duration;

use clap::Args;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use super::Failure;
use crate::proto::{
    cache_service_client::CacheServiceClient, health::health_client::HealthClient,
    status_service_client::StatusServiceClient, token_admin_service_client::TokenAdminServiceClient,
    token_service_client::TokenServiceClient, user_service_client::UserServiceClient,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the server is, and how long an answer may take.
#[derive(Args)]
#[command(next_help_heading = "Client options")]
pub(super) struct Target {
    /// The server that client verbs speak to: `http://HOST:PORT` or HOST:PORT.
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
}

/// A connection.
pub(super) struct Remote {
    channel: Channel,
    timeout: Duration,
}

// === impl Target ===

impl Target {
    /// Connects, within 2 s.
    pub(super) async fn connect(&self) -> Result<Remote, Failure> {
        let endpoint = self.endpoint()?.connect_timeout(CONNECT_TIMEOUT.min(self.timeout));
        let refused = |source| Failure::Unreachable { address: self.address.clone(), source };
        Ok(Remote { channel: endpoint.connect().await.map_err(refused)?, timeout: self.timeout })
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let refused = |why: &str| Failure::Usage(format!("--address {}: {why}", self.address));
        if self.address.starts_with("https:") {
            return Err(refused("TLS is not supported; put http:// and a proxy or a tunnel that adds it"));
        }
        let whole = if self.address.contains(':') && !self.address.contains("://") && !self.address.starts_with("unix:")
        {
            format!("http://{}", self.address)
        } else {
            self.address.clone()
        };
        Endpoint::from_shared(whole).map_err(|_| refused("is neither http://HOST:PORT nor HOST:PORT"))
    }
}

// === impl Remote ===

impl Remote {
    /// A request with the deadline that the server is told too.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
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

    fn uri(address: &str) -> Option<String> {
        let target = Target { address: address.to_owned(), timeout: CONNECT_TIMEOUT };
        target.endpoint().ok().map(|endpoint| endpoint.uri().to_string())
    }

    #[test]
    fn an_address_is_a_url_or_a_host_and_port() {
        assert_eq!(uri("127.0.0.1:50051").as_deref(), Some("http://127.0.0.1:50051/"));
        assert_eq!(uri("[::1]:50051").as_deref(), Some("http://[::1]:50051/"));
        assert_eq!(uri("http://example.org:1").as_deref(), Some("http://example.org:1/"));
        assert_eq!(uri("https://example.org:1"), None);
        assert_eq!(uri("two words"), None);
        assert_eq!(uri(""), None);
    }
}
