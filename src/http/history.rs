//! The last minutes of what is counted, for the plots of the status page.
//!
//! Every other second the registry is read, as a scrape would; what is kept are differences.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{
    Registry,
    proto::{Metric, MetricFamily},
};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Time between two samples.
const PERIOD: Duration = Duration::from_secs(2);
/// Five minutes of them.
const SLOTS: usize = 150;

const CHECKS: &str = "tokenward_authentications_total";
const SECONDS: &str = "grpc_server_handling_seconds";
const METHOD: &str = "grpc_method";
const AUTHENTICATE: &str = "Authenticate";
const SOURCE: &str = "source";
/// Of [`CHECKS`], those that a cache answered, and those that it did not. The rest is known from the token's shape.
const CACHED: [&str; 2] = ["local_cache", "shared_cache"];
const DATABASE: &str = "database";

/// The samples, the latest last. A clone is of the same.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<VecDeque<Sample>>>);

/// What happened between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sample {
    checks_per_second: f64,
    /// Of the tokens that were looked up; `None` without any.
    hit_ratio: Option<f64>,
    p50_seconds: Option<f64>,
    p99_seconds: Option<f64>,
}

/// Everything that samples are made of, since the start of the process.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reading {
    checks: f64,
    from_cache: f64,
    from_database: f64,
    /// Upper bounds in seconds, and how many calls took at most that long.
    buckets: Vec<(f64, f64)>,
}

/// The samples as columns.
#[derive(Debug, Serialize)]
pub(super) struct Columns {
    period_seconds: f64,
    slots: usize,
    checks_per_second: Vec<f64>,
    hit_ratio: Vec<Option<f64>>,
    p50_seconds: Vec<Option<f64>>,
    p99_seconds: Vec<Option<f64>>,
}

// === impl History ===

impl History {
    /// Reads the registry again and again, for ever.
    pub async fn record(self, registry: Registry) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut before, mut at) = (Reading::of(&registry.gather()), ticks.tick().await);
        loop {
            ticks.tick().await;
            let (reading, now) = (Reading::of(&registry.gather()), Instant::now());
            self.push(Sample::between(&before, &reading, now - at));
            (before, at) = (reading, now);
        }
    }

    pub(super) fn columns(&self) -> Columns {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Columns {
            period_seconds: PERIOD.as_secs_f64(),
            slots: SLOTS,
            checks_per_second: samples.iter().map(|sample| sample.checks_per_second).collect(),
            hit_ratio: samples.iter().map(|sample| sample.hit_ratio).collect(),
            p50_seconds: samples.iter().map(|sample| sample.p50_seconds).collect(),
            p99_seconds: samples.iter().map(|sample| sample.p99_seconds).collect(),
        }
    }

    fn push(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SLOTS {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

// === impl Reading ===

impl Reading {
    fn of(families: &[MetricFamily]) -> Self {
        let checks = of_family(families, CHECKS).map(|metric| (metric.get_counter().get_value(), metric));
        let mut reading = Self::default();
        for (count, metric) in checks {
            reading.checks += count;
            match label(metric, SOURCE) {
                Some(DATABASE) => reading.from_database += count,
                Some(source) if CACHED.contains(&source) => reading.from_cache += count,
                Some(_) | None => {}
            }
        }
        if let Some(calls) = of_family(families, SECONDS).find(|metric| label(metric, METHOD) == Some(AUTHENTICATE)) {
            let buckets = calls.get_histogram().get_bucket().iter();
            #[expect(clippy::cast_precision_loss, reason = "a count of calls is far from 2^53")]
            let buckets = buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count() as f64));
            reading.buckets = buckets.collect();
        }
        reading
    }
}

fn of_family<'a>(families: &'a [MetricFamily], name: &str) -> impl Iterator<Item = &'a Metric> {
    families.iter().filter(move |family| family.name() == name).flat_map(MetricFamily::get_metric)
}

fn label<'a>(metric: &'a Metric, name: &str) -> Option<&'a str> {
    metric.get_label().iter().find(|label| label.name() == name).map(|label| label.value())
}

// === impl Sample ===

impl Sample {
    fn between(before: &Reading, after: &Reading, time: Duration) -> Self {
        let from_cache = after.from_cache - before.from_cache;
        let looked_up = from_cache + after.from_database - before.from_database;
        let took = |share| quantile(share, &before.buckets, &after.buckets);
        Self {
            checks_per_second: (after.checks - before.checks) / time.as_secs_f64(),
            hit_ratio: (looked_up > 0.0).then(|| from_cache / looked_up),
            p50_seconds: took(0.5),
            p99_seconds: took(0.99),
        }
    }
}

/// As Prometheus's `histogram_quantile` does it: linear within a bucket. `None` when there was no call.
fn quantile(share: f64, before: &[(f64, f64)], after: &[(f64, f64)]) -> Option<f64> {
    let earlier = |at: usize| before.get(at).map_or(0.0, |(_, count)| *count);
    let grown = after.iter().enumerate().map(|(at, (bound, count))| (*bound, count - earlier(at)));
    let grown: Vec<_> = grown.collect();
    let all = grown.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
    let wanted = share * all;
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, count) in grown {
        if count >= wanted {
            let part = if count > below { (wanted - below) / (count - below) } else { 1.0 };
            // What is over the last bound is told as that bound.
            return Some(if bound.is_finite() { lower + (bound - lower) * part } else { lower });
        }
        (lower, below) = (bound, count);
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

    use super::*;

    fn counted() -> (Registry, IntCounterVec, HistogramVec) {
        let checks = IntCounterVec::new(Opts::new(CHECKS, "Checks."), &["result", SOURCE]).unwrap();
        let options = HistogramOpts::new(SECONDS, "Times.").buckets(vec![0.001, 0.002, 0.004]);
        let seconds = HistogramVec::new(options, &[METHOD]).unwrap();
        let registry = Registry::new();
        registry.register(Box::new(checks.clone())).unwrap();
        registry.register(Box::new(seconds.clone())).unwrap();
        (registry, checks, seconds)
    }

    #[test]
    fn a_sample_is_what_happened_since_the_last() {
        let (registry, checks, seconds) = counted();
        checks.with_label_values(&["active", "database"]).inc_by(1000);
        let before = Reading::of(&registry.gather());
        checks.with_label_values(&["active", "shared_cache"]).inc_by(60);
        checks.with_label_values(&["unknown", "local_cache"]).inc_by(12);
        checks.with_label_values(&["unknown", "database"]).inc_by(8);
        checks.with_label_values(&["malformed", "none"]).inc_by(20);
        (0..98).for_each(|_| seconds.with_label_values(&[AUTHENTICATE]).observe(0.0005));
        (0..2).for_each(|_| seconds.with_label_values(&[AUTHENTICATE]).observe(0.003));
        seconds.with_label_values(&["IssueToken"]).observe(9.0);
        let sample = Sample::between(&before, &Reading::of(&registry.gather()), PERIOD);
        assert_eq!((sample.checks_per_second, sample.hit_ratio), (50.0, Some(0.9)));
        let (p50, p99) = (sample.p50_seconds.unwrap(), sample.p99_seconds.unwrap());
        assert!((0.0005..0.00052).contains(&p50) && (p99 - 0.003).abs() < 1e-9, "{sample:?}");
    }

    #[test]
    fn nothing_is_told_of_a_time_without_checks() {
        let (registry, ..) = counted();
        let reading = Reading::of(&registry.gather());
        assert_eq!(Sample::between(&reading, &reading, PERIOD), Sample::default());
    }

    #[test]
    fn over_the_last_bound_is_that_bound() {
        let after = [(0.001, 1.0), (f64::INFINITY, 10.0)];
        assert_eq!(quantile(0.99, &[], &after), Some(0.001));
    }

    #[test]
    fn only_the_last_minutes_are_kept() {
        let history = History::default();
        for checks in 0..=SLOTS {
            history.push(Sample { checks_per_second: checks as f64, ..Sample::default() });
        }
        let columns = history.columns();
        assert_eq!((columns.checks_per_second.len(), columns.checks_per_second[0]), (SLOTS, 1.0));
    }
}
