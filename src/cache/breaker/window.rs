//! Counts of the last while, in a ring of buckets.

use std::time::Duration;

use tokio::time::Instant;

/// A tenth of the window is forgotten at a time.
const BUCKETS: usize = 10;

/// What became of the commands of the last `BUCKETS * width`.
#[derive(Debug)]
pub(super) struct Window {
    width: Duration,
    origin: Instant,
    head: u64,
    buckets: [Tally; BUCKETS],
}

/// Commands that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) total: u64,
    pub(super) failed: u64,
}

// === impl Window ===

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        let width = (length / u32::try_from(BUCKETS).expect("ten fits")).max(Duration::from_millis(1));
        Self { width, origin: now, head: 0, buckets: [Tally::default(); BUCKETS] }
    }

    pub(super) fn pass(&mut self, now: Instant) {
        self.bucket(now).total += 1;
    }

    /// Counts a failure and gives the sums of the window.
    pub(super) fn fail(&mut self, now: Instant) -> Tally {
        let bucket = self.bucket(now);
        bucket.total += 1;
        bucket.failed += 1;
        self.buckets.iter().fold(Tally::default(), |sum, tally| Tally {
            total: sum.total + tally.total,
            failed: sum.failed + tally.failed,
        })
    }

    /// The bucket of `now`; the buckets between the last one and it are emptied.
    fn bucket(&mut self, now: Instant) -> &mut Tally {
        let passed = now.saturating_duration_since(self.origin).as_nanos() / self.width.as_nanos();
        let number = u64::try_from(passed).unwrap_or(u64::MAX).max(self.head);
        let stale = (number - self.head).min(BUCKETS as u64);
        for step in 0..stale {
            *self.at(number - step) = Tally::default();
        }
        self.head = number;
        self.at(number)
    }

    fn at(&mut self, number: u64) -> &mut Tally {
        &mut self.buckets[usize::try_from(number % BUCKETS as u64).expect("below ten")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10), start);
        for second in 0..10 {
            window.pass(start + Duration::from_secs(second));
        }
        assert_eq!(window.fail(start + Duration::from_secs(9)), Tally { total: 11, failed: 1 });
        assert_eq!(window.fail(start + Duration::from_secs(12)), Tally { total: 9, failed: 2 });
        assert_eq!(window.fail(start + Duration::from_secs(1000)), Tally { total: 1, failed: 1 });
    }

    #[test]
    fn time_that_runs_backwards_counts_in_the_latest_bucket() {
        let start = Instant::now() + Duration::from_mins(1);
        let mut window = Window::new(Duration::from_secs(10), start);
        window.pass(start + Duration::from_secs(5));
        assert_eq!(window.fail(start), Tally { total: 2, failed: 1 });
    }
}
