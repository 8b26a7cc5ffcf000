//! What `GetStatus` tells of the parts that are no component of their own.

use prometheus::IntCounter;

use super::Store;
use crate::{
    cache::{BreakerState, BreakerStatus, SharedCache},
    component::Chain,
    domain::Clock,
    journal::{DatabaseClock, Handle, Terms},
    proto as pb, transport,
};

/// The breaker around Redis.
pub(super) fn breaker(redis: &SharedCache, clock: &DatabaseClock) -> pb::CircuitBreaker {
    circuit_breaker(redis.breaker().status(), clock)
}

/// Its latest transitions, the last one at the end.
pub(super) fn transitions(redis: &SharedCache, clock: &DatabaseClock) -> Vec<pb::CircuitBreaker> {
    redis.breaker().recent().into_iter().map(|status| circuit_breaker(status, clock)).collect()
}

fn circuit_breaker(status: BreakerStatus, clock: &DatabaseClock) -> pb::CircuitBreaker {
    let state = match status.state {
        BreakerState::Closed => pb::CircuitBreakerState::Closed,
        BreakerState::Open => pb::CircuitBreakerState::Open,
        BreakerState::HalfOpen => pb::CircuitBreakerState::HalfOpen,
    };
    pb::CircuitBreaker {
        state: state.into(),
        transition_time: Some(transport::since(status.since, clock.now())),
        cause: status.cause,
        opened_count: i64::try_from(status.opened_count).unwrap_or(i64::MAX),
    }
}

/// What is known of the journal, and what the cache has counted since the start.
pub(super) fn coherence(journal: &Handle, terms: Terms, store: &Store) -> pb::Coherence {
    let counters = store.counters();
    let health = journal.health();
    pb::Coherence {
        revision: health.position.map(|position| position.to_string()).unwrap_or_default(),
        lag: health.lag.map(transport::stretch),
        lease_remaining: health.lease.map(transport::stretch),
        strict: terms.max_staleness.is_zero(),
        max_staleness: Some(transport::stretch(terms.max_staleness)),
        outage_grace: Some(transport::stretch(terms.outage_grace)),
        failure: health.failure.map(|lost| Chain(&lost).to_string()).unwrap_or_default(),
        facts_refuted: count(&counters.facts_refuted),
        entries_refused: counters.refused_in_all(),
        reproofs: count(&counters.reproofs),
        violations: count(&counters.coherence_violations),
        tombstones_owed: i64::try_from(store.tombstones_owed()).unwrap_or(i64::MAX),
    }
}

fn count(counter: &IntCounter) -> i64 {
    i64::try_from(counter.get()).unwrap_or(i64::MAX)
}
