//! The in-process cache: alone, or in front of Redis.
//!
//! No tombstone of another replica reaches it. What it holds is believed only as far as
//! the journal goes, which is why it needs strict terms or `revoke_ack = lease`. Whoever reads a fact judges its age
//! (`Fact::life`), so that here no hit looks at a clock; one that is too old stays until it is replaced or pushed out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::{
    Weighter,
    sync::{Cache, EntryAction, EntryResult},
};

use super::entry::{Fact, NoFact};
use crate::{
    config,
    domain::{Digest, TokenId},
};

/// Facts in this process's memory, bounded. A clone is the same cache.
#[derive(Clone, Debug)]
pub struct MemoryCache {
    slots: Arc<Cache<TokenId, Slot, Weight>>,
}

#[derive(Clone, Debug)]
enum Slot {
    Fact(Fact),
    /// Keeps fills out until then.
    Tombstone(Instant),
}

#[derive(Clone, Debug)]
struct Weight;

// === impl Weight ===

impl Weighter<TokenId, Slot> for Weight {
    /// 1 for an ordinary entry, and 1 more for each KiB of texts.
    fn weight(&self, _: &TokenId, slot: &Slot) -> u64 {
        let texts = match slot {
            Slot::Tombstone(_) => 0,
            Slot::Fact(fact) => fact.text_bytes(),
        };
        u64::try_from(texts / 1024).unwrap_or(u64::MAX).saturating_add(1)
    }
}

// === impl Slot ===

impl Slot {
    fn keeps_fills_out(&self) -> bool {
        matches!(self, Self::Tombstone(until) if Instant::now() < *until)
    }
}

// === impl MemoryCache ===

impl MemoryCache {
    /// An empty cache of at most `memory_entries` entries; one with long texts counts as several.
    #[must_use]
    pub fn new(config: &config::Cache) -> Self {
        let most = config.memory_entries;
        let slots = Cache::with_weighter(usize::try_from(most).unwrap_or(usize::MAX), most.into(), Weight);
        // Each shard has the same share, rounded up.
        slots.set_capacity(u64::from(most) / slots.num_shards() as u64 * slots.num_shards() as u64);
        Self { slots: Arc::new(slots) }
    }

    pub(super) fn get(&self, digest: Digest) -> Option<Fact> {
        match self.slots.get(&digest.token_id())? {
            Slot::Fact(fact) => Some(fact).filter(|fact| fact.record.digest == digest),
            Slot::Tombstone(_) => None,
        }
    }

    /// What is kept under a name, whatever the whole digest.
    pub(super) fn look(&self, id: TokenId) -> Result<Fact, NoFact> {
        match self.slots.peek(&id).ok_or(NoFact::Absent)? {
            Slot::Fact(fact) => Ok(fact),
            tombstone if tombstone.keeps_fills_out() => Err(NoFact::Tombstone),
            Slot::Tombstone(_) => Err(NoFact::Absent),
        }
    }

    /// How many entries there are, those among them that are no longer of use.
    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Keeps a fact, unless a tombstone stands in its place.
    pub(super) fn put(&self, fact: Fact) {
        let id = fact.record.digest.token_id();
        // Not in its place: what is longer than what it replaces has to push others out.
        let replace = |_: &TokenId, slot: &mut Slot| {
            if slot.keeps_fills_out() { EntryAction::Retain(()) } else { EntryAction::ReplaceWithGuard }
        };
        match self.slots.entry(&id, Some(Duration::ZERO), replace) {
            EntryResult::Vacant(place) | EntryResult::Replaced(place, _) => {
                // A tombstone that came in between has taken the place.
                let _taken = place.insert(Slot::Fact(fact));
            }
            // Another fill that is under way at this moment is as good.
            EntryResult::Retained(()) | EntryResult::Removed(..) | EntryResult::Timeout => {}
        }
    }

    /// Replaces whatever is known of a token, and keeps fills out for `life`.
    pub(super) fn bury(&self, id: TokenId, life: Duration) {
        self.slots.insert(id, Slot::Tombstone(Instant::now() + life));
    }
}

#[cfg(test)]
impl MemoryCache {
    /// What happens to any entry when the cache is full.
    pub(super) fn evict(&self, id: TokenId) {
        self.slots.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::cache::tests::fixture::{NOWHERE, digest, eventually, noon, record};

    const LONG: Duration = Duration::from_mins(1);

    fn fact(name: &str) -> Fact {
        Fact { position: NOWHERE, read_at: noon(), record: Arc::new(record(name)) }
    }

    fn cache(entries: u32) -> MemoryCache {
        MemoryCache::new(&config::Cache { memory_entries: entries, ..config::Cache::default() })
    }

    #[test]
    fn a_fact_is_found_by_its_whole_digest() {
        let cache = cache(100);
        cache.put(fact("a"));
        assert_eq!(cache.get(digest("a")), Some(fact("a")));
        let mut neighbour = *digest("a").as_bytes();
        neighbour[63] ^= 1;
        assert!(cache.get(Digest::from_bytes(neighbour)).is_none(), "the same token_id is not enough");
    }

    #[test]
    fn a_fill_never_replaces_a_tombstone() {
        let cache = cache(100);
        cache.put(fact("a"));
        cache.bury(digest("a").token_id(), LONG);
        cache.put(fact("a"));
        assert!(cache.get(digest("a")).is_none());
    }

    #[tokio::test]
    async fn a_tombstone_ends_with_its_life() {
        let cache = cache(100);
        cache.bury(digest("c").token_id(), LONG);
        assert_eq!(cache.look(digest("c").token_id()), Err(NoFact::Tombstone));
        cache.bury(digest("a").token_id(), Duration::from_millis(20));
        eventually(async || {
            cache.put(fact("a"));
            cache.get(digest("a")).is_some()
        })
        .await;
        cache.bury(digest("b").token_id(), Duration::ZERO);
        assert_eq!(cache.look(digest("b").token_id()), Err(NoFact::Absent));
    }

    #[test]
    fn a_tombstone_beats_fills_that_race_with_it() {
        let (cache, id) = (cache(100), digest("a").token_id());
        for _ in 0..200 {
            cache.evict(id);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| cache.put(fact("a")));
                }
                scope.spawn(|| cache.bury(id, LONG));
            });
            assert_eq!(cache.look(id), Err(NoFact::Tombstone));
        }
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        for most in [1, 50, 1000, 1001] {
            let cache = cache(most);
            for number in 0..5000 {
                cache.put(fact(&number.to_string()));
            }
            assert!((1..=u64::from(most)).contains(&cache.len()), "{} of {most}", cache.len());
        }
    }

    #[test]
    fn long_texts_count_as_several_entries_also_where_short_ones_stood() {
        let long = |number: u32| {
            let mut record = record(&number.to_string());
            record.label.display_name = "x".repeat(4 * 1024);
            Fact { position: NOWHERE, read_at: noon(), record: Arc::new(record) }
        };
        for numbers in [0..50_u32, 0..1000] {
            let cache = cache(50);
            numbers.clone().for_each(|number| cache.put(fact(&number.to_string())));
            numbers.for_each(|number| cache.put(long(number)));
            assert!(cache.slots.weight() <= 50, "{}", cache.slots.weight());
            assert!(cache.len() >= 1);
        }
    }
}
