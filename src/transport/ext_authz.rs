//! `envoy.service.auth.v3.Authorization`: Envoy asks whether a request may pass, and whose it is.
//!
//! Whatever can be is answered by a denial and not by a gRPC error: on an error Envoy lets the request pass
//! where `failure_mode_allow` is set, on a denial never. The statuses and challenges are RFC 6750's, section 3.

use envoy_types::ext_authz::v3::pb::{Authorization, CheckRequest, CheckResponse};
use tonic::{Request, Response, Status};

use crate::{
    config,
    domain::{Answer, Authenticator, Clock, Error, Presented, TokenStore},
    spans,
};

use super::{caller::quota, token_service::Counts};

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
    counts: Counts,
    reader: Reader,
    identity: Identity,
    challenge: Challenge,
}

// === impl ExtAuthz ===

impl<S, C> ExtAuthz<S, C> {
    /// Serves these decisions, in the headers that `settings` name, and counts them.
    pub fn new(authenticator: Authenticator<S, C>, counts: Counts, settings: &config::ExtAuthz) -> Self {
        Self {
            authenticator,
            counts,
            reader: Reader::new(settings),
            identity: Identity::new(settings),
            challenge: Challenge::new(settings),
        }
    }
}

impl<S: TokenStore, C: Clock> ExtAuthz<S, C> {
    async fn judge(&self, presented: Presented) -> Result<Answer, Error> {
        let judging = self.counts.judging(1);
        let answer = self.authenticator.authenticate(presented).await?;
        judging.end([&answer]);
        Ok(answer)
    }
}

/// Whoever asks without a trace of its own may be asking for a request that has one.
fn below_the_request(asked: &Request<CheckRequest>) {
    let http = || asked.get_ref().attributes.as_ref()?.request.as_ref()?.http.as_ref();
    if !asked.metadata().contains_key(spans::TRACEPARENT)
        && let Some(http) = http()
    {
        spans::carry_on(&http.headers);
    }
}

#[tonic::async_trait]
impl<S: TokenStore, C: Clock> Authorization for ExtAuthz<S, C> {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let quota = quota(&request);
        below_the_request(&request);
        let Question { presented, scope, disguised } = self.reader.read(request.into_inner(), quota)?;
        let judged = match presented {
            Ok(presented) => self.judge(presented).await,
            Err(denial) => return Ok(Response::new(self.challenge.denied(denial, &scope))),
        };
        Ok(Response::new(match judged.map(|answer| answer.verdict) {
            Ok(Ok(record)) => self.identity.allowed(&record, disguised),
            Ok(Err(reason)) => self.challenge.denied(Denial::Inactive(reason), &scope),
            Err(error) => self.challenge.denied(Denial::Unanswered(error.into()), &scope),
        }))
    }
}
