//! The breaker's states and the only ways from one to another.
//!
//! `Open` to `Closed` does not compile: the way back leads through a probe.

use std::time::Duration;

use tokio::time::Instant;

use super::window::{Tally, Window};
use crate::config;

/// When to open, and for how long.
#[derive(Debug)]
pub(super) struct Policy {
    window: Duration,
    ratio: f64,
    sample: u64,
    unanswered: u32,
    open_min: Duration,
    open_max: Duration,
}

/// Exactly one of these at a time.
#[derive(Debug)]
pub(super) enum State {
    Closed(Closed),
    Open(Open),
    HalfOpen(HalfOpen),
}

/// Redis is used, and what becomes of it is counted.
#[derive(Debug)]
pub(super) struct Closed {
    window: Window,
    unanswered: u32,
}

/// Redis is left alone until a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) until: Instant,
    round: u32,
}

/// One command is out to see whether Redis is back.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfOpen {
    round: u32,
}

/// How a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) enum Fault {
    /// No answer came: a time-out, or no connection.
    Unanswered,
    /// Redis answered that it cannot serve.
    Unready,
}

// === impl Policy ===

impl Policy {
    pub(super) fn new(config: &config::Breaker) -> Self {
        Self {
            window: config.window,
            ratio: config.failure_ratio,
            sample: u64::from(config.min_commands.max(1)),
            unanswered: config.consecutive_timeouts.max(1),
            open_min: config.open_min,
            open_max: config.open_max.max(config.open_min),
        }
    }

    /// The longest that the breaker stays open after `round` failed probes in a row.
    pub(super) fn longest(&self, round: u32) -> Duration {
        let doubled = 1_u32.checked_shl(round).and_then(|factor| self.open_min.checked_mul(factor));
        doubled.unwrap_or(self.open_max).min(self.open_max)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of seconds are far below 2^52")]
    fn exceeded(&self, tally: Tally) -> bool {
        tally.total >= self.sample && tally.failed as f64 >= self.ratio * tally.total as f64
    }
}

// === impl Closed ===

impl Closed {
    pub(super) fn new(policy: &Policy, now: Instant) -> Self {
        Self { window: Window::new(policy.window, now), unanswered: 0 }
    }

    pub(super) fn pass(&mut self, now: Instant) {
        self.window.pass(now);
        self.unanswered = 0;
    }

    /// Counts a failure; the reason to open, when it is one too many.
    pub(super) fn fail(&mut self, fault: Fault, policy: &Policy, now: Instant) -> Option<(Open, String)> {
        let tally = self.window.fail(now);
        self.unanswered += u32::from(fault == Fault::Unanswered);
        let reason = if self.unanswered >= policy.unanswered {
            format!("{} commands in a row had no answer", self.unanswered)
        } else if policy.exceeded(tally) {
            format!("{} of {} commands failed", tally.failed, tally.total)
        } else {
            return None;
        };
        Some((Open::new(0, policy, now), reason))
    }
}

// === impl Open ===

impl Open {
    /// Full jitter, so that the replicas do not come back all at once
    /// (AWS Architecture Blog, "Exponential Backoff And Jitter").
    fn new(round: u32, policy: &Policy, now: Instant) -> Self {
        let share = rand::random_range(0.0..=1.0);
        Self { until: now + policy.longest(round).mul_f64(share), round }
    }

    /// The probe, when it is due.
    pub(super) fn probe(self, now: Instant) -> Result<HalfOpen, Self> {
        if now < self.until { Err(self) } else { Ok(HalfOpen { round: self.round }) }
    }
}

// === impl HalfOpen ===

impl HalfOpen {
    #[expect(clippy::unused_self, reason = "only a probe can close the breaker, and it is used up by that")]
    pub(super) fn pass(self, policy: &Policy, now: Instant) -> Closed {
        Closed::new(policy, now)
    }

    pub(super) fn fail(self, policy: &Policy, now: Instant) -> Open {
        Open::new(self.round.saturating_add(1), policy, now)
    }

    /// The probe was given up before it could tell anything.
    pub(super) fn give_up(self, policy: &Policy, now: Instant) -> Open {
        Open::new(self.round, policy, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::new(&config::Breaker::default())
    }

    #[test]
    fn open_time_doubles_from_open_min_to_open_max() {
        let millis: Vec<_> = (0..7).map(|round| policy().longest(round).as_millis()).collect();
        assert_eq!(millis, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(policy().longest(u32::MAX), Duration::from_secs(5));
    }

    #[test]
    fn jitter_spreads_over_the_whole_open_time_and_never_beyond() {
        let (now, policy) = (Instant::now(), policy());
        let waits: Vec<_> = (0..1000).map(|_| Open::new(2, &policy, now).until - now).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)), "beyond the cap");
        assert!(waits.iter().any(|wait| *wait < Duration::from_millis(250)), "nothing in the lowest quarter");
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(750)), "nothing in the highest quarter");
    }

    #[test]
    fn each_failed_probe_lengthens_the_next_wait_and_an_abandoned_one_does_not() {
        let (now, policy) = (Instant::now(), policy());
        let probe = HalfOpen { round: 3 };
        assert_eq!(probe.fail(&policy, now).round, 4);
        assert_eq!(probe.give_up(&policy, now).round, 3);
        assert_eq!(HalfOpen { round: u32::MAX }.fail(&policy, now).round, u32::MAX);
    }
}
