//! What the cache counts. The numbers are exported elsewhere; here they are only kept.
//!
//! No label holds a token, a `token_id` or a `user_id`: the words are fixed, and few.

use prometheus::{
    IntCounter, IntCounterVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::entry::Refusal;
use crate::metrics::{self, CacheRequests, Counts, FillRejection, Histograms, Reach, Scope, counter};

/// The counters of one cache. A clone counts on the same.
#[derive(Clone, Debug)]
pub struct Counters {
    /// What each tier was asked, and said.
    pub requests: CacheRequests,
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
    /// Facts that were read and not cached.
    pub fills_rejected: Counts<FillRejection>,
    /// Hits that were compared with the database afterwards.
    pub reproofs: IntCounter,
    /// Hits that the database contradicts, and the journal does not explain. More than 0
    /// means that changes go unrecorded.
    pub coherence_violations: IntCounter,
    /// Tombstones that Redis did not take at once.
    pub tombstones_owed: IntCounter,
    /// Tokens that were ended.
    pub revocations: Counts<Scope>,
    /// How long changes that ended tokens took from their commit to the answer.
    pub propagation: Histograms<Reach>,
}

// === impl Counters ===

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            requests: metrics::cache_requests(),
            misses: counter("cache_misses_total", "Look-ups that no cache could answer."),
            rate_limited: counter("lookups_rate_limited_total", "Look-ups refused for a caller's quota."),
            facts_refuted: counter("cache_facts_refuted_total", "Cached facts that the journal outdates."),
            facts_unproven: counter("cache_facts_unproven_total", "Cached facts that could not be judged."),
            entries_refused: refusals(),
            fills_rejected: metrics::fill_rejections(),
            reproofs: counter("cache_reproofs_total", "Hits compared with the database afterwards."),
            coherence_violations: counter(
                "coherence_violations_total",
                "Hits that the database contradicts and the journal does not explain.",
            ),
            tombstones_owed: counter("cache_tombstones_owed_total", "Tombstones that Redis did not take at once."),
            revocations: metrics::revocations(),
            propagation: metrics::propagation(),
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

    fn all(&self) -> [&dyn Collector; 12] {
        [
            &self.requests,
            &self.misses,
            &self.rate_limited,
            &self.facts_refuted,
            &self.facts_unproven,
            &self.entries_refused,
            &self.fills_rejected,
            &self.reproofs,
            &self.coherence_violations,
            &self.tombstones_owed,
            &self.revocations,
            &self.propagation,
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

/// All reasons are there from the start, so that a first refusal is an increase.
fn refusals() -> IntCounterVec {
    let opts = Opts::new("cache_entries_refused_total", "Entries in Redis that were no facts.").namespace("tokenward");
    let family = IntCounterVec::new(opts, &["reason"]).expect("the name is well-formed");
    for refusal in Refusal::ALL {
        family.with_label_values(&[refusal.label()]);
    }
    family
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, proto::Metric};

    use super::*;
    use crate::metrics::{RequestResult, Tier};

    #[test]
    fn a_registry_takes_all_and_sees_what_is_counted() {
        let (counters, registry) = (Counters::new(), Registry::new());
        registry.register(Box::new(counters.clone())).expect("no name stands twice");
        counters.requests.inc(Tier::Redis, RequestResult::Hit);
        counters.refused(Refusal::Mac);
        let families = registry.gather();
        assert_eq!(families.len(), 12);
        let labels: Vec<_> = families
            .iter()
            .flat_map(MetricFamily::get_metric)
            .filter(|metric| metric.get_counter().get_value() > 0.0)
            .flat_map(Metric::get_label)
            .map(|label| format!("{}={}", label.name(), label.value()))
            .collect();
        assert_eq!(labels, ["reason=mac", "tier=redis", "result=hit"]);
    }
}
