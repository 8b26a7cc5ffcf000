//! Real servers, a relay that breaks what is between them, and the service itself.
//!
//! Servers listen on Unix sockets in a directory of their own and only the relay owns a
//! TCP port, so tests run side by side and nothing is left behind.

pub(crate) mod browser;
pub(crate) mod callers;
pub(crate) mod canary;
pub(crate) mod client;
pub(crate) mod envoy;
pub(crate) mod eventually;
mod held;
pub(crate) mod http;
pub(crate) mod loopback;
pub(crate) mod mariadb;
pub(crate) mod otlp;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod python;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod sql;
pub(crate) mod stack;
pub(crate) mod template;
mod tests;
