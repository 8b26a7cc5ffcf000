//! Checks tokens: retries, deadlines, the caller's key.

use std::{sync::Arc, time::Duration};

use tokenward::proto::{
    AuthenticateRequest, AuthenticateResponse, token_admin_service_client::TokenAdminServiceClient,
    token_service_client::TokenServiceClient,
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Status, metadata::AsciiMetadataValue, transport::Channel};

use super::cache::Cache;

/// Of one attempt. Without one, a call waits for ever.
const DEADLINE: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// What a caller proves its name by, in the server's callers file.
#[derive(Clone)]
pub(crate) struct Key(Option<AsciiMetadataValue>);

/// Checks tokens as one caller.
pub(crate) struct Client {
    channel: Channel,
    key: Key,
    pub(crate) cache: Cache,
}

impl Key {
    pub(crate) fn new(key: Option<String>) -> Self {
        Self(key.and_then(|key| format!("Bearer {key}").parse().ok()))
    }

    /// The message with the key and a deadline, which the server is told too.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        request
    }
}

impl Client {
    pub(crate) fn new(channel: Channel, key: Key) -> Self {
        let cache = Cache::following(TokenAdminServiceClient::new(channel.clone()), key.clone());
        Self { channel, key, cache }
    }

    pub(crate) fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.key.request(message);
        request.set_timeout(DEADLINE);
        request
    }

    /// The answer for a token that is good now; `None` for any other.
    ///
    /// # Errors
    /// When nobody can tell: refuse the request then, with 503 and not with 401.
    pub(crate) async fn authenticate(
        &self,
        token: &str,
        scopes: &[&str],
    ) -> Result<Option<Arc<AuthenticateResponse>>, Status> {
        let name = Cache::name(token, scopes);
        if let Some(kept) = self.cache.get(&name) {
            return Ok(Some(kept));
        }
        let mark = self.cache.mark();
        let message = AuthenticateRequest {
            token: token.to_owned(),
            required_scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            min_revision: mark.revision.clone(),
            ..AuthenticateRequest::default()
        };
        let answer = retried(async || self.tokens().authenticate(self.request(message.clone())).await).await?;
        let answer = Arc::new(answer.into_inner());
        // An expired, revoked or unknown token is no error: the status is OK, and `active` is false.
        if !answer.active {
            return Ok(None);
        }
        self.cache.put(name, &answer, &mark);
        Ok(Some(answer))
    }
}

/// Again while nobody can tell, with a longer pause each time. Only for what is safe to repeat: not for `IssueToken`
/// without a `request_id`, nor for `RevokeAll`, which would end what was issued in between.
async fn retried<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    let mut backoff = FIRST_BACKOFF;
    for _ in 1..ATTEMPTS {
        // The client's own deadline: without a replica that serves, the request would not even be sent.
        match timeout(DEADLINE, call()).await {
            Ok(Err(status)) if status.code() == Code::Unavailable => {}
            Ok(outcome) => return outcome,
            Err(_) => {}
        }
        sleep(backoff.mul_f64(rand::random_range(0.5..1.5))).await;
        backoff *= 2;
    }
    timeout(DEADLINE, call()).await.unwrap_or_else(|_| Err(Status::from_error("no answer in time".into())))
}
