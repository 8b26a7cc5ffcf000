//! `tokenward.v1.TokenService`: decode, one domain call, encode.

use prometheus::IntCounterVec;
use tonic::{Request, Response, Status};

use crate::{
    domain::{Answer, Authenticator, Clock, InactiveReason, Issuer, Propagation, Revoker, Source, TokenStore},
    metrics::{self, AuthResult, AuthSource, Authentications},
    proto::{self as pb, token_service_server::TokenService},
};

use super::{
    caller::{issuer, quota, revocation_quota},
    convert, record,
};

/// The hot path, and what changes tokens.
#[derive(Debug)]
pub struct Tokens<S, C> {
    authenticator: Authenticator<S, C>,
    issuer: Issuer<S, C>,
    revoker: Revoker<S, C>,
    counts: Counts,
}

/// What is counted of tokens.
#[derive(Clone, Debug)]
pub struct Counts {
    /// How those that were presented were judged.
    pub authentications: Authentications,
    /// Those that were issued, by the name of the caller.
    pub issued: IntCounterVec,
}

/// Tokens that are being judged.
pub(crate) struct Judging<'a> {
    authentications: &'a Authentications,
    unanswered: usize,
}

// === impl Tokens ===

impl<S, C> Tokens<S, C> {
    /// Serves these decisions.
    pub fn new(
        authenticator: Authenticator<S, C>,
        issuer: Issuer<S, C>,
        revoker: Revoker<S, C>,
        counts: Counts,
    ) -> Self {
        Self { authenticator, issuer, revoker, counts }
    }
}

// === impl Counts ===

impl Default for Counts {
    fn default() -> Self {
        Self { authentications: metrics::authentications(), issued: metrics::issued() }
    }
}

impl Counts {
    /// So many tokens are about to be judged. Those of a judging that is dropped were not answered.
    pub(crate) fn judging(&self, tokens: usize) -> Judging<'_> {
        Judging { authentications: &self.authentications, unanswered: tokens }
    }
}

// === impl Judging ===

impl Judging<'_> {
    pub(crate) fn end<'a>(mut self, answers: impl IntoIterator<Item = &'a Answer>) {
        for answer in answers {
            self.unanswered -= 1;
            self.authentications.inc(result(answer), source(answer.source));
        }
    }
}

impl Drop for Judging<'_> {
    fn drop(&mut self) {
        (0..self.unanswered).for_each(|_| self.authentications.inc(AuthResult::Unanswered, AuthSource::None));
    }
}

fn result(answer: &Answer) -> AuthResult {
    match answer.verdict {
        Ok(_) => AuthResult::Active,
        Err(InactiveReason::Malformed) => AuthResult::Malformed,
        Err(InactiveReason::Unknown) => AuthResult::Unknown,
        Err(InactiveReason::Expired) => AuthResult::Expired,
        Err(InactiveReason::Revoked) => AuthResult::Revoked,
        Err(InactiveReason::UserDisabled) => AuthResult::UserDisabled,
        Err(InactiveReason::ScopeMissing) => AuthResult::ScopeMissing,
    }
}

fn source(source: Source) -> AuthSource {
    match source {
        Source::TokenFormat => AuthSource::None,
        Source::LocalCache => AuthSource::LocalCache,
        Source::SharedCache => AuthSource::SharedCache,
        Source::Database => AuthSource::Database,
    }
}

#[tonic::async_trait]
impl<S: TokenStore, C: Clock> TokenService for Tokens<S, C> {
    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let quota = quota(&request);
        let presented = convert::presented(request.into_inner(), "", quota.as_ref())?;
        let judging = self.counts.judging(1);
        let answer = self.authenticator.authenticate(presented).await?;
        judging.end([&answer]);
        Ok(Response::new(convert::authenticated(answer)))
    }

    async fn batch_authenticate(
        &self,
        request: Request<pb::BatchAuthenticateRequest>,
    ) -> Result<Response<pb::BatchAuthenticateResponse>, Status> {
        let quota = quota(&request);
        let batch = convert::batch(request.into_inner(), quota.as_ref())?;
        let judging = self.counts.judging(batch.len());
        let answers = self.authenticator.authenticate_all(batch).await?;
        judging.end(&answers);
        let responses = answers.into_iter().map(convert::authenticated).collect();
        Ok(Response::new(pb::BatchAuthenticateResponse { responses }))
    }

    async fn issue_token(
        &self,
        request: Request<pb::IssueTokenRequest>,
    ) -> Result<Response<pb::IssueTokenResponse>, Status> {
        let (caller, subject) = (issuer(&request), record::subject(&request));
        let name = caller.clone().unwrap_or_default();
        let asked = convert::issue(request.into_inner(), caller)?;
        subject.issue(&asked);
        let issued = self.issuer.issue(asked).await?;
        subject.token(issued.record.digest.token_id());
        self.counts.issued.with_label_values(&[&*name]).inc();
        Ok(Response::new(pb::IssueTokenResponse {
            secret: issued.secret.expose().to_owned(),
            token: Some(convert::token(&issued.record, issued.state)),
        }))
    }

    async fn revoke(&self, request: Request<pb::RevokeRequest>) -> Result<Response<pb::RevokeResponse>, Status> {
        let (subject, quota) = (record::subject(&request), revocation_quota(&request));
        let request = request.into_inner();
        let cause = convert::revocation_cause(request.reason)?;
        subject.cause(cause);
        let target = convert::target(request.target)?.filter(|token| self.revoker.admits(token));
        let Some(target) = target else {
            return Ok(Response::new(pb::RevokeResponse {
                propagation: Some(convert::propagation(Propagation::Complete)),
                ..pb::RevokeResponse::default()
            }));
        };
        subject.token(self.revoker.token_id(&target));
        let revocation = self.revoker.revoke(target, cause, quota.as_deref()).await?;
        subject.revoked(&revocation);
        Ok(Response::new(pb::RevokeResponse {
            revoked: revocation.count > 0,
            propagation: Some(convert::propagation(revocation.propagation)),
            revision: revocation.position.to_string(),
        }))
    }

    async fn revoke_all(
        &self,
        request: Request<pb::RevokeAllRequest>,
    ) -> Result<Response<pb::RevokeAllResponse>, Status> {
        let subject = record::subject(&request);
        let request = request.into_inner();
        let cause = convert::revocation_cause(request.reason)?;
        subject.cause(cause);
        let user = convert::user_id("user_id", &request.user_id)?;
        subject.user(&user);
        let except = convert::except(request.except)?;
        let revocation = self.revoker.revoke_all(user, except, cause).await?;
        subject.revoked(&revocation);
        Ok(Response::new(pb::RevokeAllResponse {
            revoked_count: i64::try_from(revocation.count).unwrap_or(i64::MAX),
            propagation: Some(convert::propagation(revocation.propagation)),
            revision: revocation.position.to_string(),
        }))
    }
}
