//! The tonic server: limits, services, and the drain.

use std::{future::Future, time::Duration};

use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    config,
    domain::{Clock, Epochs, TokenStore},
    proto::{
        DESCRIPTORS, cache_service_server::CacheServiceServer, health::health_server::HealthServer,
        status_service_server::StatusServiceServer, token_admin_service_server::TokenAdminServiceServer,
        token_service_server::TokenServiceServer, user_service_server::UserServiceServer,
    },
};

mod cache_service;
mod convert;
mod edge;
pub mod health;
mod status;
mod status_service;
mod token_admin_service;
mod token_service;
mod user_service;

pub use cache_service::Caches;
pub use edge::EdgeLayer;
pub use status::ERROR_DOMAIN;
pub use status_service::{Exposure, Facts, Replica, Vitals, since, stretch};
pub use token_admin_service::TokenAdmin;
pub use token_service::Tokens;
pub use user_service::Owners;

/// What hyper limits by itself and tonic lifts: resets that a peer may cause, before its connection is closed
/// (CVE-2023-44487 and its kin).
const MAX_LOCAL_ERROR_RESETS: usize = 1024;
const MAX_PENDING_ACCEPT_RESETS: usize = 20;
/// Largest question to health, in bytes: probes are answered even while load is shed.
const MAX_PROBE_BYTES: usize = 1024;
/// Largest header list of a request, in bytes.
const MAX_HEADER_BYTES: u32 = 8 * 1024;

/// Everything that answers requests.
#[derive(Debug)]
pub struct Services<S, C, V> {
    /// `tokenward.v1.TokenService`.
    pub tokens: Tokens<S, C>,
    /// `tokenward.v1.TokenAdminService`.
    pub admin: TokenAdmin<S, C>,
    /// `tokenward.v1.UserService`.
    pub owners: Owners<S, C>,
    /// `tokenward.v1.CacheService`.
    pub caches: Caches<S>,
    /// `tokenward.v1.StatusService`.
    pub replica: Replica<C, V>,
    /// `grpc.health.v1.Health`.
    pub probes: health::Probes,
}

/// Serves until `stop`, then lets requests under way finish, and after them `changes`, whose
/// callers may have gone, for at most `server.drain_timeout` in all.
///
/// # Errors
/// When the listener fails.
pub async fn serve<S, C, V>(
    listener: TcpListener,
    settings: &config::Server,
    services: Services<S, C, V>,
    stop: CancellationToken,
    changes: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    S: TokenStore + Epochs,
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    let limit = usize::try_from(settings.max_message_bytes).unwrap_or(usize::MAX);
    let described = "build.rs wrote the descriptor set";
    let v1 = settings.reflection.then(|| reflection().build_v1().expect(described));
    let v1alpha = settings.reflection.then(|| reflection().build_v1alpha().expect(described));
    let serving = server(settings)
        .layer(EdgeLayer::new(settings.max_concurrent_requests, settings.request_timeout))
        .add_service(TokenServiceServer::new(services.tokens).max_decoding_message_size(limit))
        .add_service(TokenAdminServiceServer::new(services.admin).max_decoding_message_size(limit))
        .add_service(UserServiceServer::new(services.owners).max_decoding_message_size(limit))
        .add_service(CacheServiceServer::new(services.caches).max_decoding_message_size(limit))
        .add_service(StatusServiceServer::new(services.replica).max_decoding_message_size(limit))
        .add_service(HealthServer::new(services.probes).max_decoding_message_size(MAX_PROBE_BYTES))
        .add_optional_service(v1)
        .add_optional_service(v1alpha)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.clone().cancelled_owned(),
        );
    let draining = async {
        let served = serving.await;
        changes.await;
        served
    };
    bounded_drain(draining, stop, settings.drain_timeout).await
}

fn server(settings: &config::Server) -> Server {
    Server::builder()
        .max_concurrent_streams(settings.max_concurrent_streams)
        .http2_keepalive_interval(Some(settings.keepalive_interval))
        .http2_keepalive_timeout(Some(settings.keepalive_timeout))
        .max_connection_age(settings.max_connection_age)
        .max_connection_age_grace(settings.max_connection_age_grace)
        .http2_max_local_error_reset_streams(Some(MAX_LOCAL_ERROR_RESETS))
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_ACCEPT_RESETS))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS)
}

/// Waits for the server; after `stop`, at most `limit` longer.
async fn bounded_drain<F>(serving: F, stop: CancellationToken, limit: Duration) -> F::Output
where
    F: Future<Output = Result<(), tonic::transport::Error>>,
{
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        () = stop.cancelled() => {}
    }
    timeout(limit, serving).await.unwrap_or_else(|_| {
        tracing::warn!("requests or changes under way did not finish within server.drain_timeout");
        Ok(())
    })
}
