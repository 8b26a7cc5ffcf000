//! Says whether a token is active. The hot path.

use std::{collections::HashSet, slice, sync::Arc, time::Duration};

use futures::future::join_all;

use super::{
    digest::{Digests, Hashing},
    error::{Error, InactiveReason},
    form::TokenForm,
    ports::{Clock, TokenStore},
    quota::{Look, Quota},
    reading::{Found, Freshness, Position, Reading, Source},
    record::{Timestamp, TokenRecord},
    sliding::{Extension, Sliding},
    token::Token,
};

/// Decides whether presented tokens are active.
#[derive(Debug)]
pub struct Authenticator<S, C> {
    store: Arc<S>,
    clock: C,
    hashing: Hashing,
    form: TokenForm,
    sliding: Option<Sliding>,
    reuse: Duration,
}

/// One question.
#[derive(Debug)]
pub struct Presented {
    /// The token, or `None` for a text that no issuer could have made.
    pub token: Option<Token>,
    /// Scopes that must all be granted.
    pub required_scopes: Vec<String>,
    /// How fresh the answer must be.
    pub freshness: Freshness,
    /// Who pays for a look-up that finds no active token.
    pub quota: Option<Arc<Quota>>,
    /// A place in the journal that the answer must reflect.
    pub min_revision: Option<Position>,
}

/// Why an answer of the primary is not given.
#[derive(Debug, thiserror::Error)]
#[error("the primary database has not come to min_revision: it lost changes, or never gave it")]
struct NotReached;

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The record of an active token, or why it is not active.
    pub verdict: Result<Arc<TokenRecord>, InactiveReason>,
    /// Where the answer came from.
    pub source: Source,
    /// Upper bound on how old the underlying read is.
    pub age: Duration,
    /// How long the caller may go on with the answer; `None`: not at all.
    pub reusable_for: Option<Duration>,
}

// === impl Authenticator ===

impl<S: TokenStore, C: Clock> Authenticator<S, C> {
    /// Decides over the tokens in `store`, whose expiry moves with their use when there is a `sliding`.
    pub fn new(store: Arc<S>, clock: C, hashing: Hashing, form: TokenForm, sliding: Option<Sliding>) -> Self {
        Self { store, clock, hashing, form, sliding, reuse: Duration::ZERO }
    }

    /// Lets callers go on for this time with the answer that a token is active, while it has not expired: zero for not
    /// at all.
    #[must_use]
    pub fn reusable_for(self, time: Duration) -> Self {
        Self { reuse: time, ..self }
    }

    /// Says whether a token is active now, and whose it is. A malformed one costs no I/O.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Overloaded`] or [`Error::RateLimited`] when no trustworthy
    /// answer can be had: a token is never called inactive because its state is not known.
    ///
    /// # Cancel safety
    /// Dropping the future loses only the answer.
    pub async fn authenticate(&self, mut presented: Presented) -> Result<Answer, Error> {
        self.sift(&mut presented);
        // Boxed, so that the future of most calls is small: it is moved about.
        if presented.min_revision.is_some() {
            Box::pin(self.fence(slice::from_mut(&mut presented))).await;
        }
        self.decide(presented).await
    }

    /// Says it of several tokens, in their order, and waits for their revisions once.
    ///
    /// # Errors
    /// As [`Self::authenticate`], when it cannot be said of one of them.
    ///
    /// # Cancel safety
    /// As [`Self::authenticate`].
    pub async fn authenticate_all(&self, mut batch: Vec<Presented>) -> Result<Vec<Answer>, Error> {
        for presented in &mut batch {
            self.sift(presented);
        }
        self.fence(&mut batch).await;
        let asked: Vec<_> = batch.iter().map(|presented| presented.asked(self.hashing)).collect();
        let looks = asked.iter().zip(&batch).filter_map(|(digests, presented)| Some(((*digests)?, presented.look())));
        // One that cannot be answered fails the batch: it must not be called inactive.
        let readings: Result<Vec<_>, _> = self.store.find_all(looks.collect()).await.into_iter().collect();
        let mut readings = readings?.into_iter();
        let mut answers = Vec::with_capacity(batch.len());
        for (digests, presented) in asked.into_iter().zip(&batch) {
            let reading = digests.and_then(|digests| Some((digests, readings.next()?)));
            answers.push(self.judge(presented, reading).await?);
        }
        Ok(answers)
    }

    /// Leaves out what nobody has issued.
    fn sift(&self, presented: &mut Presented) {
        presented.token.take_if(|token| !self.form.admits(token));
    }

    /// Waits until what is cached reflects the revisions asked for, and has the primary asked
    /// where it does not.
    async fn fence(&self, batch: &mut [Presented]) {
        let asked: HashSet<Position> = batch.iter().filter_map(Presented::fence).collect();
        let waits = asked.into_iter().map(async |place| self.store.reflects(place).await.then_some(place));
        let reached: HashSet<Position> = join_all(waits).await.into_iter().flatten().collect();
        for presented in batch {
            if presented.fence().is_some_and(|place| !reached.contains(&place)) {
                presented.freshness = Freshness::Primary;
            }
        }
    }

    async fn decide(&self, presented: Presented) -> Result<Answer, Error> {
        let reading = match presented.asked(self.hashing) {
            Some(digests) => Some((digests, self.store.find(digests, presented.look()).await?)),
            None => None,
        };
        self.judge(&presented, reading).await
    }

    /// The answer to one question; without a reading, to a text that no issuer could have made.
    async fn judge(&self, presented: &Presented, reading: Option<(Digests, Reading)>) -> Result<Answer, Error> {
        let Some((digests, reading)) = reading else { return Ok(Answer::malformed()) };
        if presented.min_revision.is_some_and(|asked| falls_short(&reading, asked)) {
            return Err(Error::Unavailable(Box::new(NotReached)));
        }
        let mut reusable_for = None;
        let verdict = match reading.found {
            Found::Unknown => Err(InactiveReason::Unknown),
            Found::Revoked => Err(InactiveReason::Revoked),
            Found::Token(record) => {
                let now = self.clock.now();
                let verdict = record.admit(now, &presented.required_scopes);
                if verdict.is_ok() {
                    self.store.used(&record, now);
                    self.slide(digests, &record, now).await;
                    reusable_for = self.reusable(presented, &record, now);
                }
                verdict.map(|()| record)
            }
        };
        Ok(Answer { verdict, source: reading.source, age: reading.age, reusable_for })
    }

    /// How long the answer that this token is active may be used again. Who asked the primary wants no answer of
    /// before; and a token that was not active may be so any time, after a mistake was mended.
    fn reusable(&self, presented: &Presented, record: &TokenRecord, now: Timestamp) -> Option<Duration> {
        let left = record.expiry.map_or(self.reuse, |expiry| (expiry - now).to_std().unwrap_or_default());
        let time = self.reuse.min(left);
        (!time.is_zero() && presented.freshness != Freshness::Primary).then_some(time)
    }

    /// Has a token that was accepted end later, when that is due. The answer does not depend on it.
    async fn slide(&self, token: Digests, record: &TokenRecord, now: Timestamp) {
        let due = self.sliding.and_then(|sliding| sliding.due(record, now));
        if let (Some(from), Some(to)) = (record.expiry, due) {
            let _outcome = Box::pin(self.store.extend(Extension::of(token, record, from, to))).await;
        }
    }
}

/// A read of the database has to be from no earlier place. A cached fact may be: nothing up to
/// that place has ended it.
fn falls_short(reading: &Reading, asked: Position) -> bool {
    reading.source == Source::Database && reading.position.precedes(asked)
}

// === impl Presented ===

impl Presented {
    /// What the token may be stored under.
    fn asked(&self, hashing: Hashing) -> Option<Digests> {
        self.token.as_ref().map(|token| hashing.digests(token))
    }

    fn look(&self) -> Look {
        Look { freshness: self.freshness, quota: self.quota.clone() }
    }

    /// The place that caches must have come to before they are asked.
    fn fence(&self) -> Option<Position> {
        self.token.as_ref().and(self.min_revision).filter(|_| self.freshness != Freshness::Primary)
    }
}

// === impl Answer ===

impl Answer {
    fn malformed() -> Self {
        let verdict = Err(InactiveReason::Malformed);
        Self { verdict, source: Source::TokenFormat, age: Duration::ZERO, reusable_for: None }
    }
}

#[cfg(test)]
mod tests;
