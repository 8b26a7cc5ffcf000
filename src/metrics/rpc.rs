//! `grpc_server_*`: calls as they begin, are under way, and end; named as go-grpc-prometheus names them.
//!
//! A call costs four additions to numbers of its thread, and reads the clock twice. The label of its method is one of
//! [`METHODS`], whatever path it came with.

use std::{fmt, mem, time::Instant};

use prometheus::{
    core::{Collector, Desc},
    proto::{Bucket, Histogram, Metric, MetricFamily, MetricType},
};

use super::{
    CallerRejection, Cells, Counts, caller_rejections,
    family::{counter, family, gauge, labelled, number},
};

mod buckets;
mod method;

pub use buckets::BUCKETS;
use buckets::{NANOS, bucket};
pub use method::{Kind, METHODS, Method};

/// The method whose latency the status page shows.
const AUTHENTICATE: usize = 0;

/// gRPC's codes by number, as go-grpc-prometheus spells them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const CANCELLED: usize = 1;
const UNKNOWN_CODE: usize = 2;

/// Where a method's numbers are: those begun, those ended by code, the buckets with one above the last bound, and
/// the sum of times in nanoseconds.
const STARTED: usize = 0;
const HANDLED: usize = 1;
const BUCKET: usize = HANDLED + CODES.len();
const NANOS_SUM: usize = BUCKET + NANOS.len() + 1;
/// Numbers of one method, whole cache lines of them.
const STRIDE: usize = (NANOS_SUM + 1).next_multiple_of(8);

/// The calls of this process.
pub struct Rpcs {
    cells: Cells,
    descs: [Desc; 4],
    /// Calls that were not let through.
    pub rejected: Counts<CallerRejection>,
}

/// A call that was begun. One that is dropped before its end was given up by its caller.
#[derive(Debug)]
#[must_use = "a call that is dropped counts as cancelled"]
pub struct Call {
    rpcs: &'static Rpcs,
    method: usize,
    began: Instant,
}

/// How many calls took how long: a count for each of [`BUCKETS`] and one for those above, not cumulated.
pub type Latencies = [u64; BUCKETS.len() + 1];

// === impl Rpcs ===

impl Rpcs {
    /// None yet. They are counted as long as the process lives, so that no call has to keep them.
    #[must_use]
    pub fn start() -> &'static Self {
        let desc = |name: &str, help: &str, labels: &[&str]| {
            let labels = labels.iter().map(|&label| label.to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, [].into()).expect("the name is well-formed")
        };
        let method = ["grpc_type", "grpc_service", "grpc_method"];
        let coded = ["grpc_type", "grpc_service", "grpc_method", "grpc_code"];
        let descs = [
            desc("grpc_server_started_total", "Calls that were begun.", &method),
            desc("grpc_server_handled_total", "Calls that have ended, by their status.", &coded),
            desc("grpc_server_handling_seconds", "Time from a call's head to its end.", &method),
            desc("grpc_server_in_flight", "Calls under way.", &method),
        ];
        Box::leak(Box::new(Self { cells: Cells::new(METHODS.len() * STRIDE), descs, rejected: caller_rejections() }))
    }

    /// A call of this path begins.
    pub fn begin(&'static self, path: &str) -> Call {
        let method = METHODS.iter().position(|method| method.path == path).unwrap_or(METHODS.len() - 1);
        self.cells.add(method * STRIDE + STARTED, 1);
        Call { rpcs: self, method, began: Instant::now() }
    }

    /// How long the calls of Authenticate took.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        std::array::from_fn(|bucket| self.get(AUTHENTICATE, BUCKET + bucket))
    }

    fn get(&self, method: usize, what: usize) -> u64 {
        self.cells.get(method * STRIDE + what)
    }

    fn end(&self, call: &Call, code: usize) {
        let nanos = u64::try_from(call.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let at = call.method * STRIDE;
        self.cells.add(at + HANDLED + code, 1);
        self.cells.add(at + BUCKET + bucket(nanos), 1);
        self.cells.add(at + NANOS_SUM, nanos);
    }

    /// Every code from the start, so that a first failure is an increase.
    fn handled(&self, method: usize) -> Vec<Metric> {
        let codes = CODES.iter().enumerate().map(|(code, name)| (name, self.get(method, HANDLED + code)));
        let labels = METHODS[method].labels();
        codes
            .map(|(name, count)| counter(labelled(labels.into_iter().chain([("grpc_code", *name)])), number(count)))
            .collect()
    }

    fn handling(&self, method: usize) -> Metric {
        let mut histogram = Histogram::default();
        let mut seen = 0;
        let buckets = BUCKETS.iter().enumerate().map(|(number, bound)| {
            seen += self.get(method, BUCKET + number);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(seen);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(seen + self.get(method, BUCKET + BUCKETS.len()));
        histogram.set_sample_sum(number(self.get(method, NANOS_SUM)) / 1e9);
        let mut metric = labelled(METHODS[method].labels());
        metric.set_histogram(histogram);
        metric
    }

    /// Those ended are counted before those begun, so that it is never less than 0.
    fn in_flight(&self, method: usize) -> Metric {
        let ended: u64 = (0..CODES.len()).map(|code| self.get(method, HANDLED + code)).sum();
        let begun = self.get(method, STARTED);
        gauge(labelled(METHODS[method].labels()), number(begun.saturating_sub(ended)))
    }
}

impl Collector for &'static Rpcs {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().chain(self.rejected.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let methods = 0..METHODS.len();
        let started = |method: usize| counter(labelled(METHODS[method].labels()), number(self.get(method, STARTED)));
        let [begun, ended, took, open] = &self.descs;
        let family = |desc: &Desc, kind, metrics| family(&desc.fq_name, &desc.help, kind, metrics);
        // A method that is never called would fill a scrape with empty buckets.
        let called = methods.clone().filter(|method| *method == AUTHENTICATE || self.get(*method, STARTED) > 0);
        let mut families = vec![
            family(begun, MetricType::COUNTER, methods.clone().map(started).collect()),
            family(ended, MetricType::COUNTER, methods.clone().flat_map(|method| self.handled(method)).collect()),
            family(took, MetricType::HISTOGRAM, called.map(|method| self.handling(method)).collect()),
            family(open, MetricType::GAUGE, methods.map(|method| self.in_flight(method)).collect()),
        ];
        families.extend(self.rejected.collect());
        families
    }
}

impl fmt::Debug for Rpcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpcs").finish_non_exhaustive()
    }
}

// === impl Call ===

impl Call {
    /// Its method's path, one of [`METHODS`].
    #[must_use]
    pub fn path(&self) -> &'static str {
        METHODS[self.method].path
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Whether its answer may be more than one message.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        METHODS[self.method].kind != Kind::Unary
    }

    /// It has ended with a status, gRPC's number for it.
    pub fn end(self, code: i32) {
        let code = usize::try_from(code).ok().filter(|code| *code < CODES.len()).unwrap_or(UNKNOWN_CODE);
        self.rpcs.end(&self, code);
        mem::forget(self);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.rpcs.end(self, CANCELLED);
    }
}

#[cfg(test)]
mod tests;
