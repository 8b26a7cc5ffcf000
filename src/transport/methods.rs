//! Which service answers a request.
//!
//! tonic's [`Routes`] is a router of axum's, which costs each call several allocations. The service that every request
//! of a backend asks is told from the others before.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{body::Body, codegen::BoxFuture, service::Routes};
use tower::Service;

use super::token_service::Tokens;
use crate::{
    domain::{Clock, TokenStore},
    proto::token_service_server::TokenServiceServer,
};

/// Where the hot path begins.
const TOKENS: &str = "/tokenward.v1.TokenService/";

/// All services.
#[derive(Debug)]
pub(super) struct Methods<S, C> {
    tokens: TokenServiceServer<Tokens<S, C>>,
    others: Routes,
}

// === impl Methods ===

impl<S, C> Methods<S, C> {
    pub(super) fn new(tokens: TokenServiceServer<Tokens<S, C>>, others: Routes) -> Self {
        Self { tokens, others: others.prepare() }
    }
}

impl<S, C> Clone for Methods<S, C> {
    fn clone(&self) -> Self {
        Self { tokens: self.tokens.clone(), others: self.others.clone() }
    }
}

impl<S: TokenStore, C: Clock> Service<Request<Body>> for Methods<S, C> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither of them is ever not ready: what bounds them is the edge, and it refuses.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(TOKENS) {
            return self.tokens.call(request);
        }
        Box::pin(self.others.call(request))
    }
}
