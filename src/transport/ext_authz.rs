//! `envoy.service.auth.v3.Authorization`: Envoy asks whether a request may pass, and whose it is.
//!
//! Whatever can be is answered by a denial and not by a gRPC error: on an error Envoy lets the request pass
//! where `failure_mode_allow` is set, on a denial never. The statuses and challenges are RFC 6750's, section 3.

use envoy_types::ext_authz::v3::pb::{Authorization, CheckRequest, CheckResponse};
use tonic::{Request, Response, Status};

use crate::{
    config,
    domain::{Authenticator, Clock, TokenStore},
};

use super::caller::quota;

mod answer;
mod question;

use answer::{Challenge, Denial, Identity};
use question::{Question, Reader};

/// The name of the service.
pub const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// The door for Envoy.
#[derive(Debug)]
pub struct ExtAuthz<S, C> {
    authenticator: Authenticator<S, C>,
    reader: Reader,
    identity: Identity,
    challenge: Challenge,
}

// === impl ExtAuthz ===

impl<S, C> ExtAuthz<S, C> {
    /// Serves these decisions, in the headers that `settings` name.
    pub fn new(authenticator: Authenticator<S, C>, settings: &config::ExtAuthz) -> Self {
        Self {
            authenticator,
            reader: Reader::new(settings),
            identity: Identity::new(settings),
            challenge: Challenge::new(settings),
        }
    }
}

#[tonic::async_trait]
impl<S: TokenStore, C: Clock> Authorization for ExtAuthz<S, C> {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let quota = quota(&request);
        let Question { presented, scope, disguised } = self.reader.read(request.into_inner(), quota)?;
        let verdict = match presented {
            Ok(presented) => self.authenticator.authenticate(presented).await.map(|answer| answer.verdict),
            Err(denial) => return Ok(Response::new(self.challenge.denied(denial, &scope))),
        };
        Ok(Response::new(match verdict {
            Ok(Ok(record)) => self.identity.allowed(&record, disguised),
            Ok(Err(reason)) => self.challenge.denied(Denial::Inactive(reason), &scope),
            Err(error) => self.challenge.denied(Denial::Unanswered(error.into()), &scope),
        }))
    }
}
