//! Looking at what the caches hold, without changing or counting anything.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Cached, Inner, SharedCache,
    entry::{Fact, NoFact},
};
use crate::{
    domain::{
        CacheStats, Clock, Digest, Entry, Error, Holds, Inspected, Inspection, Subject, Target, Tier, TokenId,
        TokenStore,
    },
    journal::Confirmed,
    metrics::{FillRejection, RequestResult, Tier as Asked},
};

/// How long the number of Redis's keys is waited for.
const COUNT_LIMIT: Duration = Duration::from_millis(250);

// === impl Cached ===

impl<S: TokenStore, C: Clock> Inspection for Cached<S, C> {
    async fn stats(&self) -> CacheStats {
        let (inner, counters) = (&self.inner, &self.inner.counters);
        let redis_keys = match &inner.tiers.shared {
            Some(shared) => timeout(COUNT_LIMIT, shared.keys_in_all()).await.ok().flatten(),
            None => None,
        };
        CacheStats {
            kind: inner.tiers.kind(),
            memo_hits: counters.requests.get(Asked::Memo, RequestResult::NegativeHit),
            memory_hits: counters.requests.get(Asked::Memory, RequestResult::Hit),
            redis_hits: counters.requests.get(Asked::Redis, RequestResult::Hit),
            misses: counters.misses.get(),
            facts_refuted: counters.facts_refuted.get(),
            facts_unproven: counters.facts_unproven.get(),
            entries_refused: u64::try_from(counters.refused_in_all()).unwrap_or_default(),
            fills_tombstoned: counters.fills_rejected.of(FillRejection::Tombstone).get(),
            tombstones_owed: inner.backlog.len() as u64,
            memory_entries: inner.tiers.near.as_ref().map(super::MemoryCache::len),
            memo_entries: inner.negative.len() as u64,
            redis_keys,
        }
    }

    async fn inspect(&self, target: Target) -> Result<Inspected, Error> {
        let inner = &self.inner;
        let (token, digest) = inner.named(target).await?;
        let mut entries = vec![inner.inspect_memo(digest)];
        if inner.tiers.near.is_some() {
            entries.push(inner.inspect_memory(token).await);
        }
        if let Some(shared) = &inner.tiers.shared {
            entries.push(inner.inspect_shared(shared, token, digest).await);
        }
        let position = inner.proof.as_ref().and_then(|proof| proof.journal.health().position);
        Ok(Inspected { token, entries, position })
    }
}

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// The token, and its digest where that is known: caches know it by the one that it has now.
    async fn named(&self, target: Target) -> Result<(TokenId, Option<Digest>), Error> {
        match target {
            Target::Digest(digest) => Ok((digest.token_id(), Some(digest))),
            Target::Digests(digests) => Ok((digests.current.token_id(), Some(digests.current))),
            Target::Id(id) => match self.store.get(id).await {
                Ok(record) => Ok((record.digest.token_id(), Some(record.digest))),
                Err(Error::NotFound(Subject::Token)) => Ok((id, None)),
                Err(error) => Err(error),
            },
        }
    }

    fn inspect_memo(&self, digest: Option<Digest>) -> Entry {
        let noted = digest.is_some_and(|digest| self.negative.get(digest).is_some());
        let (holds, cause) = if noted { (Holds::NotActive, None) } else { (Holds::Nothing, Some("absent".to_owned())) };
        Entry { tier: Tier::Memo, holds, cause, remaining: None }
    }

    async fn inspect_memory(&self, token: TokenId) -> Entry {
        let found = self.tiers.near.as_ref().map_or(Err(NoFact::Absent), |near| near.look(token));
        let entry = self.entry(Tier::Memory, found, None).await;
        let is_covered = self.proof.as_ref().is_none_or(super::Proof::covers_memory);
        let cause = entry
            .cause
            .or_else(|| (!is_covered).then(|| "there is no lease, and facts in memory know no grace".to_owned()));
        Entry { cause, ..entry }
    }

    async fn inspect_shared(&self, shared: &SharedCache, token: TokenId, digest: Option<Digest>) -> Entry {
        let found = match digest {
            Some(digest) => shared.get(digest).await,
            None => shared.kind(token).await.map(Err),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                return Entry {
                    tier: Tier::Redis,
                    holds: Holds::Unknown,
                    cause: Some(error.to_string()),
                    remaining: None,
                };
            }
        };
        let entry = self.entry(Tier::Redis, found, shared.remaining(token).await).await;
        match digest {
            None if entry.holds == Holds::Refused => {
                let cause =
                    "the database has no such token, so its digest is not known and nothing can be authenticated";
                Entry { cause: Some(cause.to_owned()), ..entry }
            }
            _ if self.backlog.owes(token) => {
                Entry { cause: Some("Redis has yet to take a tombstone of this token".to_owned()), ..entry }
            }
            _ => entry,
        }
    }

    async fn entry(&self, tier: Tier, found: Result<Fact, NoFact>, remaining: Option<Duration>) -> Entry {
        let (holds, cause) = match found {
            Ok(fact) => {
                let cause = self.distrust(&fact).await;
                (Holds::Fact { position: fact.position, read_at: fact.read_at, record: fact.record }, cause)
            }
            Err(none) => {
                let holds = match none {
                    NoFact::Absent => Holds::Nothing,
                    NoFact::Tombstone => Holds::Tombstone,
                    NoFact::Refused(_) => Holds::Refused,
                };
                (holds, Some(none.to_string()))
            }
        };
        Entry { tier, holds, cause, remaining }
    }

    /// Why a fact would not be answered from now.
    async fn distrust(&self, fact: &Fact) -> Option<String> {
        let cause = match self.confirm(fact).await {
            Confirmed::Outdated => "the journal outdates it: its token or its user has ended or changed since",
            Confirmed::Unproven if !self.epoch.is_of(fact.position) => "it was read in another epoch of the database",
            Confirmed::Unproven => "it cannot be proved: there is no lease, or it is from below the journal's floor",
            Confirmed::Current => {
                let now = self.clock.now();
                return match fact.record.admit(now, &[]) {
                    Err(reason) => Some(format!("the database decides on what is inactive: {reason:?}")),
                    Ok(()) => {
                        fact.life(now, self.entry_ttl).is_none().then(|| "it is older than cache.entry_ttl".to_owned())
                    }
                };
            }
        };
        Some(cause.to_owned())
    }
}
