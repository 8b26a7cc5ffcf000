//! Tokens on a running service: issued before a measurement, and revoked after it.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::HeaderValue;
use tonic::{
    Request,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

use super::{Error, ratio, tokens::user, wire::Address};
use crate::proto::{
    IssueTokenRequest, RevokeRequest, issue_token_request::Expiration, revoke_request::Target,
    token_service_client::TokenServiceClient,
};

/// Calls under way at once.
const AT_ONCE: usize = 16;
/// How long the tokens live if nobody revokes them.
const LIFETIME: prost_types::Duration = prost_types::Duration { seconds: 3600, nanos: 0 };

/// Issues and revokes.
#[derive(Debug)]
pub(super) struct Issuer {
    client: TokenServiceClient<Channel>,
    credential: Option<HeaderValue>,
}

// === impl Issuer ===

impl Issuer {
    pub(super) async fn connect(at: &Address, credential: Option<HeaderValue>) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(at.url()).map_err(|_| Error::Address(at.url()))?;
        let refused = |source| Error::Connect { at: at.url(), source: std::io::Error::other(source) };
        Ok(Self { client: TokenServiceClient::new(endpoint.connect().await.map_err(refused)?), credential })
    }

    /// Tokens that live for an hour, number `n` for user `n` modulo `users`.
    pub(super) async fn issue(&self, count: u64, users: u64, progress: impl Fn(f64)) -> Result<Vec<String>, Error> {
        let issued = stream::iter(0..count).map(|number| async move {
            let expiration = Some(Expiration::Ttl(LIFETIME));
            let request =
                IssueTokenRequest { user_id: user(number % users), expiration, ..IssueTokenRequest::default() };
            self.client.clone().issue_token(self.request(request)).await
        });
        let mut secrets = Vec::new();
        let mut issued = issued.buffered(AT_ONCE);
        while let Some(response) = issued.try_next().await.map_err(|status| Error::Call(Box::new(status)))? {
            secrets.push(response.into_inner().secret);
            progress(ratio(secrets.len() as u64, count));
        }
        Ok(secrets)
    }

    pub(super) async fn revoke(&self, secrets: Vec<String>) -> Result<(), Error> {
        let revoked = stream::iter(secrets).map(|secret| async move {
            let request = RevokeRequest { target: Some(Target::Token(secret)), ..RevokeRequest::default() };
            self.client.clone().revoke(self.request(request)).await
        });
        let revoked = revoked.buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) });
        revoked.await.map_err(|status| Error::Call(Box::new(status)))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let credential = self.credential.as_ref().and_then(|value| MetadataValue::try_from(value.as_bytes()).ok());
        if let Some(credential) = credential {
            request.metadata_mut().insert("authorization", credential);
        }
        request
    }
}
