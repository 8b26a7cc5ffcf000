//! Ends tokens.

use std::sync::Arc;

use super::{
    error::Error,
    ports::{Clock, Ending, Revocation, RevocationCause, Target, TokenStore},
    record::UserId,
};

/// Ends tokens, one or all of a user's.
#[derive(Debug)]
pub struct Revoker<S, C> {
    store: Arc<S>,
    clock: C,
}

// === impl Revoker ===

impl<S: TokenStore, C: Clock> Revoker<S, C> {
    /// Ends tokens in `store`.
    pub fn new(store: Arc<S>, clock: C) -> Self {
        Self { store, clock }
    }

    /// Ends one token. Ending an unknown or ended one is no error (RFC 7009, section 2.2).
    ///
    /// # Errors
    /// [`Error::Unavailable`]: it may or may not have ended; a retry is safe.
    ///
    /// # Cancel safety
    /// Once polled, it runs to its end whether or not the future is dropped.
    pub async fn revoke(&self, target: Target, cause: RevocationCause) -> Result<Revocation, Error> {
        self.store.revoke(target, self.ending(cause)).await
    }

    /// Ends every token of a user, sparing `except`.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    ///
    /// # Cancel safety
    /// As [`Self::revoke`].
    pub async fn revoke_all(
        &self,
        user: UserId,
        except: Option<Target>,
        cause: RevocationCause,
    ) -> Result<Revocation, Error> {
        self.store.revoke_all(user, except, self.ending(cause)).await
    }

    fn ending(&self, cause: RevocationCause) -> Ending {
        Ending { at: self.clock.now(), cause }
    }
}
