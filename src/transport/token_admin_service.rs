//! `tokenward.v1.TokenAdminService`: decode, one domain call, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    domain::{Administration, Administrator, Clock, Revocations, TokenStore, Users},
    proto::{self as pb, token_admin_service_server::TokenAdminService},
};

use super::{
    caller::issuer,
    convert, record,
    watchers::{Events, Watchers},
};

/// The management surface.
#[derive(Debug)]
pub struct TokenAdmin<S, C, R> {
    users: Arc<Users<S, C>>,
    administrator: Arc<Administrator<S, C>>,
    watchers: Watchers<R>,
    clock: C,
}

// === impl TokenAdmin ===

impl<S, C, R> TokenAdmin<S, C, R> {
    /// Serves the tokens of these users, and what ends of them.
    pub fn new(
        users: Arc<Users<S, C>>,
        administrator: Arc<Administrator<S, C>>,
        watchers: Watchers<R>,
        clock: C,
    ) -> Self {
        Self { users, administrator, watchers, clock }
    }
}

#[tonic::async_trait]
impl<S: TokenStore + Administration, C: Clock, R: Revocations> TokenAdminService for TokenAdmin<S, C, R> {
    type WatchRevocationsStream = Events;

    async fn get_token(&self, request: Request<pb::GetTokenRequest>) -> Result<Response<pb::GetTokenResponse>, Status> {
        let record = self.users.token(convert::token_id(&request.into_inner().token_id)?).await?;
        let token = convert::token(&record, record.state(self.clock.now()));
        Ok(Response::new(pb::GetTokenResponse { token: Some(token) }))
    }

    async fn list_tokens(
        &self,
        request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensResponse>, Status> {
        let request = request.into_inner();
        let wanted = convert::page(&request)?;
        let states = wanted.states.clone();
        let page = self.users.tokens(wanted).await?;
        Ok(Response::new(convert::listed(&page, &request.user_id, &states, self.clock.now())))
    }

    async fn update_token(
        &self,
        request: Request<pb::UpdateTokenRequest>,
    ) -> Result<Response<pb::UpdateTokenResponse>, Status> {
        let subject = record::subject(&request);
        let (id, update) = convert::update(request.into_inner())?;
        subject.token(id);
        let (record, revocation) = self.administrator.update(id, update).await?;
        subject.user(&record.user.id);
        subject.revoked(&revocation);
        Ok(Response::new(pb::UpdateTokenResponse {
            token: Some(convert::token(&record, record.state(self.clock.now()))),
            propagation: Some(convert::propagation(revocation.propagation)),
            revision: revocation.position.to_string(),
        }))
    }

    async fn rotate_token(
        &self,
        request: Request<pb::RotateTokenRequest>,
    ) -> Result<Response<pb::RotateTokenResponse>, Status> {
        let (caller, subject) = (issuer(&request), record::subject(&request));
        let replacement = convert::rotation(&request.into_inner(), caller)?;
        subject.replace(&replacement);
        let replaced = self.administrator.rotate(replacement).await?;
        subject.replaced(&replaced);
        Ok(Response::new(convert::rotated(&replaced, self.clock.now())))
    }

    async fn watch_revocations(
        &self,
        request: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let start = convert::start_revision(&request.into_inner().start_revision)?;
        Ok(Response::new(self.watchers.follow(start).await?))
    }
}
