//! Says whether a token is active. The hot path.

use std::{sync::Arc, time::Duration};

use super::{
    digest::Hashing,
    error::{Error, InactiveReason},
    ports::{Clock, Found, Freshness, Source, TokenStore},
    record::TokenRecord,
    token::Token,
};

/// Decides whether presented tokens are active.
#[derive(Debug)]
pub struct Authenticator<S, C> {
    store: Arc<S>,
    clock: C,
    hashing: Hashing,
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
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The record of an active token, or why it is not active.
    pub verdict: Result<Arc<TokenRecord>, InactiveReason>,
    /// Where the answer came from.
    pub source: Source,
    /// Upper bound on how old the underlying read is.
    pub age: Duration,
}

// === impl Authenticator ===

impl<S: TokenStore, C: Clock> Authenticator<S, C> {
    /// Decides over the tokens in `store`.
    pub fn new(store: Arc<S>, clock: C, hashing: Hashing) -> Self {
        Self { store, clock, hashing }
    }

    /// Says whether a token is active now, and whose it is. A malformed one costs no I/O.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Overloaded`] when no trustworthy answer can be
    /// had: a token is never called inactive because its state is not known.
    ///
    /// # Cancel safety
    /// Dropping the future loses only the answer.
    pub async fn authenticate(&self, presented: Presented) -> Result<Answer, Error> {
        let Some(token) = presented.token else { return Ok(Answer::malformed()) };
        let reading = self.store.find(self.hashing.digests(&token), presented.freshness).await?;
        let verdict = match reading.found {
            Found::Unknown => Err(InactiveReason::Unknown),
            Found::Revoked => Err(InactiveReason::Revoked),
            Found::Token(record) => record.admit(self.clock.now(), &presented.required_scopes).map(|()| record),
        };
        Ok(Answer { verdict, source: reading.source, age: reading.age })
    }
}

// === impl Answer ===

impl Answer {
    fn malformed() -> Self {
        Self { verdict: Err(InactiveReason::Malformed), source: Source::TokenFormat, age: Duration::ZERO }
    }
}
