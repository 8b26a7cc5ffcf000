//! The memo of unknown and revoked digests, in this process only.
//!
//! It answers for at most two seconds, so that a flood of one wrong token costs one
//! query in that time. It is bounded by two generations: when the young one is full or
//! old enough, it becomes the old one, and the old one is dropped. It stands on the hit
//! path, which is why it is a plain map and not a general cache.

use std::{
    collections::HashMap,
    mem,
    sync::{PoisonError, RwLock, RwLockWriteGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    config,
    domain::{Digest, Found, Position, Reading, Source, TokenId},
};

/// The longest that an unknown token may be taken for unknown without asking again.
const MAX_TTL: Duration = Duration::from_secs(2);

/// Digests that the database did not know, or knew as revoked.
#[derive(Debug)]
pub(super) struct NegativeMemo {
    ttl: Duration,
    /// Of one generation; none when the memo is off.
    capacity: usize,
    notes: RwLock<Generations>,
}

/// An answer that is not a token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Unknown,
    Revoked,
}

#[derive(Debug)]
struct Generations {
    young: HashMap<TokenId, Note>,
    old: HashMap<TokenId, Note>,
    turned: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    digest: Digest,
    verdict: Verdict,
    position: Position,
    sent: Instant,
}

// === impl NegativeMemo ===

impl NegativeMemo {
    pub(super) fn new(config: &config::Cache) -> Self {
        let ttl = config.negative_ttl.min(MAX_TTL);
        let capacity = if ttl.is_zero() { 0 } else { config.negative_entries as usize / 2 };
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), turned: Instant::now() };
        Self { ttl, capacity, notes: RwLock::new(generations) }
    }

    /// What was noted of a digest, while it still holds.
    pub(super) fn get(&self, digest: Digest) -> Option<Reading> {
        if self.capacity == 0 {
            return None;
        }
        let id = digest.token_id();
        let note = {
            let notes = self.notes.read().unwrap_or_else(PoisonError::into_inner);
            *notes.young.get(&id).or_else(|| notes.old.get(&id))?
        };
        let age = note.sent.elapsed();
        (note.digest == digest && age < self.ttl).then(|| note.reading(age))
    }

    /// Notes the answer of a database read that was sent at `sent`.
    pub(super) fn note(&self, digest: Digest, verdict: Verdict, position: Position, sent: Instant) {
        if self.capacity == 0 {
            return;
        }
        let mut notes = self.write();
        if notes.young.len() >= self.capacity || notes.turned.elapsed() >= self.ttl {
            notes.turn();
        }
        notes.young.insert(digest.token_id(), Note { digest, verdict, position, sent });
    }

    /// How many digests are noted, whether or not what was noted still holds.
    pub(super) fn len(&self) -> usize {
        let notes = self.notes.read().unwrap_or_else(PoisonError::into_inner);
        notes.young.len() + notes.old.len()
    }

    /// Forgets what may have changed.
    pub(super) fn forget(&self, ids: &[TokenId]) {
        if self.capacity == 0 {
            return;
        }
        let mut notes = self.write();
        for id in ids {
            notes.young.remove(id);
            notes.old.remove(id);
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Generations> {
        self.notes.write().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Generations ===

impl Generations {
    fn turn(&mut self) {
        self.old = mem::take(&mut self.young);
        self.turned = Instant::now();
    }
}

// === impl Note ===

impl Note {
    fn reading(&self, age: Duration) -> Reading {
        let found = match self.verdict {
            Verdict::Unknown => Found::Unknown,
            Verdict::Revoked => Found::Revoked,
        };
        Reading { found, position: self.position, source: Source::LocalCache, age }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;
    use crate::cache::tests::fixture::{NOWHERE, digest};

    fn memo(ttl: Duration, entries: u32) -> NegativeMemo {
        NegativeMemo::new(&config::Cache { negative_ttl: ttl, negative_entries: entries, ..config::Cache::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_note_holds_for_its_time_and_says_how_old_it_is() {
        let memo = memo(Duration::from_secs(2), 100);
        memo.note(digest("a"), Verdict::Unknown, NOWHERE, Instant::now());
        time::advance(Duration::from_millis(1999)).await;
        let reading = memo.get(digest("a")).expect("still held");
        assert_eq!((reading.found, reading.source), (Found::Unknown, Source::LocalCache));
        assert_eq!(reading.age, Duration::from_millis(1999));
        assert!(memo.get(digest("b")).is_none());
        time::advance(Duration::from_millis(1)).await;
        assert!(memo.get(digest("a")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_setting_makes_it_hold_longer_than_two_seconds() {
        let memo = memo(Duration::from_mins(1), 100);
        memo.note(digest("a"), Verdict::Revoked, NOWHERE, Instant::now());
        time::advance(Duration::from_secs(2)).await;
        assert!(memo.get(digest("a")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_is_asked_again() {
        let memo = memo(Duration::from_secs(2), 100);
        memo.note(digest("a"), Verdict::Unknown, NOWHERE, Instant::now());
        memo.forget(&[digest("a").token_id()]);
        assert!(memo.get(digest("a")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_holds_more_than_its_bound() {
        let memo = memo(Duration::from_secs(2), 100);
        for number in 0..10_000 {
            memo.note(digest(&number.to_string()), Verdict::Unknown, NOWHERE, Instant::now());
        }
        let notes = memo.write();
        assert!(notes.young.len() + notes.old.len() <= 100);
        drop(notes);
        assert!(memo.get(digest("9999")).is_some(), "the latest is held");
    }

    #[tokio::test(start_paused = true)]
    async fn zero_switches_it_off() {
        for memo in [memo(Duration::ZERO, 100), memo(Duration::from_secs(2), 0)] {
            memo.note(digest("a"), Verdict::Unknown, NOWHERE, Instant::now());
            assert!(memo.get(digest("a")).is_none());
        }
    }
}
