//! Everything that is counted or can be looked up, in one registry.

use std::{sync::Arc, time::Duration};

use prometheus::{
    IntCounterVec, Registry,
    core::{Collector, Desc},
    process_collector::ProcessCollector,
    proto::MetricFamily,
};
use tokio::task::JoinSet;

use super::Store;
use crate::{
    audit::Audit,
    cache::{BreakerState, SharedCache},
    http::{Recent, Totals},
    journal::Handle,
    metrics::{AuthSource, Label as _, Observed, Reading, Transition, rpc::Rpcs},
    reload,
    store::Database,
    transport::{Counts, Gate, health::Readiness},
};

/// What tells the numbers.
#[derive(Clone)]
pub(super) struct Gathered {
    pub(super) rpcs: &'static Rpcs,
    pub(super) counts: Counts,
    pub(super) gate: Gate,
    pub(super) store: Arc<Store>,
    pub(super) database: Database,
    pub(super) redis: Option<SharedCache>,
    pub(super) journal: Handle,
    pub(super) readiness: Readiness,
    pub(super) audit: Audit,
    pub(super) reloads: reload::Counters,
}

/// Tokens issued, by caller: whoever may issue one has a count, 0 until then.
struct Issued {
    family: IntCounterVec,
    gate: Gate,
}

/// What makes a token of nothing.
const ISSUE: &str = "/tokenward.v1.TokenService/IssueToken";

// === impl Issued ===

impl Collector for Issued {
    fn desc(&self) -> Vec<&Desc> {
        self.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for name in self.gate.allowed(ISSUE) {
            self.family.with_label_values(&[&name]);
        }
        self.family.collect()
    }
}

// === impl Gathered ===

impl Gathered {
    /// All of it, for a scrape.
    pub(super) fn registry(&self) -> Registry {
        let registry = Registry::new();
        let mut all: Vec<Box<dyn Collector>> = vec![
            Box::new(self.rpcs),
            Box::new(self.counts.authentications.clone()),
            Box::new(Issued { family: self.counts.issued.clone(), gate: self.gate.clone() }),
            Box::new(self.store.counters().clone()),
            Box::new(self.audit.counters().clone()),
            Box::new(self.reloads.clone()),
            Box::new(ProcessCollector::for_self()),
            Box::new(self.health()),
            Box::new(build_info()),
        ];
        all.extend(self.database.collectors());
        all.extend(self.backlog());
        all.extend(self.lags());
        all.extend(self.redis.clone().into_iter().flat_map(breaker));
        for collector in all {
            registry.register(collector).expect("no name stands twice");
        }
        registry
    }

    /// The last two minutes, second by second; a task keeps them.
    pub(super) fn recent(&self, background: &mut JoinSet<()>) -> Recent {
        let (counts, rpcs) = (self.counts.authentications.clone(), self.rpcs);
        let totals = move || Totals {
            local: counts.of(AuthSource::LocalCache),
            shared: counts.of(AuthSource::SharedCache),
            database: counts.of(AuthSource::Database),
            other: counts.of(AuthSource::None),
            latencies: rpcs.latencies(),
        };
        let (recent, keep) = Recent::start(totals);
        background.spawn(keep);
        recent
    }

    fn health(&self) -> impl Collector + use<> {
        let readiness = self.readiness.clone();
        let help = "Whether grpc.health.v1 says SERVING of a name; the empty one is the server as a whole.";
        Observed::new("health_status", help, &["service"], move || {
            let names = readiness.names().into_iter();
            let names = names.chain([(String::new(), readiness.is_serving(""))]);
            names.map(|(name, serves)| Reading::new([&name], f64::from(u8::from(serves)))).collect()
        })
    }

    /// Revocations that Redis has yet to take.
    fn backlog(&self) -> [Box<dyn Collector>; 2] {
        let (count, age) = (Arc::clone(&self.store), Arc::clone(&self.store));
        let help = "Tokens whose end Redis has not acknowledged yet.";
        let pending = Observed::new("revocation_pending", help, &[], move || {
            one(f64::from(u32::try_from(count.tombstones_owed()).unwrap_or(u32::MAX)))
        });
        let help = "How long the oldest of them has been pending; 0 when none is.";
        let oldest = Observed::new("revocation_pending_oldest_age_seconds", help, &[], move || {
            one(age.oldest_owed().map_or(0.0, |age| age.as_secs_f64()))
        });
        [Box::new(pending), Box::new(oldest)]
    }

    /// How far cached answers can be relied on. What is not known has no sample.
    fn lags(&self) -> [Box<dyn Collector>; 4] {
        let some = |time: Option<Duration>| time.map(|time| Reading::new([], time.as_secs_f64())).into_iter().collect();
        let (lag, age, left) = (self.journal.clone(), self.journal.clone(), self.journal.clone());
        let help = "How long ago the newest poll of the journal that was applied had been sent.";
        let lag = Observed::new("journal_lag_seconds", help, &[], move || some(lag.health().lag));
        let help = "How long ago the poll that the lease stands on had been sent.";
        let age = Observed::new("journal_lease_age_seconds", help, &[], move || some(age.health().lease_age));
        let help = "How long the lease is still valid; 0 when it is not.";
        let left = Observed::new("journal_lease_remaining_seconds", help, &[], move || {
            one(left.health().lease.map_or(0.0, |left| left.as_secs_f64()))
        });
        let vouching = self.journal.clone();
        let help =
            "1 while cached answers may be given: the lease is valid, or in strict mode the last poll succeeded.";
        let lease = Observed::new("journal_lease", help, &[], move || one(f64::from(u8::from(vouching.vouches()))));
        [Box::new(lag), Box::new(lease), Box::new(age), Box::new(left)]
    }
}

/// A value without labels.
fn one(value: f64) -> Vec<Reading> {
    vec![Reading::new([], value)]
}

fn build_info() -> impl Collector {
    let help = "1; its label tells the version.";
    Observed::new("build_info", help, &["version"], || vec![Reading::new([env!("CARGO_PKG_VERSION")], 1.0)])
}

/// 1 for the state that the breaker is in.
fn breaker(redis: SharedCache) -> [Box<dyn Collector>; 2] {
    let transitions = redis.breaker().transitions().clone();
    let help = "1 for the state that the circuit breaker around Redis is in, 0 for the others.";
    let state = Observed::new("breaker_state", help, &["state"], move || {
        let now = match redis.breaker().status().state {
            BreakerState::Closed => Transition::Closed,
            BreakerState::Open => Transition::Open,
            BreakerState::HalfOpen => Transition::HalfOpen,
        };
        let states = Transition::ALL.iter();
        states.map(|state| Reading::new([state.word()], f64::from(u8::from(*state == now)))).collect()
    });
    [Box::new(transitions), Box::new(state)]
}
