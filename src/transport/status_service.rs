//! `tokenward.v1.StatusService`: how this replica is, from memory.

use tokio::{sync::watch, time::Instant};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    component::Condition,
    domain::{Clock, Timestamp},
    proto::{self as pb, status_service_server::StatusService},
};

use super::{
    convert,
    health::{Components, DATABASE, REDIS},
};

/// What does not change while the replica runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When it started.
    pub start: Timestamp,
    /// Whether callers are not authenticated on an address other hosts can reach.
    pub exposure: Exposure,
    /// Database kind.
    pub database_kind: &'static str,
    /// Where facts are cached.
    pub cache_kind: &'static str,
}

/// Who can reach the listener without a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Programs on this machine, if any.
    Loopback,
    /// Nobody: callers are known, and their keys encrypted.
    Guarded,
    /// Other hosts, or who listens to them: the operator said `--insecure`.
    Insecure,
}

/// Tells how this replica is.
#[derive(Debug)]
pub struct Replica<C, B> {
    id: Uuid,
    facts: Facts,
    components: Components,
    breaker: B,
    clock: C,
}

// === impl Replica ===

impl<C, B> Replica<C, B> {
    /// Describes a replica; `breaker` tells the state of the breaker around Redis, if there is one.
    pub fn new(facts: Facts, components: Components, breaker: B, clock: C) -> Self {
        Self { id: Uuid::new_v4(), facts, components, breaker, clock }
    }
}

impl<C: Clock, B> Replica<C, B> {
    fn component(&self, name: &str, condition: &watch::Receiver<Condition>) -> pb::Component {
        let Condition { lost, since: instant } = condition.borrow().clone();
        pb::Component {
            name: name.to_owned(),
            serving: lost.is_none(),
            cause: lost.unwrap_or_default(),
            since_time: Some(since(instant, self.clock.now())),
        }
    }
}

#[tonic::async_trait]
impl<C, B> StatusService for Replica<C, B>
where
    C: Clock,
    B: Fn() -> Option<pb::CircuitBreaker> + Send + Sync + 'static,
{
    async fn get_status(&self, _: Request<pb::GetStatusRequest>) -> Result<Response<pb::GetStatusResponse>, Status> {
        let redis = self.components.redis.as_ref();
        let components = std::iter::once(self.component(DATABASE, &self.components.database))
            .chain(redis.map(|redis| self.component(REDIS, redis)));
        Ok(Response::new(pb::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replica_id: self.id.to_string(),
            start_time: Some(convert::timestamp(self.facts.start)),
            insecure: self.facts.exposure == Exposure::Insecure,
            components: components.collect(),
            circuit_breaker: (self.breaker)(),
            database_kind: self.facts.database_kind.to_owned(),
            cache_kind: self.facts.cache_kind.to_owned(),
        }))
    }
}

/// The time of day of an instant in the past.
#[must_use]
pub fn since(instant: Instant, now: Timestamp) -> prost_types::Timestamp {
    convert::timestamp(chrono::TimeDelta::from_std(instant.elapsed()).map_or(now, |ago| now - ago))
}
