//! Entries in Redis that are no facts of ours: counted, and reported without flooding the log.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{counters::Counters, entry::Refusal};
use crate::domain::TokenId;

/// Least time between two warnings of one reason. Whoever can write to Redis can cause one a look-up.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// When each reason was last warned of.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<Refusal, Instant>>);

// === impl Refusals ===

impl Refusals {
    /// Takes note that the entry of a token was not used.
    pub(super) fn note(&self, counters: &Counters, id: TokenId, refusal: Refusal) {
        counters.refused(refusal);
        if self.may_warn(refusal) {
            tracing::warn!(token_id = %id, reason = %refusal, "an entry in Redis is not used");
        }
    }

    fn may_warn(&self, refusal: Refusal) -> bool {
        let (mut warned, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let due = warned.get(&refusal).is_none_or(|last| now.duration_since(*last) >= WARN_EVERY);
        if due {
            warned.insert(refusal, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_reason_is_warned_of_once_a_second() {
        let refusals = Refusals::default();
        assert!(refusals.may_warn(Refusal::Mac));
        assert!(!refusals.may_warn(Refusal::Mac));
        assert!(refusals.may_warn(Refusal::Version), "another reason");
        tokio::time::advance(WARN_EVERY.saturating_sub(Duration::from_millis(1))).await;
        assert!(!refusals.may_warn(Refusal::Mac));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(refusals.may_warn(Refusal::Mac));
    }
}
