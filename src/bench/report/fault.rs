//! How a fault shows in the time line.

use std::time::Duration;

use serde::Serialize;

use super::{super::tally::SLICE, float, median, millis};

/// Share of a throughput that counts as having come back to it.
const BACK: f64 = 0.9;
/// So many slices in a row must have it, in the middle.
const STEADY: usize = 5;

/// How a fault went.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in super::super) struct FaultFigures {
    pub(in super::super) before_per_second: f64,
    pub(in super::super) during_per_second: f64,
    pub(in super::super) after_per_second: f64,
    /// From the fault until 90 % of the throughput that it leaves.
    pub(in super::super) to_degraded_ms: Option<f64>,
    /// From when the server answers again until 90 % of the throughput from before.
    pub(in super::super) to_recovered_ms: Option<f64>,
    /// How long the server took to answer again.
    pub(in super::super) restart_ms: f64,
}

/// When a fault began and ended, from the beginning of the measurement.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Marks {
    pub(in super::super) broken: Duration,
    pub(in super::super) healing: Duration,
    pub(in super::super) healed: Duration,
}

// === impl FaultFigures ===

impl FaultFigures {
    pub(super) fn of(slices: &[u64], marks: Marks) -> Self {
        let between = |from: Duration, to: Duration| rate(part(slices, from, to));
        let (before, settled) = (between(Duration::ZERO, marks.broken), (marks.broken + marks.healing) / 2);
        let during = between(settled, marks.healing);
        let after =
            between((marks.healed + SLICE * u32::try_from(slices.len()).unwrap_or(u32::MAX)) / 2, Duration::MAX);
        Self {
            before_per_second: before,
            during_per_second: during,
            after_per_second: after,
            to_degraded_ms: back_to(slices, during, marks.broken),
            to_recovered_ms: back_to(slices, before, marks.healed),
            restart_ms: millis(marks.healed.saturating_sub(marks.healing)),
        }
    }
}

fn part(slices: &[u64], from: Duration, to: Duration) -> &[u64] {
    let at =
        |time: Duration| usize::try_from(time.as_nanos() / SLICE.as_nanos()).unwrap_or(usize::MAX).min(slices.len());
    &slices[at(from)..at(to).max(at(from))]
}

/// Answers a second in the slice that is in the middle.
pub(super) fn rate(slices: &[u64]) -> f64 {
    let mut counts: Vec<_> = slices.iter().map(|count| float(*count)).collect();
    counts.sort_by(f64::total_cmp);
    median(&counts) / SLICE.as_secs_f64()
}

/// Milliseconds from `since` until a slice from which on the throughput was back to `rate`; `None` when it never was.
pub(super) fn back_to(slices: &[u64], wanted: f64, since: Duration) -> Option<f64> {
    let first = usize::try_from(since.as_nanos() / SLICE.as_nanos()).ok()?;
    let is_back = |at: &usize| rate(&slices[*at..(*at + STEADY).min(slices.len())]) >= wanted * BACK;
    let at = (first..slices.len().saturating_sub(STEADY - 1)).find(is_back)?;
    Some(millis((SLICE * u32::try_from(at).ok()?).saturating_sub(since)))
}
