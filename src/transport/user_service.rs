//! `tokenward.v1.UserService`: decode, one domain call, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    domain::{Administration, Administrator, Clock, TokenStore, Users},
    proto::{self as pb, user_service_server::UserService},
};

use super::{convert, record};

/// The owners of tokens.
#[derive(Debug)]
pub struct Owners<S, C> {
    users: Arc<Users<S, C>>,
    administrator: Arc<Administrator<S, C>>,
}

// === impl Owners ===

impl<S, C> Owners<S, C> {
    /// Serves these users.
    pub fn new(users: Arc<Users<S, C>>, administrator: Arc<Administrator<S, C>>) -> Self {
        Self { users, administrator }
    }
}

#[tonic::async_trait]
impl<S: TokenStore + Administration, C: Clock> UserService for Owners<S, C> {
    async fn get_user(&self, request: Request<pb::GetUserRequest>) -> Result<Response<pb::GetUserResponse>, Status> {
        let user = self.users.user(convert::user_id("user_id", &request.into_inner().user_id)?).await?;
        Ok(Response::new(pb::GetUserResponse { user: Some(convert::user(&user)) }))
    }

    async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersResponse>, Status> {
        let (after, size) = convert::user_page(&request.into_inner())?;
        let page = self.administrator.users(after, size).await?;
        Ok(Response::new(pb::ListUsersResponse {
            users: page.users.iter().map(convert::user).collect(),
            next_page_token: page.next.as_ref().map(convert::after_user).unwrap_or_default(),
        }))
    }

    async fn upsert_user(
        &self,
        request: Request<pb::UpsertUserRequest>,
    ) -> Result<Response<pb::UpsertUserResponse>, Status> {
        let subject = record::subject(&request);
        let change = convert::user_change(request.into_inner())?;
        subject.change(&change);
        let (user, revocation) = self.users.upsert(change).await?;
        subject.revoked(&revocation);
        Ok(Response::new(pb::UpsertUserResponse {
            user: Some(convert::user(&user)),
            propagation: Some(convert::propagation(revocation.propagation)),
            revision: revocation.position.to_string(),
        }))
    }

    async fn delete_user(
        &self,
        request: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        let subject = record::subject(&request);
        let user = convert::user_id("user_id", &request.into_inner().user_id)?;
        subject.user(&user);
        let revocation = self.users.delete(user).await?;
        subject.revoked(&revocation);
        Ok(Response::new(pb::DeleteUserResponse {
            revoked_count: i64::try_from(revocation.count).unwrap_or(i64::MAX),
            propagation: Some(convert::propagation(revocation.propagation)),
            revision: revocation.position.to_string(),
        }))
    }
}
