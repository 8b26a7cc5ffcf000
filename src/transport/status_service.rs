//! `tokenward.v1.StatusService`: how this replica is, from memory.

use std::time::Duration;

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

/// What changes from moment to moment.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// The breaker around Redis; `None` where there is none.
    pub circuit_breaker: Option<pb::CircuitBreaker>,
    /// How far cached answers can be relied on.
    pub coherence: pb::Coherence,
    /// The breaker's latest transitions, the last one at the end.
    pub transitions: Vec<pb::CircuitBreaker>,
    /// How long ago the poll that the lease stands on had been sent.
    pub lease_age: Option<Duration>,
    /// How long the oldest tombstone has been owed to Redis.
    pub oldest_owed: Option<Duration>,
}

/// Tells how this replica is.
#[derive(Debug)]
pub struct Replica<C, V> {
    id: Uuid,
    facts: Facts,
    components: Components,
    vitals: V,
    clock: C,
    up: Instant,
}

// === impl Replica ===

impl<C, V> Replica<C, V> {
    /// Describes a replica whose `vitals` are asked each time.
    pub fn new(facts: Facts, components: Components, vitals: V, clock: C) -> Self {
        Self { id: Uuid::new_v4(), facts, components, vitals, clock, up: Instant::now() }
    }
}

impl<C: Clock, V> Replica<C, V> {
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

impl<C: Clock, V: Fn() -> Vitals> Replica<C, V> {
    /// How it is at this moment, from memory, and what the answer of `GetStatus` has no field for.
    pub fn describe(&self) -> (pb::GetStatusResponse, Vitals) {
        let redis = self.components.redis.as_ref();
        let components = std::iter::once(self.component(DATABASE, &self.components.database))
            .chain(redis.map(|redis| self.component(REDIS, redis)));
        let vitals = (self.vitals)();
        let status = pb::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replica_id: self.id.to_string(),
            start_time: Some(convert::timestamp(self.facts.start)),
            insecure: self.facts.exposure == Exposure::Insecure,
            components: components.collect(),
            circuit_breaker: vitals.circuit_breaker.clone(),
            coherence: Some(vitals.coherence.clone()),
            database_kind: self.facts.database_kind.to_owned(),
            cache_kind: self.facts.cache_kind.to_owned(),
        };
        (status, vitals)
    }

    /// How long it has been up.
    pub fn uptime(&self) -> Duration {
        self.up.elapsed()
    }
}

#[tonic::async_trait]
impl<C, V> StatusService for Replica<C, V>
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    async fn get_status(&self, _: Request<pb::GetStatusRequest>) -> Result<Response<pb::GetStatusResponse>, Status> {
        Ok(Response::new(self.describe().0))
    }
}

/// A length of time, as Protobuf has it.
#[must_use]
pub fn stretch(time: Duration) -> prost_types::Duration {
    convert::duration(time)
}

/// The time of day of an instant in the past.
#[must_use]
pub fn since(instant: Instant, now: Timestamp) -> prost_types::Timestamp {
    convert::timestamp(chrono::TimeDelta::from_std(instant.elapsed()).map_or(now, |ago| now - ago))
}
