//! What is reported: for programs as JSON, for people as a table.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    Plan, Spread,
    private::{Stand, Usage},
    tally::Tally,
};
use crate::proto::AnswerSource;

mod fault;
mod growth;
mod table;

use self::fault::{FaultFigures, back_to, rate};
pub(super) use self::{
    fault::Marks,
    growth::{Growth, Step},
};

/// A measurement. Times are in the unit that a name says; `null` is what could not be observed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    scenario: String,
    connections: usize,
    in_flight: usize,
    /// Calls under way in all.
    calls: usize,
    tokens: u64,
    users: u64,
    spread: String,
    duration_s: f64,
    /// Each contender, with the figures of its round that is in the middle by checks a second.
    runs: Vec<Run>,
    /// The first contender by the second.
    ratio: Option<Ratio>,
}

/// The figures of one contender.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    pub(super) server: String,
    pub(super) seconds: f64,
    pub(super) checks: u64,
    pub(super) checks_per_second: f64,
    /// Of each round, in their order.
    pub(super) rounds: Vec<f64>,
    pub(super) latency_ms: Latency,
    /// The longest call, whatever came of it.
    pub(super) longest_call_ms: f64,
    /// The longest time without a right answer.
    pub(super) longest_gap_ms: f64,
    pub(super) cpu_us_per_check: Option<f64>,
    /// Share of one core that the service used.
    pub(super) cores: Option<f64>,
    /// What the load itself cost.
    pub(super) load_cpu_us_per_check: Option<f64>,
    pub(super) sql_per_10k_checks: Option<f64>,
    pub(super) sql_per_second: Option<f64>,
    pub(super) redis_per_10k_checks: Option<f64>,
    pub(super) redis_cpu_us_per_check: Option<f64>,
    pub(super) wrong: u64,
    /// Calls without an answer.
    pub(super) failed: u64,
    /// The same by status.
    pub(super) failures: BTreeMap<&'static str, u64>,
    /// Calls about tokens that were never issued which were refused.
    pub(super) refused: u64,
    pub(super) sources: BTreeMap<&'static str, u64>,
    pub(super) kinds: BTreeMap<&'static str, KindOfCall>,
    pub(super) startup_ms: Option<f64>,
    pub(super) resident_mib: Option<f64>,
    pub(super) fault: Option<FaultFigures>,
    /// Time until the throughput of the last third was reached.
    pub(super) ramp_ms: Option<f64>,
    pub(super) growth: Option<Growth>,
    pub(super) steps: Vec<Step>,
    /// Percentile and milliseconds, for a plot.
    #[serde(skip)]
    pub(super) curve: Vec<(f64, f64)>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) max: f64,
}

/// One kind of call of several.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct KindOfCall {
    pub(super) checks: u64,
    pub(super) latency_ms: Latency,
}

/// The first contender by the second, the middle of the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) checks_per_second: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) cpu_us_per_check: Option<f64>,
}

// === impl Report ===

impl Report {
    /// Of each contender the rounds that were measured, at least one.
    pub(super) fn new(plan: &Plan, rounds: Vec<Vec<Run>>) -> Self {
        let ratio = match rounds.as_slice() {
            [first, second, ..] => Some(Ratio::of(first, second)),
            _ => None,
        };
        Self {
            scenario: plan.scenario.name(),
            connections: plan.connections,
            in_flight: plan.in_flight,
            calls: plan.calls,
            tokens: plan.tokens,
            users: plan.users,
            spread: match plan.spread {
                Spread::Uniform => "uniform".to_owned(),
                Spread::Zipf(exponent) => format!("zipf {exponent}"),
            },
            duration_s: plan.duration.as_secs_f64(),
            runs: rounds.into_iter().map(middle).collect(),
            ratio,
        }
    }

    /// For programs, as one line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("figures are JSON") + "\n"
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        table::table(self)
    }

    /// Which scenario.
    pub(super) fn scenario(&self) -> &str {
        &self.scenario
    }

    /// Each contender and its latencies, as percentile and milliseconds.
    pub(super) fn curves(&self) -> impl Iterator<Item = (&str, &[(f64, f64)])> {
        self.runs.iter().map(|run| (run.server.as_str(), run.curve.as_slice()))
    }
}

/// The run in the middle by throughput, with the throughput of all.
fn middle(mut runs: Vec<Run>) -> Run {
    let rounds: Vec<_> = runs.iter().map(|run| run.checks_per_second).collect();
    runs.sort_by(|one, other| one.checks_per_second.total_cmp(&other.checks_per_second));
    let mut run = runs.swap_remove((runs.len() - 1) / 2);
    run.rounds = rounds;
    run
}

// === impl Ratio ===

impl Ratio {
    fn of(first: &[Run], second: &[Run]) -> Self {
        let of = |figure: fn(&Run) -> f64| {
            let mut ratios: Vec<_> = first.iter().zip(second).map(|(one, other)| figure(one) / figure(other)).collect();
            ratios.sort_by(f64::total_cmp);
            median(&ratios)
        };
        let cpu = of(|run| run.cpu_us_per_check.unwrap_or(f64::NAN));
        Self {
            checks_per_second: of(|run| run.checks_per_second),
            p50: of(|run| run.latency_ms.p50),
            p99: of(|run| run.latency_ms.p99),
            cpu_us_per_check: Some(cpu).filter(|cpu| cpu.is_finite()),
        }
    }
}

// === impl Run ===

impl Run {
    pub(super) fn new(tally: &Tally, time: Duration, usage: Usage, marks: Option<Marks>) -> Self {
        let checks = tally.checks();
        let count = checks.checks;
        let per_10k = |used: Option<u64>| Some(float(used?) * 10_000.0 / float(count.max(1)));
        let cpu = usage.cpu.and_then(|cpu| micros_each(cpu, count));
        let several = tally.kinds.len() > 1;
        let kinds = tally.kinds.iter().filter(|_| several);
        Self {
            server: String::new(),
            seconds: time.as_secs_f64(),
            checks: count,
            checks_per_second: per_second(count, time),
            rounds: Vec::new(),
            latency_ms: Latency::of(&checks.latency),
            longest_call_ms: millis(tally.longest),
            longest_gap_ms: millis(tally.gap),
            cpu_us_per_check: cpu,
            cores: usage.cpu.filter(|_| !time.is_zero()).map(|cpu| cpu.div_duration_f64(time)),
            load_cpu_us_per_check: None,
            sql_per_10k_checks: per_10k(usage.sql),
            sql_per_second: usage.sql.map(|sql| per_second(sql, time)),
            redis_per_10k_checks: per_10k(usage.redis),
            redis_cpu_us_per_check: usage.redis_cpu.and_then(|cpu| micros_each(cpu, count)),
            wrong: tally.wrong,
            failed: tally.failures.values().sum(),
            failures: tally.failures.clone(),
            refused: tally.refused,
            sources: sources(tally),
            kinds: kinds
                .map(|(kind, calls)| {
                    (kind.name(), KindOfCall { checks: calls.checks, latency_ms: Latency::of(&calls.latency) })
                })
                .collect(),
            startup_ms: None,
            resident_mib: None,
            fault: marks.map(|marks| FaultFigures::of(&tally.slices, marks)),
            ramp_ms: None,
            growth: None,
            steps: Vec::new(),
            curve: curve(&checks.latency),
        }
    }

    pub(super) fn named(self, server: String) -> Self {
        Self { server, ..self }
    }

    /// With what only its own server tells.
    pub(super) fn of(self, stand: &Stand) -> Self {
        let resident_mib = stand.resident().map(|bytes| float(bytes) / f64::from(1 << 20));
        Self { startup_ms: Some(millis(stand.startup())), resident_mib, ..self }
    }

    /// With the time until it was as fast as at the end.
    pub(super) fn with_ramp(self, tally: &Tally) -> Self {
        let slices = &tally.slices;
        let steady = rate(&slices[slices.len() * 2 / 3..]);
        Self { ramp_ms: back_to(slices, steady, Duration::ZERO), ..self }
    }
}

fn sources(tally: &Tally) -> BTreeMap<&'static str, u64> {
    let named = tally.sources.iter().enumerate().filter(|(_, count)| **count > 0);
    named.map(|(source, count)| (source_name(source), *count)).collect()
}

fn source_name(source: usize) -> &'static str {
    let source = i32::try_from(source).ok().and_then(|source| AnswerSource::try_from(source).ok());
    match source {
        Some(AnswerSource::TokenFormat) => "token_format",
        Some(AnswerSource::LocalCache) => "local_cache",
        Some(AnswerSource::SharedCache) => "shared_cache",
        Some(AnswerSource::Database) => "database",
        Some(AnswerSource::Unspecified) | None => "unspecified",
    }
}

// === impl Latency ===

impl Latency {
    fn of(latency: &hdrhistogram::Histogram<u64>) -> Self {
        let at = |quantile: f64| float(latency.value_at_quantile(quantile)) / 1e6;
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: float(latency.max()) / 1e6 }
    }
}

/// One point for each half order of magnitude of what is beyond a percentile.
fn curve(latency: &hdrhistogram::Histogram<u64>) -> Vec<(f64, f64)> {
    let points =
        latency.iter_quantiles(5).map(|value| (value.quantile() * 100.0, float(value.value_iterated_to()) / 1e6));
    points.filter(|(percentile, _)| *percentile < 100.0).collect()
}

fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// Processor time for each check; `None` without checks.
pub(super) fn micros_each(cpu: Duration, checks: u64) -> Option<f64> {
    (checks > 0).then(|| cpu.as_secs_f64() * 1e6 / float(checks))
}

/// A count as a rate.
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { float(count) / time.as_secs_f64() }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "figures are read by people, to three digits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
