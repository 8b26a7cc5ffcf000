//! What the audit trail counts. The numbers are exported elsewhere; here they are only kept.

use prometheus::{
    IntCounter, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// The counters of one trail. A clone counts on the same.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Records that the table has got.
    pub records_written: IntCounter,
    /// Records that the table could not take. More than 0 means that it has gaps.
    pub records_dropped: IntCounter,
}

// === impl Counters ===

impl Counters {
    /// Nothing is counted yet.
    ///
    /// # Panics
    /// Never: the names are well-formed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records_written: counter("audit_records_written_total", "Audit records that the table has got."),
            records_dropped: counter("audit_records_dropped_total", "Audit records that the table could not take."),
        }
    }

    pub(super) fn written(&self, count: usize) {
        self.records_written.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(super) fn dropped(&self, count: u64) {
        self.records_dropped.inc_by(count);
    }

    fn all(&self) -> [&dyn Collector; 2] {
        [&self.records_written, &self.records_dropped]
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
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
    IntCounter::with_opts(Opts::new(name, help).namespace("tokenward")).expect("the name is well-formed")
}
