//! What the tests of the cache share, and the tests that need more than one of its parts.

mod batch;
mod cluster;
mod extend;
mod find;
pub(super) mod fixture;
mod outage;
mod proof;
pub(super) mod redis;
mod relay;
mod reproof;
mod revoke;
mod store;
mod together;
