//! The in-process cache: alone, or in front of Redis.
//!
//! No tombstone of another replica reaches it. What it holds is believed only as far as
//! the journal goes, which is why it needs strict terms or `revoke_ack = lease`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, ops::compute::Op, sync::Cache};

use super::entry::{Fact, NoFact};
use crate::{
    config,
    domain::{Digest, TokenId},
};

/// Facts in this process's memory, bounded. A clone is the same cache.
#[derive(Clone, Debug)]
pub struct MemoryCache {
    slots: Cache<TokenId, Slot>,
}

#[derive(Clone, Debug)]
struct Slot {
    life: Duration,
    holds: Holds,
}

#[derive(Clone, Debug)]
enum Holds {
    Fact(Arc<Fact>),
    Tombstone,
}

/// Each entry brings its own life.
#[derive(Debug)]
struct OwnLife;

// === impl Slot ===

impl Slot {
    /// 1 for an ordinary entry, and 1 more for each KiB of texts.
    fn weight(&self) -> u32 {
        let texts = match &self.holds {
            Holds::Tombstone => 0,
            Holds::Fact(fact) => fact.text_bytes(),
        };
        u32::try_from(texts / 1024).unwrap_or(u32::MAX).saturating_add(1)
    }
}

// === impl MemoryCache ===

impl MemoryCache {
    /// An empty cache of at most `memory_entries` entries; one with long texts counts as several.
    #[must_use]
    pub fn new(config: &config::Cache) -> Self {
        let slots = Cache::builder()
            .max_capacity(u64::from(config.memory_entries))
            .weigher(|_, slot: &Slot| slot.weight())
            .expire_after(OwnLife)
            .build();
        Self { slots }
    }

    pub(super) fn get(&self, digest: Digest) -> Option<Arc<Fact>> {
        match self.slots.get(&digest.token_id())?.holds {
            Holds::Fact(fact) => Some(fact).filter(|fact| fact.record.digest == digest),
            Holds::Tombstone => None,
        }
    }

    /// What is kept under a name, whatever the whole digest.
    pub(super) fn look(&self, id: TokenId) -> Result<Arc<Fact>, NoFact> {
        match self.slots.get(&id).ok_or(NoFact::Absent)?.holds {
            Holds::Fact(fact) => Ok(fact),
            Holds::Tombstone => Err(NoFact::Tombstone),
        }
    }

    /// How many entries there are, about.
    pub(super) fn len(&self) -> u64 {
        self.slots.entry_count()
    }

    /// Keeps a fact for `life`, unless a tombstone stands in its place.
    pub(super) fn put(&self, fact: Arc<Fact>, life: Duration) {
        let id = fact.record.digest.token_id();
        let slot = Slot { life, holds: Holds::Fact(fact) };
        self.slots.entry(id).and_compute_with(|entry| match entry.map(|entry| entry.into_value().holds) {
            Some(Holds::Tombstone) => Op::Nop,
            Some(Holds::Fact(_)) | None => Op::Put(slot),
        });
    }

    /// Replaces whatever is known of a token, and keeps fills out for `life`.
    pub(super) fn bury(&self, id: TokenId, life: Duration) {
        let slot = Slot { life, holds: Holds::Tombstone };
        self.slots.entry(id).and_compute_with(|_| Op::Put(slot));
    }
}

#[cfg(test)]
impl MemoryCache {
    /// What happens to any entry when the cache is full.
    pub(super) fn evict(&self, id: TokenId) {
        self.slots.invalidate(&id);
    }
}

// === impl OwnLife ===

impl Expiry<TokenId, Slot> for OwnLife {
    fn expire_after_create(&self, _: &TokenId, slot: &Slot, _: Instant) -> Option<Duration> {
        Some(slot.life)
    }

    fn expire_after_update(&self, _: &TokenId, slot: &Slot, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(slot.life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::fixture::{NOWHERE, digest, eventually, noon, record};

    const LONG: Duration = Duration::from_mins(1);

    fn fact(name: &str) -> Arc<Fact> {
        Arc::new(Fact { position: NOWHERE, read_at: noon(), record: Arc::new(record(name)) })
    }

    fn cache(entries: u32) -> MemoryCache {
        MemoryCache::new(&config::Cache { memory_entries: entries, ..config::Cache::default() })
    }

    #[test]
    fn a_fact_is_found_by_its_whole_digest() {
        let cache = cache(100);
        cache.put(fact("a"), LONG);
        assert_eq!(cache.get(digest("a")), Some(fact("a")));
        let mut neighbour = *digest("a").as_bytes();
        neighbour[63] ^= 1;
        assert!(cache.get(Digest::from_bytes(neighbour)).is_none(), "the same token_id is not enough");
    }

    #[test]
    fn a_fill_never_replaces_a_tombstone() {
        let cache = cache(100);
        cache.put(fact("a"), LONG);
        cache.bury(digest("a").token_id(), LONG);
        cache.put(fact("a"), LONG);
        assert!(cache.get(digest("a")).is_none());
    }

    #[tokio::test]
    async fn each_entry_ends_with_its_own_life() {
        let cache = cache(100);
        cache.put(fact("short"), Duration::from_millis(20));
        cache.put(fact("long"), LONG);
        eventually(async || cache.get(digest("short")).is_none()).await;
        assert!(cache.get(digest("long")).is_some());
        cache.bury(digest("long").token_id(), Duration::from_millis(20));
        eventually(async || {
            cache.put(fact("long"), LONG);
            cache.get(digest("long")).is_some()
        })
        .await;
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let cache = cache(50);
        for number in 0..1000 {
            cache.put(fact(&number.to_string()), LONG);
        }
        cache.slots.run_pending_tasks();
        assert!(cache.slots.entry_count() <= 50);
    }
}
