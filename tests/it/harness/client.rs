//! Every service's generated client, and the calls that most tests make.

use std::time::Duration;

use tokenward::proto::{
    AnswerSource, AuthenticateRequest, AuthenticateResponse, InactiveReason, IssueTokenRequest, IssueTokenResponse,
    RevokeRequest, RevokeResponse, Token, UpsertUserRequest, UpsertUserResponse, User,
    cache_service_client::CacheServiceClient, issue_token_request::Expiration, revoke_request::Target,
    status_service_client::StatusServiceClient, token_admin_service_client::TokenAdminServiceClient,
    token_service_client::TokenServiceClient, user_service_client::UserServiceClient,
};
use tonic::{Code, Response, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

use super::eventually::eventually;

use super::canary;

/// Bytes of a token that was issued, or that looks like one: longer than a public name, which is no secret.
const ISSUED: usize = 64;

/// Clients that share a connection.
#[derive(Clone)]
pub(crate) struct Client {
    /// The connection.
    pub(crate) channel: Channel,
    /// `tokenward.v1.TokenService`.
    pub(crate) tokens: TokenServiceClient<Channel>,
    /// `tokenward.v1.TokenAdminService`.
    pub(crate) admin: TokenAdminServiceClient<Channel>,
    /// `tokenward.v1.UserService`.
    pub(crate) users: UserServiceClient<Channel>,
    /// `tokenward.v1.CacheService`.
    pub(crate) cache: CacheServiceClient<Channel>,
    /// `tokenward.v1.StatusService`.
    pub(crate) status: StatusServiceClient<Channel>,
    /// `grpc.health.v1.Health`.
    pub(crate) health: HealthClient<Channel>,
}

/// A token as its owner holds it.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    /// The secret.
    pub(crate) secret: String,
    /// Its public name.
    pub(crate) token_id: String,
}

/// What a status other than OK says to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status code.
    pub(crate) code: Code,
    /// `google.rpc.ErrorInfo.reason`.
    pub(crate) reason: String,
    /// The fields of `google.rpc.BadRequest`.
    pub(crate) fields: Vec<String>,
    /// `google.rpc.RetryInfo`.
    pub(crate) retry_after: Option<Duration>,
}

// === impl Client ===

impl Client {
    /// Clients on this connection.
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            tokens: TokenServiceClient::new(channel.clone()),
            admin: TokenAdminServiceClient::new(channel.clone()),
            users: UserServiceClient::new(channel.clone()),
            cache: CacheServiceClient::new(channel.clone()),
            status: StatusServiceClient::new(channel.clone()),
            health: HealthClient::new(channel.clone()),
            channel,
        }
    }

    /// `IssueToken`.
    pub(crate) async fn try_issue(&self, request: IssueTokenRequest) -> Result<IssueTokenResponse, Status> {
        let issued = self.tokens.clone().issue_token(request).await.map(Response::into_inner);
        issued.inspect(|issued| canary::know(&issued.secret))
    }

    /// A token with the server's defaults.
    pub(crate) async fn issue(&self, user: &str) -> Issued {
        self.try_issue(for_user(user)).await.expect("a token can be issued").into()
    }

    /// `Authenticate`.
    pub(crate) async fn try_authenticate(&self, request: AuthenticateRequest) -> Result<AuthenticateResponse, Status> {
        self.tokens.clone().authenticate(request).await.map(Response::into_inner)
    }

    /// What a token is, from a service that can tell.
    pub(crate) async fn authenticate(&self, secret: &str) -> AuthenticateResponse {
        self.try_authenticate(about(secret)).await.expect("the service can tell")
    }

    /// What is answered about a token, which is active all the while, once the answer comes from there.
    pub(crate) async fn hit(&self, secret: &str, source: AnswerSource) -> AuthenticateResponse {
        let hit = async || {
            let answer = self.authenticate(secret).await;
            assert!(answer.active, "{answer:?}");
            (answer.source() == source).then_some(answer)
        };
        eventually("a check is answered from the cache", hit).await
    }

    /// Why a token is not active; `Unspecified` when it is.
    pub(crate) async fn reason(&self, secret: &str) -> InactiveReason {
        let answer = self.authenticate(secret).await;
        assert_eq!(answer.active, answer.inactive_reason() == InactiveReason::Unspecified, "{answer:?}");
        answer.inactive_reason()
    }

    /// `Revoke`.
    pub(crate) async fn try_revoke(&self, target: Target) -> Result<RevokeResponse, Status> {
        let request = RevokeRequest { target: Some(target), ..RevokeRequest::default() };
        self.tokens.clone().revoke(request).await.map(Response::into_inner)
    }

    /// Ends a token by its secret.
    pub(crate) async fn revoke(&self, secret: &str) -> RevokeResponse {
        self.try_revoke(Target::Token(secret.to_owned())).await.expect("a token can be revoked")
    }

    /// Writes a user.
    pub(crate) async fn upsert_user(&self, user: User) -> UpsertUserResponse {
        let request = UpsertUserRequest { user: Some(user), update_mask: None };
        self.users.clone().upsert_user(request).await.expect("a user can be written").into_inner()
    }

    /// `grpc.health.v1.Health/Check`.
    pub(crate) async fn check(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest { service: service.to_owned() };
        self.health.clone().check(request).await.map(|answer| answer.into_inner().status())
    }

    /// Whether a name of the health service is SERVING.
    pub(crate) async fn serving(&self, service: &str) -> bool {
        self.check(service).await.expect("the name is known") == ServingStatus::Serving
    }
}

// === impl Issued ===

impl From<IssueTokenResponse> for Issued {
    fn from(response: IssueTokenResponse) -> Self {
        let Token { token_id, .. } = response.token.expect("an issued token has a record");
        Self { secret: response.secret, token_id }
    }
}

// === impl Refusal ===

impl Refusal {
    /// What `status` says.
    ///
    /// # Panics
    /// When it lacks the `ErrorInfo` that the contract promises.
    pub(crate) fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("without ErrorInfo: {status:?}"));
        assert_eq!(info.domain, "tokenward.v1", "{status:?}");
        let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        Self {
            code: status.code(),
            reason: info.reason.clone(),
            fields: violations.into_iter().map(|violation| violation.field).collect(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }

    /// The code and the reason alone.
    pub(crate) fn kind(&self) -> (Code, &str) {
        (self.code, &self.reason)
    }
}

/// A request for a token with the server's defaults.
pub(crate) fn for_user(user: &str) -> IssueTokenRequest {
    IssueTokenRequest { user_id: user.to_owned(), ..IssueTokenRequest::default() }
}

/// A lifetime.
pub(crate) fn ttl(lifetime: Duration) -> Expiration {
    Expiration::Ttl(lifetime.try_into().expect("a test's lifetime fits the wire"))
}

/// The time of day, in seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "compared with what another process says")]
pub(crate) fn now() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("1970 is over").as_secs_f64()
}

/// A time that an answer must have, in seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "a microsecond of this century fits")]
pub(crate) fn seconds(time: Option<prost_types::Timestamp>) -> f64 {
    let time = time.expect("the time is set");
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

/// A request about a token.
pub(crate) fn about(secret: &str) -> AuthenticateRequest {
    if secret.len() >= ISSUED {
        canary::know(secret);
    }
    AuthenticateRequest { token: secret.to_owned(), ..AuthenticateRequest::default() }
}
