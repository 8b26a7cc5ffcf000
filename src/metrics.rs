//! What is counted, under which names and words; `docs/metrics.md` lists all of it.
//!
//! A label's words are an enum's, so that they are few, and no token, `token_id` or user can become one. What a check
//! counts is kept apart for each thread ([`Cells`]) and summed up by a scrape. A leaf: it imports nothing of the project.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};

mod cells;
mod family;
mod label;
mod matrix;
mod observed;
pub mod rpc;

pub use self::{
    cells::Cells,
    label::{
        AuthResult, AuthSource, CallerRejection, FillRejection, Label, PoolState, Query, Reach, RequestResult, Scope,
        Tier, Transition,
    },
    matrix::Matrix,
    observed::{Observed, Reading},
};

/// Head of the names of our own metrics.
const PREFIX: &str = "tokenward";
/// Upper bounds of the buckets for what the database is asked, in seconds.
const QUERY_BUCKETS: [f64; 13] = [0.0001, 0.0003, 0.0006, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Upper bounds of the buckets for how long a change takes until it is answered, in seconds.
const PROPAGATION_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.5, 10.0];

/// How the tokens that were presented were judged.
pub type Authentications = Matrix<AuthResult, AuthSource>;
/// What each cache tier was asked, and said.
pub type CacheRequests = Matrix<Tier, RequestResult>;

/// A counter for each word of a label, resolved once.
#[derive(Clone, Debug)]
pub struct Counts<L> {
    family: IntCounterVec,
    each: Box<[IntCounter]>,
    label: std::marker::PhantomData<L>,
}

/// A histogram for each word of a label, likewise.
#[derive(Clone, Debug)]
pub struct Histograms<L> {
    family: HistogramVec,
    each: Box<[Histogram]>,
    label: std::marker::PhantomData<L>,
}

/// How the tokens that were presented were judged.
#[must_use]
pub fn authentications() -> Authentications {
    Matrix::new("authentications_total", "Tokens that were judged, and those that could not be.", ["result", "source"])
}

/// What each cache tier was asked, and said.
#[must_use]
pub fn cache_requests() -> CacheRequests {
    Matrix::new("cache_requests_total", "Look-ups in each tier of the cache.", ["tier", "result"])
}

/// How long the database took for what it was asked.
#[must_use]
pub fn database_queries() -> Histograms<Query> {
    let help = "Time that the database took for what it was asked, the wait for a connection included.";
    Histograms::new("database_query_seconds", help, "query", &QUERY_BUCKETS)
}

/// How long changes took from their commit to the answer; one that is complete has reached every replica by then.
#[must_use]
pub fn propagation() -> Histograms<Reach> {
    let help = "Time from the commit of a revocation to the answer that says how far it has come.";
    Histograms::new("revocation_propagation_seconds", help, "state", &PROPAGATION_BUCKETS)
}

/// Tokens that were ended, by what was asked for.
#[must_use]
pub fn revocations() -> Counts<Scope> {
    Counts::new("revocations_total", "Tokens that were ended, by what was asked to be ended.", "scope")
}

/// Tokens that were issued, by the caller; its names come from the callers file.
#[must_use]
pub fn issued() -> IntCounterVec {
    let opts = Opts::new("issued_total", "Tokens that were issued, by the name of the caller.").namespace(PREFIX);
    IntCounterVec::new(opts, &["caller"]).expect("the name is well-formed")
}

/// Calls that were not let through.
#[must_use]
pub fn caller_rejections() -> Counts<CallerRejection> {
    Counts::new("caller_rejected_total", "Calls that were not let through for their caller.", "reason")
}

/// Fills that were not taken.
#[must_use]
pub fn fill_rejections() -> Counts<FillRejection> {
    Counts::new("cache_fill_rejected_total", "Facts that were read from the database and not cached.", "reason")
}

/// How often the breaker came into each state.
#[must_use]
pub fn transitions() -> Counts<Transition> {
    Counts::new("breaker_transitions_total", "Changes of the circuit breaker's state.", "to")
}

/// A counter without labels.
#[must_use]
pub fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::with_opts(Opts::new(name, help).namespace(PREFIX)).expect("the name is well-formed")
}

// === impl Counts ===

impl<L: Label> Counts<L> {
    /// A counter `tokenward_{name}` with one label; all of its words are there from the start, at 0.
    #[must_use]
    pub fn new(name: &str, help: &str, label: &str) -> Self {
        let family = IntCounterVec::new(Opts::new(name, help).namespace(PREFIX), &[label]);
        let family = family.expect("the name is well-formed");
        let each = L::ALL.iter().map(|word| family.with_label_values(&[word.word()])).collect();
        Self { family, each, label: std::marker::PhantomData }
    }

    /// The counter of one word.
    #[must_use]
    pub fn of(&self, word: L) -> &IntCounter {
        &self.each[word.index()]
    }
}

// === impl Histograms ===

impl<L: Label> Histograms<L> {
    fn new(name: &str, help: &str, label: &str, buckets: &[f64]) -> Self {
        let opts = HistogramOpts::new(name, help).namespace(PREFIX).buckets(buckets.to_vec());
        let family = HistogramVec::new(opts, &[label]).expect("the name is well-formed");
        let each = L::ALL.iter().map(|word| family.with_label_values(&[word.word()])).collect();
        Self { family, each, label: std::marker::PhantomData }
    }

    /// The histogram of one word.
    #[must_use]
    pub fn of(&self, word: L) -> &Histogram {
        &self.each[word.index()]
    }
}

macro_rules! collects_its_family {
    ($($type:ident),+) => {$(
        impl<L: Label> prometheus::core::Collector for $type<L> {
            fn desc(&self) -> Vec<&prometheus::core::Desc> {
                self.family.desc()
            }

            fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
                self.family.collect()
            }
        }
    )+};
}
collects_its_family!(Counts, Histograms);
