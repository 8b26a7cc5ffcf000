//! The owners of tokens, and the listing of what they own.

use std::sync::Arc;

use super::{
    digest::TokenId,
    error::Error,
    ports::{Clock, Cursor, TokenQuery, TokenStore, UserChange},
    record::{TokenRecord, TokenState, User, UserId},
    revocation::{Ending, Revocation, RevocationCause},
};

/// Reads and changes users, and lists their tokens.
#[derive(Debug)]
pub struct Users<S, C> {
    store: Arc<S>,
    clock: C,
}

/// Which page of a user's tokens.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// Whose tokens.
    pub user: UserId,
    /// Only these states.
    pub states: Vec<TokenState>,
    /// The last record of the page before.
    pub after: Option<Cursor>,
    /// At most this many records.
    pub size: u32,
}

/// A page of a user's tokens.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub records: Vec<TokenRecord>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<Cursor>,
}

// === impl Users ===

impl<S: TokenStore, C: Clock> Users<S, C> {
    /// Works on the users in `store`.
    pub fn new(store: Arc<S>, clock: C) -> Self {
        Self { store, clock }
    }

    /// One user.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn user(&self, id: UserId) -> Result<User, Error> {
        self.store.user(id).await
    }

    /// Creates or changes a user; when it returns, a disabled user's tokens are inactive.
    ///
    /// # Errors
    /// As [`TokenStore::upsert_user`].
    pub async fn upsert(&self, change: UserChange) -> Result<(User, Revocation), Error> {
        self.store.upsert_user(change).await
    }

    /// Ends every token of a user and removes the user.
    ///
    /// # Errors
    /// As [`TokenStore::delete_user`].
    pub async fn delete(&self, id: UserId) -> Result<Revocation, Error> {
        let ending = Ending { at: self.clock.now(), cause: RevocationCause::PrivilegeWithdrawn };
        self.store.delete_user(id, ending).await
    }

    /// The public record of one token, in any state.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn token(&self, id: TokenId) -> Result<TokenRecord, Error> {
        self.store.get(id).await
    }

    /// One page of a user's tokens. One record more than asked for is read, to tell whether it is the last page.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn tokens(&self, page: PageRequest) -> Result<Page, Error> {
        let PageRequest { user, states, after, size } = page;
        let query = TokenQuery { user, states, now: self.clock.now(), after, limit: size.saturating_add(1) };
        let mut records = self.store.list(query).await?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = records.len() > size;
        records.truncate(size);
        let last = records.last().map(|record| Cursor { created: record.created, digest: record.digest });
        Ok(Page { records, next: last.filter(|_| more) })
    }
}
