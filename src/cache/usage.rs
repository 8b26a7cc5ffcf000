//! When tokens were last accepted: noted in memory at a check, and written behind, many at a time.
//!
//! A check pays for it with a look at a few words in memory, most of the time. The words of [`LINES`] lines say of as
//! many tokens when their use was last noted; only a use that none of them tells of goes into the map of what is to
//! be written, under a lock that no check waits for. The map is bounded: what finds no room is noted at a later
//! use. A token has the words of one line to be in, where it takes the place of the one that was noted longest ago: when
//! more than [`LINE`] in use share a line they push each other out, which costs locks and statements and no correctness.
//!
//! What is in memory when the process is killed is lost: a last use may be told as up to
//! [`WRITE_EVERY`] earlier than it was, beside the minute for which a token is not written again.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Cached;
use crate::domain::{Administration, Clock, Digest, Timestamp, TokenRecord, TokenStore, Used};

/// Words of 8 bytes in a line.
const LINE: usize = 8;
/// Lines: room for 65,536 tokens.
const LINES: usize = 1 << 13;
/// Uses that wait to be written, at most.
const MOST: usize = 1 << 16;
/// Time between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// A use is not written when the one that is noted is younger than this, in seconds.
const APART: i64 = 60;

/// What is to be written, and what was noted a short while ago.
#[derive(Debug)]
pub(super) struct Usage {
    seen: Box<[Line]>,
    pending: Mutex<HashMap<Digest, Timestamp>>,
}

/// Words that lie together, in one line of the processor's cache: the head of a digest in the upper half of each, and
/// the time of its use in seconds in the lower.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; LINE]);

// === impl Usage ===

impl Default for Usage {
    fn default() -> Self {
        Self { seen: (0..LINES).map(|_| Line::default()).collect(), pending: Mutex::default() }
    }
}

impl Usage {
    /// Takes note of a use, unless that was done within the last minute, here or by whoever
    /// wrote what the record tells.
    pub(super) fn note(&self, record: &TokenRecord, now: Timestamp) {
        // First what is at hand.
        if record.last_used.is_some_and(|used| (now - used).num_seconds() < APART) {
            return;
        }
        let (line, word) = self.line(record.digest, now);
        let seen = line.iter().find(|slot| is_same(slot.load(Ordering::Relaxed), word));
        if seen.is_some_and(|slot| is_recent(slot.load(Ordering::Relaxed), word)) {
            return;
        }
        // A lock that is taken is no reason to wait: the next use comes here again.
        let Ok(mut pending) = self.pending.try_lock() else { return };
        if pending.len() < MOST || pending.contains_key(&record.digest) {
            pending.insert(record.digest, now);
            let oldest = || line.iter().min_by_key(|slot| seconds(slot.load(Ordering::Relaxed)));
            if let Some(slot) = seen.or_else(oldest) {
                slot.store(word, Ordering::Relaxed);
            }
        }
    }

    fn take(&self) -> Vec<Used> {
        let pending = mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        pending.into_iter().map(|(digest, at)| Used { digest, at }).collect()
    }

    /// Puts back what could not be written, as far as there is room.
    fn put_back(&self, used: Vec<Used>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for Used { digest, at } in used {
            if pending.len() < MOST {
                pending.entry(digest).or_insert(at);
            }
        }
    }

    /// The words that a token can be in, and what one of them holds once a use at `now` is noted.
    fn line(&self, digest: Digest, now: Timestamp) -> (&[AtomicU64; LINE], u64) {
        let bytes = digest.as_bytes();
        let head = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let line = usize::from(u16::from_be_bytes([bytes[4], bytes[5]])) % LINES;
        let seconds = u64::from(u32::try_from(now.timestamp().rem_euclid(1 << 32)).unwrap_or_default());
        (&self.seen[line].0, u64::from(head) << 32 | seconds)
    }
}

/// Whether two words are about the same token.
fn is_same(seen: u64, word: u64) -> bool {
    seen >> 32 == word >> 32
}

/// Whether a word tells of a use within the last minute.
fn is_recent(seen: u64, word: u64) -> bool {
    (seconds(word) - seconds(seen)).abs() < APART
}

fn seconds(word: u64) -> i64 {
    i64::try_from(word & 0xffff_ffff).unwrap_or_default()
}

// === impl Cached ===

impl<S: TokenStore + Administration, C: Clock> Cached<S, C> {
    /// Writes last uses every few seconds, for ever. Run it in a task of its own.
    pub async fn keep_writing_used(&self) {
        let mut tick = interval_at(Instant::now() + WRITE_EVERY, WRITE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.write_used().await;
        }
    }

    /// Writes the last uses that wait to be written.
    ///
    /// # Cancel safety
    /// Dropping the future may lose them.
    pub async fn write_used(&self) {
        let Some(usage) = &self.inner.usage else { return };
        let used = usage.take();
        if used.is_empty() {
            return;
        }
        match self.inner.store.note_used(used.clone()).await {
            Ok(count) => tracing::debug!(noted = used.len(), written = count, "last uses were written"),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "last uses could not be written");
                usage.put_back(used);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::cache::tests::fixture::{noon, record};

    fn later(seconds: i64) -> Timestamp {
        noon() + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_use_is_noted_once_a_minute() {
        let (usage, token) = (Usage::default(), record("a"));
        for seconds in [0, 1, 59] {
            usage.note(&token, later(seconds));
        }
        assert_eq!(usage.take(), [Used { digest: token.digest, at: noon() }]);
        usage.note(&token, later(59));
        assert_eq!(usage.take(), [], "it was noted less than a minute before");
        usage.note(&token, later(60));
        assert_eq!(usage.take(), [Used { digest: token.digest, at: later(60) }]);
    }

    #[test]
    fn tokens_that_share_a_place_are_noted_once_a_minute_all_the_same() {
        let usage = Usage::default();
        let sharing: Vec<_> = (0..=u8::try_from(LINE).expect("it is small"))
            .map(|number| {
                let mut bytes = [7; 64];
                bytes[0] = number;
                TokenRecord { digest: Digest::from_bytes(bytes), ..record("a") }
            })
            .collect();
        for seconds in [0, 1, 2] {
            sharing[..LINE].iter().for_each(|token| usage.note(token, later(seconds)));
            assert_eq!(usage.take().len(), if seconds == 0 { LINE } else { 0 }, "after {seconds} s");
        }
        usage.note(&sharing[LINE], later(3));
        assert_eq!(usage.take().len(), 1, "one more takes the place of one of them");
    }

    #[test]
    fn what_the_database_told_lately_is_not_noted_again() {
        let (usage, token) = (Usage::default(), TokenRecord { last_used: Some(noon()), ..record("a") });
        usage.note(&token, later(30));
        assert_eq!(usage.take(), []);
        usage.note(&token, later(60));
        assert_eq!(usage.take().len(), 1);
    }

    #[test]
    fn what_waits_is_bounded_and_what_failed_is_kept() {
        let usage = Usage::default();
        for number in 0..MOST + 100 {
            usage.note(&record(&number.to_string()), noon());
        }
        let used = usage.take();
        assert_eq!(used.len(), MOST);
        let token = record("0");
        usage.note(&token, later(90));
        usage.put_back(used);
        let mut again = usage.take();
        assert_eq!(again.len(), MOST);
        again.retain(|used| used.digest == token.digest);
        assert_eq!(again, [Used { digest: token.digest, at: later(90) }], "a later use is not taken back");
    }
}
