//! What django-rest-knox-redis has yet to be told.
//!
//! A revocation writes a [`Notice`] for each token that it ends, in its own transaction, so
//! that no crash loses one. Whoever delivers notices may deliver one twice: that does no harm.

use std::future::Future;

use super::error::Error;

/// The notices of one database, when they are written at all. Implemented by the store.
///
/// # Cancel safety
/// Dropping any of the futures loses only the answer.
pub trait Outbox: Send + Sync + 'static {
    /// The oldest notices, at most as many as are asked for.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn oldest(&self, limit: u32) -> impl Future<Output = Result<Vec<Notice>, Error>> + Send;

    /// Forgets notices that were delivered. One that is gone already is no error.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: they are delivered again.
    fn delivered(&self, notices: Vec<Notice>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns when this process has written a notice since the last call.
    fn written(&self) -> impl Future<Output = ()> + Send;
}

/// A token that has ended, as django-rest-knox-redis names it.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its place in the outbox.
    pub id: i64,
    /// knox's `token_key`.
    pub token_key: String,
    /// The user's primary key as text.
    pub user: String,
}

// === impl Notice ===

impl std::fmt::Debug for Notice {
    /// The key is the head of a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notice").field("id", &self.id).field("user", &self.user).finish_non_exhaustive()
    }
}
