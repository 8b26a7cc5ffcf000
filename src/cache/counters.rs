//! What the cache counts. The numbers are exported elsewhere; here they are only kept.
//!
//! No label holds a token, a `token_id` or a `user_id`: the words are fixed, and few.

use prometheus::{
    IntCounter, IntCounterVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::entry::Refusal;

/// The counters of one cache. A clone counts on the same.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Look-ups that were answered from a cache, by tier: `memo`, `memory` or `redis`.
    pub hits: Hits,
    /// Look-ups that no cache could answer, although one was allowed to.
    pub misses: IntCounter,
    /// Look-ups that were not made, since their caller had asked for too many tokens that are not active.
    pub rate_limited: IntCounter,
    /// Facts not used because the journal outdates them.
    pub facts_refuted: IntCounter,
    /// Facts not used because nothing here could tell: no lease, another epoch, below the floor.
    pub facts_unproven: IntCounter,
    /// Entries in Redis that were no facts of ours, by reason.
    pub entries_refused: IntCounterVec,
    /// Fills that met a tombstone in Redis.
    pub fills_tombstoned: IntCounter,
    /// Hits that were compared with the database afterwards.
    pub reproofs: IntCounter,
    /// Hits that the database contradicts, and the journal does not explain. More than 0
    /// means that changes go unrecorded.
    pub coherence_violations: IntCounter,
    /// Tombstones that Redis did not take at once.
    pub tombstones_owed: IntCounter,
}

/// A counter for each tier; resolved once, since hits are frequent.
#[derive(Clone, Debug)]
pub struct Hits {
    tiers: IntCounterVec,
    /// The memo of unknown and revoked tokens.
    pub memo: IntCounter,
    /// This process's memory.
    pub memory: IntCounter,
    /// Redis.
    pub redis: IntCounter,
}

// === impl Counters ===

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            hits: Hits::new(),
            misses: counter("cache_misses_total", "Look-ups that no cache could answer."),
            rate_limited: counter("lookups_rate_limited_total", "Look-ups refused for a caller's quota."),
            facts_refuted: counter("cache_facts_refuted_total", "Cached facts that the journal outdates."),
            facts_unproven: counter("cache_facts_unproven_total", "Cached facts that could not be judged."),
            entries_refused: vector("cache_entries_refused_total", "Entries in Redis that were no facts.", "reason"),
            fills_tombstoned: counter("cache_fills_tombstoned_total", "Fills that met a tombstone."),
            reproofs: counter("cache_reproofs_total", "Hits compared with the database afterwards."),
            coherence_violations: counter(
                "coherence_violations_total",
                "Hits that the database contradicts and the journal does not explain.",
            ),
            tombstones_owed: counter("cache_tombstones_owed_total", "Tombstones that Redis did not take at once."),
        }
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.entries_refused.with_label_values(&[refusal.label()]).inc();
    }

    /// Entries refused, for whatever reason.
    #[must_use]
    pub fn refused_in_all(&self) -> i64 {
        let families = self.entries_refused.collect();
        let counts = families.iter().flat_map(MetricFamily::get_metric).map(|metric| metric.get_counter().get_value());
        #[expect(clippy::cast_possible_truncation, reason = "a count of entries is far from 2^53")]
        let sum = counts.sum::<f64>() as i64;
        sum
    }

    fn all(&self) -> [&dyn Collector; 10] {
        [
            &self.hits.tiers,
            &self.misses,
            &self.rate_limited,
            &self.facts_refuted,
            &self.facts_unproven,
            &self.entries_refused,
            &self.fills_tombstoned,
            &self.reproofs,
            &self.coherence_violations,
            &self.tombstones_owed,
        ]
    }
}

/// So that a registry takes all of them at once.
impl Collector for Counters {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::with_opts(opts(name, help)).expect("the name is well-formed")
}

fn vector(name: &str, help: &str, label: &str) -> IntCounterVec {
    IntCounterVec::new(opts(name, help), &[label]).expect("the name is well-formed")
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("tokenward")
}

// === impl Hits ===

impl Hits {
    fn new() -> Self {
        let tiers = vector("cache_hits_total", "Look-ups that were answered from a cache.", "tier");
        let [memo, memory, redis] = ["memo", "memory", "redis"].map(|tier| tiers.with_label_values(&[tier]));
        Self { tiers, memo, memory, redis }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, proto::Metric};

    use super::*;

    #[test]
    fn a_registry_takes_all_and_sees_what_is_counted() {
        let (counters, registry) = (Counters::new(), Registry::new());
        registry.register(Box::new(counters.clone())).expect("no name stands twice");
        counters.hits.redis.inc();
        counters.refused(Refusal::Mac);
        let families = registry.gather();
        assert_eq!(families.len(), 10);
        let labels: Vec<_> = families
            .iter()
            .flat_map(MetricFamily::get_metric)
            .filter(|metric| metric.get_counter().get_value() > 0.0)
            .flat_map(Metric::get_label)
            .map(|label| format!("{}={}", label.name(), label.value()))
            .collect();
        assert_eq!(labels, ["reason=mac", "tier=redis"]);
    }
}
