//! Ends tokens.

use std::sync::Arc;

use super::{
    digest::{Hashing, TokenId},
    error::Error,
    form::TokenForm,
    ports::{Clock, TokenStore},
    quota::Quota,
    record::UserId,
    revocation::{Ending, Revocation, RevocationCause, Target},
    token::Token,
};

/// Ends tokens, one or all of a user's.
#[derive(Debug)]
pub struct Revoker<S, C> {
    store: Arc<S>,
    clock: C,
    hashing: Hashing,
    form: TokenForm,
}

/// A token as a caller names it.
#[derive(Clone, Debug)]
pub enum Named {
    /// By the secret itself.
    Token(Token),
    /// By its public name.
    Id(TokenId),
}

// === impl Revoker ===

impl<S: TokenStore, C: Clock> Revoker<S, C> {
    /// Ends tokens in `store`.
    pub fn new(store: Arc<S>, clock: C, hashing: Hashing, form: TokenForm) -> Self {
        Self { store, clock, hashing, form }
    }

    /// False for a secret that nobody has issued: there is nothing to end. Decided without I/O.
    #[must_use]
    pub fn admits(&self, token: &Named) -> bool {
        match token {
            Named::Token(token) => self.form.admits(token),
            Named::Id(_) => true,
        }
    }

    /// The public name of the token that is meant, whether or not there is one.
    #[must_use]
    pub fn token_id(&self, token: &Named) -> TokenId {
        match token {
            Named::Token(token) => self.hashing.digest(token).token_id(),
            Named::Id(id) => *id,
        }
    }

    /// Ends one token. Ending an unknown or ended one is no error (RFC 7009, section 2.2); it is charged to `quota`,
    /// since it costs a transaction.
    ///
    /// # Errors
    /// [`Error::RateLimited`]: nothing was done. [`Error::Unavailable`]: it may or may not have ended; a retry is safe.
    ///
    /// # Cancel safety
    /// Once polled, it runs to its end whether or not the future is dropped.
    pub async fn revoke(
        &self,
        token: Named,
        cause: RevocationCause,
        quota: Option<&Quota>,
    ) -> Result<Revocation, Error> {
        if let Some(retry_after) = quota.and_then(Quota::exhausted) {
            return Err(Error::RateLimited { retry_after });
        }
        let revocation = self.store.revoke(self.target(token), self.ending(cause)).await?;
        quota.filter(|_| revocation.count == 0).inspect(|quota| quota.charge());
        Ok(revocation)
    }

    /// Ends every token of a user, sparing `except`.
    ///
    /// # Errors
    /// As [`Self::revoke`]; [`Error::Invalid`] for an `except` that nobody has issued: who gets the token to
    /// spare wrong must not have it ended.
    ///
    /// # Cancel safety
    /// As [`Self::revoke`].
    pub async fn revoke_all(
        &self,
        user: UserId,
        except: Option<Named>,
        cause: RevocationCause,
    ) -> Result<Revocation, Error> {
        if except.as_ref().is_some_and(|token| !self.admits(token)) {
            return Err(Error::invalid("except_token", "no issuer could have made it"));
        }
        let except = except.map(|token| self.target(token));
        self.store.revoke_all(user, except, self.ending(cause)).await
    }

    fn target(&self, token: Named) -> Target {
        match token {
            Named::Token(token) => self.hashing.digests(&token).into(),
            Named::Id(id) => Target::Id(id),
        }
    }

    fn ending(&self, cause: RevocationCause) -> Ending {
        Ending { at: self.clock.now(), cause }
    }
}
