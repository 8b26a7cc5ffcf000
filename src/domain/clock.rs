//! The system's clock and one that tests set.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DurationRound as _, TimeDelta};

use super::{ports::Clock, record::Timestamp};

/// The wall clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A clock that stands still until it is set.
#[derive(Clone, Debug)]
pub struct SetClock(Arc<Mutex<Timestamp>>);

// === impl SystemClock ===

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        to_microseconds(chrono::Utc::now())
    }
}

// === impl SetClock ===

impl SetClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(to_microseconds(now))))
    }

    /// Moves the clock, forwards or back.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to_microseconds(now);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what databases do not keep.
pub(super) fn to_microseconds(time: Timestamp) -> Timestamp {
    time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time)
}
