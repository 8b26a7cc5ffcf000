//! `tokenward.v1.TokenAdminService`: decode, one domain call, encode.

use std::sync::Arc;

use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use crate::{
    domain::{Clock, TokenStore, Users},
    proto::{self as pb, token_admin_service_server::TokenAdminService},
};

use super::{convert, status};

/// The management surface.
#[derive(Debug)]
pub struct TokenAdmin<S, C> {
    users: Arc<Users<S, C>>,
    clock: C,
}

// === impl TokenAdmin ===

impl<S, C> TokenAdmin<S, C> {
    /// Serves the tokens of these users.
    pub fn new(users: Arc<Users<S, C>>, clock: C) -> Self {
        Self { users, clock }
    }
}

#[tonic::async_trait]
impl<S: TokenStore, C: Clock> TokenAdminService for TokenAdmin<S, C> {
    type WatchRevocationsStream = Empty<Result<pb::WatchRevocationsResponse, Status>>;

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
        _: Request<pb::UpdateTokenRequest>,
    ) -> Result<Response<pb::UpdateTokenResponse>, Status> {
        Err(status::unimplemented())
    }

    async fn rotate_token(
        &self,
        _: Request<pb::RotateTokenRequest>,
    ) -> Result<Response<pb::RotateTokenResponse>, Status> {
        Err(status::unimplemented())
    }

    async fn watch_revocations(
        &self,
        _: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        Err(status::unimplemented())
    }
}
