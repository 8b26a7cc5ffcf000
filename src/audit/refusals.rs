//! Which refused calls get a record of their own: a flood of them must not fill a disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::Outcome;

/// Records of one kind in a row; after them one in [`INTERVAL`].
const BURST: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(1);
/// Kinds that are told apart. A callers file has fewer callers; names that it had once are not forgotten.
const KINDS: usize = 1_024;

/// Why a call was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// It had no credential, or none that is known.
    Unauthenticated,
    /// Its caller may not use the method.
    NotAllowed,
}

/// What was refused lately: by why, and whom.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<(Rejection, Arc<str>), Kind>>);

/// The generic cell rate algorithm (ITU-T I.371, annex A), and what it did not let through.
#[derive(Debug)]
struct Kind {
    /// When every record so far will have been worked off.
    worked_off: Instant,
    suppressed: u64,
}

// === impl Refusals ===

impl Refusals {
    /// How many had no record before this one; `None` when it has none either.
    pub(super) fn admit(&self, rejection: Rejection, caller: &Arc<str>) -> Option<u64> {
        let (mut kinds, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let mut key = (rejection, Arc::clone(caller));
        if kinds.len() >= KINDS && !kinds.contains_key(&key) {
            key.1 = Arc::from("");
        }
        let kind = kinds.entry(key).or_insert(Kind { worked_off: now, suppressed: 0 });
        let admitted = kind.admit(now);
        if admitted.is_none() {
            kind.suppressed += 1;
        }
        admitted
    }

    /// Those that a record may tell of now.
    pub(super) fn due(&self) -> Vec<(Rejection, Arc<str>, u64)> {
        self.take(|kind| kind.admit(Instant::now()))
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(Rejection, Arc<str>, u64)> {
        self.take(|kind| Some(std::mem::take(&mut kind.suppressed)))
    }

    fn take(&self, take: impl Fn(&mut Kind) -> Option<u64>) -> Vec<(Rejection, Arc<str>, u64)> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = kinds.iter_mut().filter(|(_, kind)| kind.suppressed > 0);
        suppressed.filter_map(|((why, caller), kind)| Some((*why, Arc::clone(caller), take(kind)?))).collect()
    }
}

// === impl Kind ===

impl Kind {
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let worked_off = self.worked_off.max(now);
        if worked_off - now > INTERVAL * (BURST - 1) {
            return None;
        }
        self.worked_off = worked_off + INTERVAL;
        Some(std::mem::take(&mut self.suppressed))
    }
}

// === impl Rejection ===

impl Rejection {
    pub(super) fn outcome(self) -> Outcome {
        let (code, reason) = match self {
            Self::Unauthenticated => ("UNAUTHENTICATED", "CALLER_UNAUTHENTICATED"),
            Self::NotAllowed => ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED"),
        };
        Outcome { code, reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn admit(refusals: &Refusals, times: usize) -> Vec<u64> {
        (0..times).filter_map(|_| refusals.admit(Rejection::NotAllowed, &Arc::from("gateway"))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_has_ten_records_and_then_one_a_second_that_counts_the_rest() {
        let refusals = Refusals::default();
        assert_eq!(admit(&refusals, 10_000), [0; 10]);
        assert_eq!(refusals.due(), [], "not yet");
        tokio::time::advance(SECOND).await;
        assert_eq!(admit(&refusals, 100), [9_990]);
        tokio::time::advance(SECOND).await;
        assert_eq!(refusals.due(), [(Rejection::NotAllowed, Arc::from("gateway"), 99)], "no call has to follow");
        assert_eq!(refusals.due(), []);
        tokio::time::advance(SECOND * 60).await;
        assert_eq!(admit(&refusals, 11), [0; 10], "a burst again");
        assert_eq!(refusals.all(), [(Rejection::NotAllowed, Arc::from("gateway"), 1)], "whatever the rate");
    }

    #[tokio::test(start_paused = true)]
    async fn one_kind_does_not_hide_another_and_the_kinds_are_bounded() {
        let refusals = Refusals::default();
        admit(&refusals, 1_000);
        assert_eq!(refusals.admit(Rejection::NotAllowed, &Arc::from("other")), Some(0));
        assert_eq!(refusals.admit(Rejection::Unauthenticated, &Arc::from("")), Some(0));
        for name in 0..2 * KINDS {
            refusals.admit(Rejection::NotAllowed, &Arc::from(name.to_string()));
        }
        assert!(refusals.0.lock().expect("not poisoned").len() <= KINDS + 1);
    }
}
