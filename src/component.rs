//! The condition of the parts that a replica depends on, as a background look finds it.
//!
//! Health answers from here and never does I/O of its own. A leaf: it imports nothing
//! of the project.

use std::{error::Error, fmt, future::Future, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

/// Failures in a row after which a part counts as lost; one alone may be a lost packet.
const FAILURES_TO_LOSE: u32 = 2;

/// Whether a part works, why not, and since when.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Why it does not work; `None` when it does.
    pub lost: Option<String>,
    /// Since when.
    pub since: Instant,
}

/// Looks at a part again and again, and publishes what it finds.
#[derive(Debug)]
pub struct Watchman {
    name: &'static str,
    condition: watch::Sender<Condition>,
    failures: u32,
    /// When the first look of these failures began.
    failing_since: Instant,
}

// === impl Condition ===

impl Condition {
    /// A part that was just seen to work.
    #[must_use]
    pub fn serving() -> Self {
        Self { lost: None, since: Instant::now() }
    }

    /// A part that nobody has seen work yet.
    #[must_use]
    pub fn unseen() -> Self {
        Self { lost: Some("not reached yet".to_owned()), since: Instant::now() }
    }

    /// Whether it works.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.lost.is_none()
    }

    /// Since when it has been lost; `None` while it works.
    #[must_use]
    pub fn lost_since(&self) -> Option<Instant> {
        self.lost.as_ref().map(|_| self.since)
    }
}

// === impl Watchman ===

impl Watchman {
    /// Watches the part called `name`, which is in condition `first` now.
    #[must_use]
    pub fn new(name: &'static str, first: Condition) -> (Self, watch::Receiver<Condition>) {
        let (condition, receiver) = watch::channel(first);
        (Self { name, condition, failures: 0, failing_since: Instant::now() }, receiver)
    }

    /// Looks every `period`, for ever. `look` must end within a bound of its own.
    pub async fn run<L, F, E>(mut self, period: Duration, look: L) -> !
    where
        L: Fn() -> F,
        F: Future<Output = Result<(), E>>,
        E: Error,
    {
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let began = tick.tick().await;
            match look().await {
                Ok(()) => self.found(),
                Err(error) => self.missed(&error, began),
            }
        }
    }

    fn found(&mut self) {
        self.failures = 0;
        let name = self.name;
        self.condition.send_if_modified(|condition| {
            let Some(lost) = condition.lost.take() else { return false };
            let lost_for_ms = millis(condition.since.elapsed());
            tracing::info!(component = name, lost_for_ms, cause = lost, "component serves");
            condition.since = Instant::now();
            true
        });
    }

    fn missed(&mut self, error: &dyn Error, began: Instant) {
        if self.failures == 0 {
            // A part that hangs was lost before that was noticed.
            self.failing_since = began;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_TO_LOSE {
            return;
        }
        let (name, since, cause) = (self.name, self.failing_since, Chain(error).to_string());
        self.condition.send_if_modified(|condition| {
            if condition.lost.as_ref() == Some(&cause) {
                return false;
            }
            if condition.lost.is_none() {
                tracing::warn!(component = name, cause, "component is lost");
                condition.since = since;
            }
            condition.lost = Some(cause);
            true
        });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An error with its sources, on one line.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_nothing_two_are_a_loss_and_one_success_ends_it() {
        let up = Arc::new(AtomicBool::new(true));
        let (watchman, mut condition) = Watchman::new("part", Condition::serving());
        let look = {
            let up = Arc::clone(&up);
            move || {
                let up = up.load(Ordering::Relaxed);
                async move { if up { Ok(()) } else { Err(io::Error::other("gone")) } }
            }
        };
        let start = Instant::now();
        let running = tokio::spawn(watchman.run(Duration::from_millis(100), look));

        up.store(false, Ordering::Relaxed);
        condition.changed().await.expect("the watchman runs");
        assert_eq!(condition.borrow_and_update().lost.as_deref(), Some("gone"));
        assert_eq!(start.elapsed(), Duration::from_millis(100), "the second look, 100 ms after the first");
        assert_eq!(condition.borrow().lost_since(), Some(start), "it was lost when the first of them began");

        up.store(true, Ordering::Relaxed);
        condition.changed().await.expect("the watchman runs");
        assert!(condition.borrow().is_serving());
        running.abort();
    }
}
