//! The last two minutes, second by second, for the status page.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::metrics::rpc::{BUCKETS, Latencies};

/// Time that a point stands for.
const PERIOD: Duration = Duration::from_secs(1);
/// Points that are kept.
const POINTS: usize = 120;

/// What has been counted since the start.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Checks that this process's memory answered.
    pub local: u64,
    /// Checks that Redis answered.
    pub shared: u64,
    /// Checks that the database answered.
    pub database: u64,
    /// Checks of texts that are no tokens, and those without an answer.
    pub other: u64,
    /// How long calls of Authenticate took.
    pub latencies: Latencies,
}

/// The points, the latest at the end. A clone sees the same.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<VecDeque<Point>>>);

/// A second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    /// Tokens judged, in each second.
    checks_per_second: f64,
    /// Share of them that a cache answered, 0 to 1; `null` when none was looked up.
    hit_ratio: Option<f64>,
    /// The median time of a call of Authenticate, in seconds; `null` when there was none.
    p50_seconds: Option<f64>,
    /// The time that 99 of 100 calls stayed below.
    p99_seconds: Option<f64>,
}

// === impl Recent ===

impl Recent {
    /// No points yet, and the task that adds one each second.
    pub fn start(totals: impl Fn() -> Totals + Send + 'static) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let recent = Self::default();
        (recent.clone(), recent.keep(totals))
    }

    pub(super) fn points(&self) -> Vec<Point> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    async fn keep(self, totals: impl Fn() -> Totals + Send + 'static) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut before = (totals(), Instant::now());
        loop {
            ticks.tick().await;
            let now = (totals(), Instant::now());
            self.push(Point::between(&before.0, &now.0, now.1 - before.1));
            before = now;
        }
    }

    fn push(&self, point: Point) {
        let mut points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if points.len() == POINTS {
            points.pop_front();
        }
        points.push_back(point);
    }
}

// === impl Point ===

impl Point {
    fn between(before: &Totals, now: &Totals, elapsed: Duration) -> Self {
        let since = |of: fn(&Totals) -> u64| number(of(now).saturating_sub(of(before)));
        let cached = since(|totals| totals.local) + since(|totals| totals.shared);
        let looked_up = cached + since(|totals| totals.database);
        let latencies: Latencies = std::array::from_fn(|at| now.latencies[at].saturating_sub(before.latencies[at]));
        Self {
            checks_per_second: (looked_up + since(|totals| totals.other)) / elapsed.as_secs_f64(),
            hit_ratio: (looked_up > 0.0).then(|| cached / looked_up),
            p50_seconds: quantile(&latencies, 0.5),
            p99_seconds: quantile(&latencies, 0.99),
        }
    }
}

/// The time that a share of the calls did not exceed, as Prometheus's `histogram_quantile` reckons it: the calls of a
/// bucket are taken to be spread evenly, and those above the last bound to be on it.
fn quantile(latencies: &Latencies, share: f64) -> Option<f64> {
    let all = number(latencies.iter().sum());
    let wanted = share * all;
    let mut below = 0.0;
    for (at, count) in latencies.iter().enumerate() {
        let count = number(*count);
        if count > 0.0 && below + count >= wanted {
            let lower = at.checked_sub(1).map_or(0.0, |before| BUCKETS[before]);
            let upper = BUCKETS.get(at).copied().unwrap_or(lower);
            return Some(lower + (upper - lower) * (wanted - below) / count);
        }
        below += count;
    }
    None
}

#[expect(clippy::cast_precision_loss, reason = "calls of a second are far from 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Totals = Totals { local: 0, shared: 0, database: 0, other: 0, latencies: [0; BUCKETS.len() + 1] };

    #[test]
    fn a_point_tells_of_its_second_alone() {
        let before = Totals { local: 10, database: 90, ..NONE };
        let mut now = Totals { local: 40, shared: 30, database: 110, other: 20, ..NONE };
        now.latencies[1] = 100;
        let point = Point::between(&before, &now, Duration::from_secs(2));
        assert_eq!((point.checks_per_second, point.hit_ratio), (50.0, Some(0.75)));
        let near = |value: Option<f64>, wanted: f64| (value.expect("there were calls") - wanted).abs() < 1e-9;
        assert!(near(point.p50_seconds, 0.000_03) && near(point.p99_seconds, 0.000_049_6), "{point:?}");
        let idle = Point::between(&now, &now, PERIOD);
        let nothing = Point { checks_per_second: 0.0, hit_ratio: None, p50_seconds: None, p99_seconds: None };
        assert_eq!(idle, nothing);
    }

    #[tokio::test(start_paused = true)]
    async fn two_minutes_are_kept() {
        let (recent, keep) = Recent::start(|| NONE);
        let task = tokio::spawn(keep);
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        assert_eq!(recent.points().len(), 3);
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert_eq!(recent.points().len(), POINTS);
        task.abort();
    }
}
