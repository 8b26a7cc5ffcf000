//! `tokenward.v1.TokenService`: decode, one domain call, encode.

use tonic::{Request, Response, Status};

use crate::{
    domain::{Authenticator, Clock, Issuer, Propagation, Revoker, TokenStore},
    proto::{self as pb, token_service_server::TokenService},
};

use super::{
    caller::{issuer, quota},
    convert, record,
};

/// The hot path, and what changes tokens.
#[derive(Debug)]
pub struct Tokens<S, C> {
    authenticator: Authenticator<S, C>,
    issuer: Issuer<S, C>,
    revoker: Revoker<S, C>,
}

// === impl Tokens ===

impl<S, C> Tokens<S, C> {
    /// Serves these decisions.
    pub fn new(authenticator: Authenticator<S, C>, issuer: Issuer<S, C>, revoker: Revoker<S, C>) -> Self {
        Self { authenticator, issuer, revoker }
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
        let answer = self.authenticator.authenticate(presented).await?;
        Ok(Response::new(convert::authenticated(&answer)))
    }

    async fn batch_authenticate(
        &self,
        request: Request<pb::BatchAuthenticateRequest>,
    ) -> Result<Response<pb::BatchAuthenticateResponse>, Status> {
        let quota = quota(&request);
        let batch = convert::batch(request.into_inner(), quota.as_ref())?;
        let answers = self.authenticator.authenticate_all(batch).await?;
        let responses = answers.iter().map(convert::authenticated).collect();
        Ok(Response::new(pb::BatchAuthenticateResponse { responses }))
    }

    async fn issue_token(
        &self,
        request: Request<pb::IssueTokenRequest>,
    ) -> Result<Response<pb::IssueTokenResponse>, Status> {
        let (caller, subject) = (issuer(&request), record::subject(&request));
        let asked = convert::issue(request.into_inner(), caller)?;
        subject.issue(&asked);
        let issued = self.issuer.issue(asked).await?;
        subject.token(issued.record.digest.token_id());
        Ok(Response::new(pb::IssueTokenResponse {
            secret: issued.secret.expose().to_owned(),
            token: Some(convert::token(&issued.record, issued.state)),
        }))
    }

    async fn revoke(&self, request: Request<pb::RevokeRequest>) -> Result<Response<pb::RevokeResponse>, Status> {
        let subject = record::subject(&request);
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
        let revocation = self.revoker.revoke(target, cause).await?;
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
