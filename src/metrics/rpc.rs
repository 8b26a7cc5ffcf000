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

/// A method, as it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// How many messages go in which direction.
    pub kind: Kind,
}

/// How many messages a method's calls have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One each.
    Unary,
    /// One question, many answers.
    ServerStream,
    /// Many each.
    BidiStream,
}

/// The methods that calls are counted under; the one that is called most comes first.
pub const METHODS: &[Method] = &[
    unary("/tokenward.v1.TokenService/Authenticate"),
    unary("/tokenward.v1.TokenService/BatchAuthenticate"),
    unary("/tokenward.v1.TokenService/IssueToken"),
    unary("/tokenward.v1.TokenService/Revoke"),
    unary("/tokenward.v1.TokenService/RevokeAll"),
    unary("/tokenward.v1.TokenAdminService/GetToken"),
    unary("/tokenward.v1.TokenAdminService/ListTokens"),
    unary("/tokenward.v1.TokenAdminService/UpdateToken"),
    unary("/tokenward.v1.TokenAdminService/RotateToken"),
    stream("/tokenward.v1.TokenAdminService/WatchRevocations"),
    unary("/tokenward.v1.UserService/GetUser"),
    unary("/tokenward.v1.UserService/ListUsers"),
    unary("/tokenward.v1.UserService/UpsertUser"),
    unary("/tokenward.v1.UserService/DeleteUser"),
    unary("/tokenward.v1.CacheService/FlushCache"),
    unary("/tokenward.v1.CacheService/GetCacheStats"),
    unary("/tokenward.v1.CacheService/InspectCache"),
    unary("/tokenward.v1.StatusService/GetStatus"),
    unary("/envoy.service.auth.v3.Authorization/Check"),
    unary("/grpc.health.v1.Health/Check"),
    unary("/grpc.health.v1.Health/List"),
    stream("/grpc.health.v1.Health/Watch"),
    Method { path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", kind: Kind::BidiStream },
    Method { path: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kind: Kind::BidiStream },
    UNKNOWN,
];
/// Stands for every other.
const UNKNOWN: Method = unary("/unknown/unknown");

/// The method whose latency the status page shows.
const AUTHENTICATE: usize = 0;

/// Upper bounds of the buckets in seconds, as gRFC A66 has them, without its 0.
pub const BUCKETS: [f64; 40] = [
    0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.013,
    0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 2.0,
    5.0, 10.0, 20.0, 50.0, 100.0,
];
/// The same in nanoseconds, which times are compared in.
const NANOS: [u64; BUCKETS.len()] = [
    10_000,
    50_000,
    100_000,
    300_000,
    600_000,
    800_000,
    1_000_000,
    2_000_000,
    3_000_000,
    4_000_000,
    5_000_000,
    6_000_000,
    8_000_000,
    10_000_000,
    13_000_000,
    16_000_000,
    20_000_000,
    25_000_000,
    30_000_000,
    40_000_000,
    50_000_000,
    65_000_000,
    80_000_000,
    100_000_000,
    130_000_000,
    160_000_000,
    200_000_000,
    250_000_000,
    300_000_000,
    400_000_000,
    500_000_000,
    650_000_000,
    800_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    20_000_000_000,
    50_000_000_000,
    100_000_000_000,
];

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

const fn stream(path: &'static str) -> Method {
    Method { path, kind: Kind::ServerStream }
}

const fn unary(path: &'static str) -> Method {
    Method { path, kind: Kind::Unary }
}

// === impl Method ===

impl Method {
    /// The service and the method's name.
    fn names(&self) -> (&'static str, &'static str) {
        self.path.trim_start_matches('/').split_once('/').expect("a path is /SERVICE/METHOD")
    }

    fn labels(&self) -> [(&'static str, &'static str); 3] {
        let kind = match self.kind {
            Kind::Unary => "unary",
            Kind::ServerStream => "server_stream",
            Kind::BidiStream => "bidi_stream",
        };
        let (service, method) = self.names();
        [("grpc_type", kind), ("grpc_service", service), ("grpc_method", method)]
    }
}

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

/// The first bucket whose bound is not below.
fn bucket(nanos: u64) -> usize {
    NANOS.partition_point(|bound| *bound < nanos)
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
mod tests {
    use super::*;

    fn value(families: &[MetricFamily], name: &str, words: &[&str]) -> String {
        let family = families.iter().find(|family| family.name() == name).expect("the family is there");
        let has = |metric: &Metric, word| metric.get_label().iter().any(|label| label.value() == word);
        let of = |metric: &&Metric| words.iter().all(|word| has(metric, *word));
        let metric = family.get_metric().iter().find(of).expect("the method is there");
        let value = match family.get_field_type() {
            MetricType::GAUGE => metric.get_gauge().get_value(),
            MetricType::HISTOGRAM => number(metric.get_histogram().get_sample_count()),
            _ => metric.get_counter().get_value(),
        };
        value.to_string()
    }

    #[test]
    fn a_call_counts_once_and_one_that_is_dropped_was_cancelled() {
        let rpcs = Rpcs::start();
        let ended = rpcs.begin("/tokenward.v1.TokenService/Authenticate");
        let dropped = rpcs.begin("/tokenward.v1.TokenService/Authenticate");
        let unknown = rpcs.begin("/made.up/by-a-client");
        assert_eq!(value(&rpcs.collect(), "grpc_server_in_flight", &["Authenticate"]), "2");
        ended.end(0);
        drop(dropped);
        unknown.end(12);
        let families = rpcs.collect();
        assert_eq!(value(&families, "grpc_server_in_flight", &["Authenticate"]), "0");
        assert_eq!(value(&families, "grpc_server_started_total", &["Authenticate"]), "2");
        assert_eq!(value(&families, "grpc_server_handling_seconds", &["Authenticate"]), "2");
        assert_eq!(value(&families, "grpc_server_handled_total", &["Authenticate", "OK"]), "1");
        assert_eq!(value(&families, "grpc_server_handled_total", &["Authenticate", "Canceled"]), "1");
        assert_eq!(value(&families, "grpc_server_handled_total", &["unknown", "Unimplemented"]), "1");
        assert_eq!(value(&families, "grpc_server_started_total", &["unknown"]), "1");
        assert_eq!(rpcs.latencies().iter().sum::<u64>(), 2);
    }

    #[test]
    fn every_failure_of_every_method_has_a_count_before_it_happens() {
        let families = Rpcs::start().collect();
        for method in METHODS {
            for code in CODES {
                let (service, name) = method.names();
                assert_eq!(value(&families, "grpc_server_handled_total", &[service, name, code]), "0", "{method:?}");
            }
        }
    }

    #[test]
    fn every_method_of_the_contract_has_a_name_of_its_own() {
        let pool = prost_reflect::DescriptorPool::decode(crate::proto::DESCRIPTORS).expect("build.rs wrote it");
        let named = |service: prost_reflect::ServiceDescriptor| {
            let path = |method: prost_reflect::MethodDescriptor| format!("/{}/{}", service.full_name(), method.name());
            service.methods().map(path).collect::<Vec<_>>()
        };
        let paths: Vec<_> = pool.services().flat_map(named).collect();
        assert!(paths.len() > 14, "{paths:?}");
        let known = |path: &String| METHODS.iter().any(|method| method.path == path);
        assert!(paths.iter().all(known), "{paths:?}");
    }

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_is_not_below_it() {
        for (bound, nanos) in BUCKETS.iter().zip(NANOS) {
            assert!((bound * 1e9 - number(nanos)).abs() < 0.5, "{bound}");
        }
        assert_eq!((bucket(0), bucket(10_000), bucket(10_001)), (0, 0, 1));
        assert_eq!(bucket(u64::MAX), BUCKETS.len());
    }
}
