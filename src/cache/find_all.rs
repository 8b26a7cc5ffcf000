//! The look-ups of a batch: one command of Redis and one statement of the database at most.

use std::sync::Arc;

use futures::future::join_all;

use super::{
    CacheError, Inner,
    entry::Fact,
    flight::{Flight, Stamp},
};
use crate::{
    domain::{Clock, Digest, Digests, Error, Freshness, Look, Reading, TokenStore},
    metrics::{RequestResult, Tier},
};

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// As `find` of each, in their order.
    pub(super) async fn find_all(self: &Arc<Self>, batch: Vec<(Digests, Look)>) -> Vec<Result<Reading, Error>> {
        let began = self.flights.begin();
        let readings = self.look_up_all(&batch).await;
        let mut outcomes: Vec<Option<Result<Reading, Error>>> =
            readings.into_iter().map(|found| found.map(Ok)).collect();
        let mut missing = Vec::new();
        for (index, outcome) in outcomes.iter_mut().enumerate().filter(|(_, outcome)| outcome.is_none()) {
            match self.within_quota(&batch[index].1) {
                Ok(()) => missing.push(index),
                Err(refused) => *outcome = Some(Err(refused)),
            }
        }
        let asked = missing.iter().map(|index| (batch[*index].0, batch[*index].1.at_the_primary()));
        for (index, flight) in missing.iter().zip(self.board_all(asked.collect(), began).await) {
            if batch[*index].1.freshness != Freshness::Primary {
                self.counters.misses.inc();
            }
            outcomes[*index] = Some(flight.outcome().await);
        }
        outcomes.into_iter().flatten().collect()
    }

    /// What caches answer; `None` is for the database to answer.
    async fn look_up_all(self: &Arc<Self>, batch: &[(Digests, Look)]) -> Vec<Option<Reading>> {
        let own = batch.iter().map(async |(digests, look)| match look.freshness {
            Freshness::Any => self.own_hit(digests.current).await,
            Freshness::Shared | Freshness::Primary => None,
        });
        let mut readings = join_all(own).await;
        let asks = |index: &usize| readings[*index].is_none() && batch[*index].1.freshness != Freshness::Primary;
        let asked: Vec<usize> = (0..batch.len()).filter(asks).collect();
        let digests: Vec<_> = asked.iter().map(|index| batch[*index].0.current).collect();
        let believed = self.shared_facts(digests).await.into_iter().map(async |fact| match fact {
            Ok(fact) => self.believed(fact).await,
            Err(result) => {
                self.counters.requests.inc(Tier::Redis, result);
                None
            }
        });
        for (index, reading) in asked.into_iter().zip(join_all(believed).await) {
            readings[index] = reading;
        }
        readings
    }

    /// What Redis has of these tokens, in their order, or what came of the question; nothing where there is no Redis.
    async fn shared_facts(&self, mut digests: Vec<Digest>) -> Vec<Result<Fact, RequestResult>> {
        let Some(shared) = &self.tiers.shared else { return Vec::new() };
        let owed: Vec<_> = digests.iter().map(|digest| self.backlog.owes(digest.token_id())).collect();
        let mut keep = owed.iter();
        digests.retain(|_| keep.next() == Some(&false));
        let mut values = match shared.get_all(&digests).await {
            Ok(values) => values.into_iter().zip(&digests).map(|(value, digest)| self.fact(digest.token_id(), value)),
            Err(CacheError::Rejected(_)) => return owed.iter().map(|_| Err(RequestResult::Bypass)).collect(),
            Err(error) => {
                tracing::debug!(%error, "cache entries could not be read");
                return owed.iter().map(|_| Err(RequestResult::Unavailable)).collect();
            }
        };
        let fact = |owed| {
            if owed { Err(RequestResult::Bypass) } else { values.next().unwrap_or(Err(RequestResult::Unavailable)) }
        };
        owed.into_iter().map(fact).collect()
    }

    /// A flight for each of these tokens, which left after the call began.
    async fn board_all(self: &Arc<Self>, batch: Vec<(Digests, Look)>, began: Stamp) -> Vec<Arc<Flight>> {
        if batch.is_empty() {
            return Vec::new();
        }
        let keys: Vec<_> = batch.iter().map(|(digests, _)| digests.current).collect();
        let mut waited = Vec::new();
        loop {
            match self.flights.board_all(&keys, began, &waited) {
                Ok((flights, tickets)) => {
                    let of = |ticket: Digest| batch.iter().find(|(digests, _)| digests.current == ticket).cloned();
                    let flown: Vec<_> = tickets.iter().filter_map(|ticket| of(ticket.digest())).collect();
                    if !flown.is_empty() {
                        self.fly(tickets, flown);
                    }
                    return flights;
                }
                Err(late) => {
                    join_all(late.iter().map(|flight| flight.settled())).await;
                    waited.extend(late);
                }
            }
        }
    }
}
