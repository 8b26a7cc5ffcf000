//! Looking at what the caches hold.

use std::{future::Future, sync::Arc, time::Duration};

use super::{
    digest::TokenId,
    error::Error,
    reading::Position,
    record::{Timestamp, TokenRecord},
    revocation::Target,
};

/// What can be looked at. Implemented by `cache::Cached`.
pub trait Inspection: Send + Sync + 'static {
    /// What has been counted, and what there is.
    ///
    /// # Cancel safety
    /// Dropping the future loses only the answer.
    fn stats(&self) -> impl Future<Output = CacheStats> + Send;

    /// What each cache holds of a token, and whether it would be answered from now. It changes nothing, and
    /// is not counted as a look-up.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the token is named by its public name and the database does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future loses only the answer.
    fn inspect(&self, target: Target) -> impl Future<Output = Result<Inspected, Error>> + Send;
}

/// What a cache has counted since it was made, and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what the contract's field of that name says")]
pub struct CacheStats {
    pub kind: &'static str,
    pub memo_hits: u64,
    pub memory_hits: u64,
    pub redis_hits: u64,
    pub misses: u64,
    pub facts_refuted: u64,
    pub facts_unproven: u64,
    pub entries_refused: u64,
    pub fills_tombstoned: u64,
    pub tombstones_owed: u64,
    pub memory_entries: Option<u64>,
    pub memo_entries: u64,
    pub redis_keys: Option<u64>,
}

/// What the caches hold of one token.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The token.
    pub token: TokenId,
    /// One of each cache that there is, in the order in which they are asked.
    pub entries: Vec<Entry>,
    /// The place up to which the journal was read.
    pub position: Option<Position>,
}

/// What one cache holds of a token.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which cache.
    pub tier: Tier,
    /// What it holds.
    pub holds: Holds,
    /// Why a check would not be answered from it now; `None` when it would be.
    pub cause: Option<String>,
    /// How long it is kept for.
    pub remaining: Option<Duration>,
}

/// A cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Of unknown and revoked tokens, in this process.
    Memo,
    /// This process's memory.
    Memory,
    /// Redis.
    Redis,
}

/// What a cache holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Nothing.
    Nothing,
    /// The token and its user, as the database had them.
    Fact {
        /// The place in the journal that they were read at.
        position: Position,
        /// When they were read.
        read_at: Timestamp,
        /// What was read.
        record: Arc<TokenRecord>,
    },
    /// What keeps facts from before a change out.
    Tombstone,
    /// That there is no such token, or that it was revoked.
    NotActive,
    /// What is no fact of this deployment, or cannot be told to be one.
    Refused,
    /// Nobody knows: it gave no answer.
    Unknown,
}

// === impl CacheStats ===

impl CacheStats {
    /// Share of the look-ups that a cache answered, 0 to 1; 0 before the first one.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of look-ups are far from 2^53")]
    pub fn hit_rate(&self) -> f64 {
        let hits = self.memo_hits + self.memory_hits + self.redis_hits;
        let all = hits + self.misses;
        if all == 0 { 0.0 } else { hits as f64 / all as f64 }
    }
}
