//! tokenward validates opaque API tokens over gRPC.
//!
//! Read the modules in this order; imports point at [`domain`], and a request flows
//! one way: transport, domain, cache, store.

pub mod domain;

pub mod component;
pub mod config;
pub mod metrics;
mod mutant;
mod open_files;
pub mod threads;

pub mod audit;
pub mod callers;
pub mod reload;
pub mod request;
pub mod spans;
pub mod tls;

pub mod cache;
pub mod journal;
pub mod knox_redis;
pub mod store;

pub mod http;
pub mod transport;

pub mod app;
pub mod bench;
pub mod cli;
pub mod shutdown;
pub mod telemetry;

/// The contract, generated from `proto/tokenward/v1/`.
pub mod proto {
    #![expect(clippy::pedantic, clippy::disallowed_methods, clippy::allow_attributes, reason = "generated code")]
    tonic::include_proto!("tokenward.v1");

    /// The descriptor set that reflection serves.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

    pub mod code;
    pub mod codec;
    pub mod json;

    /// `grpc.health.v1` with List; its messages are tonic-health's.
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
}
