//! OAuth's two questions about a token: `POST /introspect` (RFC 7662) and `POST /revoke` (RFC 7009).
//!
//! Unlike the rest of this listener they need a caller's credential, where callers are known. They ask the same core as
//! `TokenService`, and are for the callers that may use `Authenticate` and `Revoke`.

use std::sync::Arc;

use axum::{
    Form, Json, Router,
    extract::{FromRequest as _, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};

use crate::{
    audit::Subject,
    callers::Caller,
    config,
    domain::{
        AuditEvent, Authenticator, Clock, Error, Freshness, Named, Outcome, Presented, Quota, RevocationCause, Revoker,
        Token, TokenStore,
    },
    transport::{Counts, Door, record},
};

mod answer;
mod client;

use answer::{Introspection, Refusal, Revoked, Terms};

const AUTHENTICATE: &str = "/tokenward.v1.TokenService/Authenticate";
const REVOKE: &str = "/tokenward.v1.TokenService/Revoke";

/// What the two routes need.
#[derive(Debug)]
pub struct OAuth<S, C> {
    door: Door,
    authenticator: Authenticator<S, C>,
    revoker: Revoker<S, C>,
    counts: Counts,
    terms: Terms,
}

// === impl OAuth ===

impl<S, C> OAuth<S, C> {
    /// Serves these decisions to those whom `door` lets through, and counts the tokens that are judged.
    pub fn new(
        door: Door,
        authenticator: Authenticator<S, C>,
        revoker: Revoker<S, C>,
        counts: Counts,
        settings: &config::Introspection,
    ) -> Self {
        Self { door, authenticator, revoker, counts, terms: Terms::new(settings) }
    }
}

impl<S: TokenStore, C: Clock> OAuth<S, C> {
    async fn introspect(&self, request: Request) -> Result<Introspection, Refusal> {
        let Caller { quota, .. } = self.admit(&request, AUTHENTICATE)?;
        let token = token(request).await?;
        let presented = Presented {
            token: Token::parse(token).ok(),
            required_scopes: Vec::new(),
            freshness: Freshness::Any,
            quota: Some(quota),
            min_revision: None,
        };
        let judging = self.counts.judging(1);
        let answer = self.authenticator.authenticate(presented).await?;
        judging.end([&answer]);
        // RFC 7662, section 2.2: of a token that is not active nothing else is said.
        Ok(answer.verdict.map_or(Introspection::Inactive, |record| self.terms.active(&record)))
    }

    async fn revoke(self: Arc<Self>, request: Request) -> Result<Revoked, Refusal> {
        let caller = self.admit(&request, REVOKE)?;
        let entry = self.door.audit.begin(AuditEvent::Revoke, record::who(&request, caller.name));
        let (subject, token) = (entry.subject(), token(request).await);
        let ended = async move { self.end(token?, &caller.revocations, &subject).await };
        let outcome = |answer: &Result<_, Refusal>| answer.as_ref().map_or_else(Refusal::outcome, |_| Outcome::ok());
        let abandoned = || Err(Error::Unavailable("the request was abandoned".into()).into());
        entry.carry_through(ended, outcome).await.unwrap_or_else(abandoned)
    }

    async fn end(&self, token: String, quota: &Quota, subject: &Subject) -> Result<Revoked, Refusal> {
        let token = Token::parse(token).ok().map(Named::Token);
        // RFC 7009, section 2.2: what is no token has ended already.
        let Some(token) = token.filter(|token| self.revoker.admits(token)) else { return Ok(Revoked::default()) };
        subject.token(self.revoker.token_id(&token));
        let revocation = self.revoker.revoke(token, RevocationCause::Unspecified, Some(quota)).await?;
        subject.revoked(&revocation);
        Ok(revocation.propagation.into())
    }

    fn admit(&self, request: &Request, path: &str) -> Result<Caller, Refusal> {
        client::admit(&self.door.gate, request.headers(), path).map_err(|refused| {
            record::refused(&self.door, request, path, &refused);
            refused.into()
        })
    }
}

/// The routes.
pub fn routes<S: TokenStore, C: Clock>(oauth: OAuth<S, C>) -> Router {
    Router::new()
        .route("/introspect", post(introspect::<S, C>))
        .route("/revoke", post(revoke::<S, C>))
        .with_state(Arc::new(oauth))
}

async fn introspect<S: TokenStore, C: Clock>(State(oauth): State<Arc<OAuth<S, C>>>, request: Request) -> Response {
    oauth.introspect(request).await.map_or_else(IntoResponse::into_response, |it| Json(it).into_response())
}

async fn revoke<S: TokenStore, C: Clock>(State(oauth): State<Arc<OAuth<S, C>>>, request: Request) -> Response {
    oauth.revoke(request).await.map_or_else(IntoResponse::into_response, |it| Json(it).into_response())
}

/// The one `token` of the form. `token_type_hint` may be ignored, since every token is found in the same way; and so are
/// fields that nobody knows.
async fn token(request: Request) -> Result<String, Refusal> {
    let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
    let Form(fields) = form.map_err(|rejection| Refusal::unreadable(rejection.status()))?;
    let mut tokens = fields.into_iter().filter_map(|(name, value)| (name == "token").then_some(value));
    match (tokens.next(), tokens.next()) {
        (Some(token), None) if !token.is_empty() => Ok(token),
        // RFC 6749, section 3.1: no value is no parameter, and none comes twice.
        _ => Err(Refusal::unreadable(StatusCode::BAD_REQUEST)),
    }
}
