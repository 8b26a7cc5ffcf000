//! Until when the view may be relied on, and the clock that this is measured on.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// No lease was granted, or it was withdrawn.
const NONE: u64 = 0;

/// Time since some fixed moment, which goes on while the machine is suspended.
pub trait Uptime: Clone + Send + Sync + 'static {
    /// That time now; never less than it was.
    fn elapsed(&self) -> Duration;
}

/// `CLOCK_BOOTTIME`, or `CLOCK_MONOTONIC` on a system whose monotonic clock counts suspend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Boottime;

/// One writer, the reader; many look at it.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Its end in nanoseconds of [`Uptime`], or [`NONE`].
    until: AtomicU64,
}

/// Where in the life of a lease a moment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tenure {
    /// Within it.
    Valid,
    /// Past its end, but not yet by the grace.
    Grace,
    /// Later than that, or there is no lease.
    Over,
}

// === impl Boottime ===

impl Uptime for Boottime {
    fn elapsed(&self) -> Duration {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let clock = ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let clock = ClockId::Monotonic;
        Duration::try_from(clock_gettime(clock)).expect("the time since boot is not negative")
    }
}

// === impl Lease ===

impl Lease {
    /// Grants it from `sent`, when the poll had not been sent yet. Publish the view first.
    pub(super) fn grant(&self, sent: Duration, life: Duration) {
        let nanos = u64::try_from((sent + life).as_nanos()).expect("uptimes end before 584 years");
        self.until.store(nanos, Ordering::Release);
    }

    /// Ends it without a grace: changes may go unrecorded from now on.
    pub(super) fn withdraw(&self) {
        self.until.store(NONE, Ordering::Release);
    }

    /// Look at it before the view.
    pub(super) fn tenure(&self, now: Duration, grace: Duration) -> Tenure {
        match self.until() {
            Some(until) if now < until => Tenure::Valid,
            Some(until) if now < until.saturating_add(grace) => Tenure::Grace,
            Some(_) | None => Tenure::Over,
        }
    }

    /// Its end.
    pub(super) fn until(&self) -> Option<Duration> {
        Some(self.until.load(Ordering::Acquire)).filter(|until| *until != NONE).map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_ends_at_its_end_and_the_grace_after_that() {
        let lease = Lease::default();
        assert_eq!(lease.tenure(Duration::ZERO, SECOND), Tenure::Over, "none yet");
        lease.grant(SECOND, SECOND);
        let almost = Duration::from_nanos(1);
        assert_eq!(lease.tenure((2 * SECOND).saturating_sub(almost), SECOND), Tenure::Valid);
        assert_eq!(lease.tenure(2 * SECOND, SECOND), Tenure::Grace);
        assert_eq!(lease.tenure((3 * SECOND).saturating_sub(almost), SECOND), Tenure::Grace);
        assert_eq!(lease.tenure(3 * SECOND, SECOND), Tenure::Over);
        assert_eq!(lease.tenure(2 * SECOND, Duration::ZERO), Tenure::Over, "no grace");
        lease.withdraw();
        assert_eq!(lease.tenure(SECOND, SECOND), Tenure::Over);
    }

    #[test]
    fn boottime_is_the_kernels_time_since_boot() {
        let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux");
        let kernel: f64 = uptime.split_whitespace().next().and_then(|it| it.parse().ok()).expect("a number");
        let ours = Boottime.elapsed().as_secs_f64();
        assert!((ours - kernel).abs() < 5.0, "{ours} {kernel}");
    }
}
