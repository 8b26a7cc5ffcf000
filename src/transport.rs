//! The gRPC server: the services, behind the edge, on the listener's connections.

use std::sync::Arc;

use envoy_types::ext_authz::v3::pb::AuthorizationServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::Layer as _;

use crate::{
    audit::Audit,
    config,
    domain::{Administration, Clock, Epochs, Inspection, Revocations, TokenStore},
    metrics::rpc::Rpcs,
    proto::{
        DESCRIPTORS, cache_service_server::CacheServiceServer, health::health_server::HealthServer,
        status_service_server::StatusServiceServer, token_admin_service_server::TokenAdminServiceServer,
        token_service_server::TokenServiceServer, user_service_server::UserServiceServer,
    },
    reload::Live,
    threads::Threads,
};

mod accept;
pub(crate) mod activity;
mod cache_service;
mod caller;
pub(crate) mod connection;
mod convert;
mod counted;
mod edge;
mod ext_authz;
pub mod health;
pub(crate) mod listener;
mod methods;
pub(crate) mod record;
mod status;
mod status_service;
pub mod tls;
mod token_admin_service;
mod token_service;
mod user_service;
mod watchers;
mod whole;

pub use accept::raise_open_files;
pub use cache_service::Caches;
pub use caller::Gate;
pub(crate) use caller::Peer;
pub use edge::EdgeLayer;
pub use ext_authz::{ExtAuthz, SERVICE as EXT_AUTHZ};
pub use listener::{Address, Listener};
use methods::Methods;
pub use status::ERROR_DOMAIN;
pub use status_service::{Exposure, Facts, Replica, Vitals, since, stretch};
pub use token_admin_service::TokenAdmin;
pub use token_service::{Counts, Tokens};
pub use user_service::Owners;
pub use watchers::{Closing, Watchers};

/// Largest question to health, in bytes: probes are answered even while load is shed.
const MAX_PROBE_BYTES: usize = 1024;

/// Everything that answers requests.
#[derive(Debug)]
pub struct Services<S, C, V, R> {
    /// `tokenward.v1.TokenService`.
    pub tokens: Tokens<S, C>,
    /// `tokenward.v1.TokenAdminService`.
    pub admin: TokenAdmin<S, C, R>,
    /// `tokenward.v1.UserService`.
    pub owners: Owners<S, C>,
    /// `tokenward.v1.CacheService`.
    pub caches: Caches<S>,
    /// `tokenward.v1.StatusService`.
    pub replica: Arc<Replica<C, V>>,
    /// `envoy.service.auth.v3.Authorization`, where Envoy is served.
    pub ext_authz: Option<ExtAuthz<S, C>>,
    /// `grpc.health.v1.Health`.
    pub probes: health::Probes,
}

/// What is decided of a call before its method is asked, and kept of it afterwards.
#[derive(Clone, Debug)]
pub struct Door {
    /// Who is let through.
    pub gate: Gate,
    /// Where it is recorded.
    pub audit: Audit,
    /// Where it is counted.
    pub rpcs: &'static Rpcs,
}

/// What is on the wire, before there is a request.
#[derive(Debug)]
pub struct Socket<'a> {
    /// Where connections come from.
    pub listener: Listener,
    /// TLS, where it is spoken.
    pub tls: Option<Live<tls::Config>>,
    /// What serves the connections.
    pub threads: &'a Threads,
}

/// Serves until `stop`, then lets requests under way finish, and after them `changes`, whose
/// callers may have gone, for at most `server.drain_timeout` in all.
pub async fn serve<S, C, V, R>(
    socket: Socket<'_>,
    settings: &config::Server,
    door: Door,
    services: Services<S, C, V, R>,
    stop: CancellationToken,
    changes: impl Future<Output = ()>,
) where
    S: TokenStore + Administration + Epochs + Inspection,
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
    R: Revocations,
{
    let edge = EdgeLayer::new(door, settings);
    let services = edge.layer(methods(settings, services));
    accept::serve(socket, settings, services, stop, changes).await;
}

fn methods<S, C, V, R>(settings: &config::Server, services: Services<S, C, V, R>) -> Methods<S, C>
where
    S: TokenStore + Administration + Epochs + Inspection,
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
    R: Revocations,
{
    let limit = usize::try_from(settings.max_message_bytes).unwrap_or(usize::MAX);
    let mut routes = Routes::default()
        .add_service(TokenAdminServiceServer::new(services.admin).max_decoding_message_size(limit))
        .add_service(UserServiceServer::new(services.owners).max_decoding_message_size(limit))
        .add_service(CacheServiceServer::new(services.caches).max_decoding_message_size(limit))
        .add_service(StatusServiceServer::from_arc(services.replica).max_decoding_message_size(limit))
        .add_service(HealthServer::new(services.probes).max_decoding_message_size(MAX_PROBE_BYTES));
    if let Some(door) = services.ext_authz {
        routes = routes.add_service(AuthorizationServer::new(door).max_decoding_message_size(limit));
    }
    if settings.reflection {
        let described = "build.rs wrote the descriptor set";
        routes = routes
            .add_service(reflection().build_v1().expect(described))
            .add_service(reflection().build_v1alpha().expect(described));
    }
    Methods::new(TokenServiceServer::new(services.tokens).max_decoding_message_size(limit), routes)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS)
}
