//! What the domain needs from outside: a store of tokens and a clock.
//!
//! [`TokenStore`] is implemented twice: by the database (`store`), which holds the
//! truth, and by `cache::Cached`, which wraps another one. The domain cannot tell them
//! apart; what differs is where a [`Reading`] came from and how far a
//! [`Revocation`] has spread.

use std::{fmt, future::Future};

use super::{
    digest::{Digest, Digests, TokenId},
    error::Error,
    quota::Look,
    reading::{Position, Reading},
    record::{Label, Timestamp, TokenRecord, TokenState, User, UserId},
    revocation::{Ending, Propagation, Revocation, Target},
    sliding::{Extended, Extension},
    token::TokenKey,
};

/// The time of day. Implementations truncate to microseconds.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The tokens and users of this deployment.
///
/// Every method answers within a bounded time, whatever the database does, and answers
/// [`Error::Unavailable`] or [`Error::Overloaded`] rather than guess.
pub trait TokenStore: Send + Sync + 'static {
    /// What is known of the token with this digest, or with any of these.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Overloaded`], [`Error::RateLimited`].
    ///
    /// # Cancel safety
    /// Dropping the future loses only the answer.
    fn find(
        &self,
        digests: impl Into<Digests> + Send,
        look: impl Into<Look> + Send,
    ) -> impl Future<Output = Result<Reading, Error>> + Send;

    /// What is known of each of several tokens, in their order: as [`Self::find`], with one command of the shared
    /// cache and one statement of the database at most.
    ///
    /// # Cancel safety
    /// As [`Self::find`].
    fn find_all(&self, batch: Vec<(Digests, Look)>) -> impl Future<Output = Vec<Result<Reading, Error>>> + Send;

    /// Waits, for a short and bounded time, until what [`Self::find`] answers at any freshness
    /// reflects everything up to `position`. False when only [`Freshness::Primary`](super::Freshness::Primary) can.
    ///
    /// # Cancel safety
    /// Dropping the future loses only the answer.
    fn reflects(&self, _position: Position) -> impl Future<Output = bool> + Send {
        // A store without a cache answers from the primary.
        std::future::ready(true)
    }

    /// Takes note that a token was accepted. Takes no I/O and waits for nothing.
    fn used(&self, _record: &TokenRecord, _now: Timestamp) {}

    /// Stores a new token, or returns the one that the same `request_id` stored before.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown user, [`Error::UserDisabled`], [`Error::LimitReached`],
    /// [`Error::RequestIdReused`], [`Error::Invalid`] for a `user_id` that the user table
    /// cannot hold, [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves either the whole token or nothing of it.
    fn insert(&self, token: NewToken) -> impl Future<Output = Result<Inserted, Error>> + Send;

    /// Has a token end later, unless it ends at another time than was read by now. It brings no
    /// token back, and needs no record in the journal: what is known of the token stays true.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: it may or may not have been done.
    ///
    /// # Cancel safety
    /// As [`Self::revoke`].
    fn extend(&self, extension: Extension) -> impl Future<Output = Result<Extended, Error>> + Send;

    /// Ends one token. Idempotent: an unknown or ended one is no error.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: it may or may not have ended; a retry is safe.
    ///
    /// # Cancel safety
    /// Once polled, it runs to its end whether or not the future is dropped.
    fn revoke(&self, target: Target, ending: Ending) -> impl Future<Output = Result<Revocation, Error>> + Send;

    /// Ends every token of a user, sparing `except`. Idempotent.
    ///
    /// # Errors
    /// As [`Self::revoke`]. An unknown user has no tokens to end: no error.
    ///
    /// # Cancel safety
    /// As [`Self::revoke`].
    fn revoke_all(
        &self,
        user: UserId,
        except: Option<Target>,
        ending: Ending,
    ) -> impl Future<Output = Result<Revocation, Error>> + Send;

    /// The public record of a token in any state, from the database.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    fn get(&self, token_id: TokenId) -> impl Future<Output = Result<TokenRecord, Error>> + Send;

    /// Up to `query.limit` public records, newest first (`created` descending, then `digest` ascending).
    ///
    /// # Errors
    /// [`Error::Unavailable`]. An unknown user has no tokens: no error.
    fn list(&self, query: TokenQuery) -> impl Future<Output = Result<Vec<TokenRecord>, Error>> + Send;

    /// One user.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    fn user(&self, user: UserId) -> impl Future<Output = Result<User, Error>> + Send;

    /// Creates or changes a user. Fields of the change that are `None` stay as they are,
    /// or get their default (active, no attributes) when the user is new.
    ///
    /// # Errors
    /// [`Error::NotFound`] where users are another program's to create,
    /// [`Error::Unsupported`], [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// As [`Self::revoke`].
    fn upsert_user(&self, change: UserChange) -> impl Future<Output = Result<(User, Revocation), Error>> + Send;

    /// Ends every token of a user and removes the user. Idempotent.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where users are another program's, [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// As [`Self::revoke`].
    fn delete_user(&self, user: UserId, ending: Ending) -> impl Future<Output = Result<Revocation, Error>> + Send;
}

/// What makes every cached fact worthless at once. Implemented by the database, which keeps
/// the epoch, and by `cache::Cached`, which waits until no cache believes an older one.
pub trait Epochs: Send + Sync + 'static {
    /// Ends the epoch: no fact that was read before the call is answered from once it has spread.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: it may or may not have ended; a retry is safe.
    ///
    /// # Cancel safety
    /// Once polled, it runs to its end whether or not the future is dropped.
    fn new_epoch(&self) -> impl Future<Output = Result<NewEpoch, Error>> + Send;

    /// Outdates every fact about one user's tokens that was read before the call.
    ///
    /// # Errors
    /// As [`Self::new_epoch`]. A user that is not there is none.
    ///
    /// # Cancel safety
    /// As [`Self::new_epoch`].
    fn outdate(&self, user: UserId) -> impl Future<Output = Result<Revocation, Error>> + Send;
}

/// An epoch that has begun, and how far the news has spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEpoch {
    /// Where it begins.
    pub position: Position,
    /// How far it has spread.
    pub propagation: Propagation,
}

/// A token to store.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Primary key.
    pub digest: Digest,
    /// knox's selector.
    pub key: TokenKey,
    /// The owner.
    pub user: UserId,
    /// When it was issued.
    pub created: Timestamp,
    /// When it ends; `None` is never.
    pub expiry: Option<Timestamp>,
    /// What the issuer writes on it.
    pub label: Label,
    /// The caller that asked for it, where callers are known.
    pub issuer: Option<String>,
    /// Makes a retry return the first result.
    pub request: Option<IdempotentRequest>,
}

/// What makes a retried issue return the first token, without the database ever being
/// able to tell the secret: it is sealed under the client's `request_id`, of which only a hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotentRequest {
    /// Hash of the `request_id`.
    pub id: [u8; 32],
    /// Hash of the request's body.
    pub body: [u8; 32],
    /// The token's secret, sealed under the `request_id`.
    pub sealed: [u8; 64],
}

/// What became of a [`NewToken`].
#[derive(Clone, Debug)]
pub enum Inserted {
    /// It was stored.
    New(TokenRecord),
    /// The same request had stored another before: this one.
    Repeated(TokenRecord, IdempotentRequest),
}

/// Which records to list.
#[derive(Clone, Debug)]
pub struct TokenQuery {
    /// Whose.
    pub user: UserId,
    /// Only these states.
    pub states: Vec<TokenState>,
    /// "Now", for telling active from expired.
    pub now: Timestamp,
    /// Only what comes after this place in the order.
    pub after: Option<Cursor>,
    /// At most this many.
    pub limit: u32,
}

/// A place in the order of a listing: the last record of the page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Its creation.
    pub created: Timestamp,
    /// Its key.
    pub digest: Digest,
}

/// A user to create or change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserChange {
    /// Which user.
    pub id: UserId,
    /// `None`: unchanged.
    pub active: Option<bool>,
    /// `None`: unchanged.
    pub attributes: Option<std::collections::BTreeMap<String, String>>,
}

// === impl IdempotentRequest ===

impl fmt::Debug for IdempotentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotentRequest(redacted)")
    }
}
