//! What administrators do with tokens and users that are there: the port, and what passes through it.

use std::{collections::BTreeMap, future::Future};

use super::{
    digest::{Digest, TokenId},
    error::Error,
    issuer::{IssuePolicy, Lifetime, NeverExpires},
    ports::{IdempotentRequest, NewToken},
    record::{Label, Timestamp, TokenRecord, User, UserId},
    revocation::Revocation,
    token::TokenKey,
};

/// The changes to tokens, and the listing of users. Implemented by the database, and by
/// `cache::Cached`, which tells the caches of each change.
pub trait Administration: Send + Sync + 'static {
    /// Changes what is written on a token, or when it ends. No ended token is brought back.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TokenEnded`], [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// Once polled, it runs to its end whether or not the future is dropped.
    fn update(&self, change: TokenChange) -> impl Future<Output = Result<(TokenRecord, Revocation), Error>> + Send;

    /// Stores a successor of a token, and has that one end: both or neither.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TokenEnded`] also for a token that has a successor,
    /// [`Error::UserDisabled`], [`Error::RequestIdReused`], [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// As [`Self::update`].
    fn rotate(&self, rotation: Rotation) -> impl Future<Output = Result<Rotated, Error>> + Send;

    /// Up to `query.limit` users, in the order of their keys.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn users(&self, query: UserQuery) -> impl Future<Output = Result<Vec<User>, Error>> + Send;

    /// Notes when tokens were last accepted, where that is about a minute later than what is
    /// noted; gives how many were. Tokens that are not there are passed over.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: some may have been noted.
    fn note_used(&self, used: Vec<Used>) -> impl Future<Output = Result<u64, Error>> + Send;
}

/// When a token was last accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its key.
    pub digest: Digest,
    /// When.
    pub at: Timestamp,
}

/// What to change of a token; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenChange {
    /// Which token.
    pub token: TokenId,
    /// Its label for people.
    pub display_name: Option<String>,
    /// Its scopes.
    pub scopes: Option<Vec<String>>,
    /// Its annotations.
    pub metadata: Option<BTreeMap<String, String>>,
    /// When it ends.
    pub expiry: Option<Expiry>,
    /// "Now", for telling what has ended.
    pub at: Timestamp,
}

/// The end that a token is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// None.
    Never,
    /// At this time.
    At(Timestamp),
}

/// A token to replace.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Which token.
    pub token: TokenId,
    /// Primary key of the successor.
    pub digest: Digest,
    /// knox's selector of the successor.
    pub key: TokenKey,
    /// The non-secret head of the successor.
    pub hint: String,
    /// When it is done.
    pub at: Timestamp,
    /// When the old token ends, unless it does earlier; `None`: it is revoked now.
    pub until: Option<Timestamp>,
    /// What may be issued.
    pub policy: IssuePolicy,
    /// The caller that asked for it, where callers are known.
    pub issuer: Option<String>,
    /// Makes a retry return the first result.
    pub request: Option<IdempotentRequest>,
}

/// What became of a [`Rotation`].
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The successor.
    pub successor: TokenRecord,
    /// The token that it replaces.
    pub superseded: TokenRecord,
    /// The request that stored the successor, when it was an earlier one.
    pub first: Option<IdempotentRequest>,
    /// What is outdated by it.
    pub revocation: Revocation,
}

/// Which users to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserQuery {
    /// Only those after this one.
    pub after: Option<UserId>,
    /// At most this many.
    pub limit: u32,
}

// === impl Expiry ===

impl Expiry {
    /// The time, if there is one.
    #[must_use]
    pub fn time(self) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::At(time) => Some(time),
        }
    }
}

impl From<Option<Timestamp>> for Expiry {
    fn from(time: Option<Timestamp>) -> Self {
        time.map_or(Self::Never, Self::At)
    }
}

// === impl TokenChange ===

impl TokenChange {
    /// The record once it is changed.
    #[must_use]
    pub fn apply(&self, record: &TokenRecord) -> TokenRecord {
        let label = Label {
            display_name: self.display_name.as_ref().unwrap_or(&record.label.display_name).clone(),
            scopes: self.scopes.as_ref().unwrap_or(&record.label.scopes).clone(),
            metadata: self.metadata.as_ref().unwrap_or(&record.label.metadata).clone(),
            hint: record.label.hint.clone(),
        };
        let expiry = self.expiry.map_or(record.expiry, Expiry::time);
        TokenRecord { expiry, label, ..record.clone() }
    }
}

// === impl Rotation ===

impl Rotation {
    /// The token that takes the place of `old`: with the same owner and label, and as long a life,
    /// within what may be issued today.
    ///
    /// # Errors
    /// [`Error::Invalid`] when not even the policy's own lifetime ends in time.
    pub fn successor(&self, old: &TokenRecord) -> Result<NewToken, Error> {
        Ok(NewToken {
            digest: self.digest,
            key: self.key,
            user: old.user.id.clone(),
            created: self.at,
            expiry: self.expiry(old)?,
            label: Label { hint: self.hint.clone(), ..old.label.clone() },
            issuer: self.issuer.clone(),
            request: self.request.clone(),
        })
    }

    fn expiry(&self, old: &TokenRecord) -> Result<Option<Timestamp>, Error> {
        let policy = &self.policy;
        let life = match old.expiry {
            None if policy.never_expires == NeverExpires::Allowed => return Ok(None),
            // Where use moves it, the expiry does not tell how long a life was given.
            Some(expiry) if policy.sliding.is_none() => (expiry - old.created).to_std().unwrap_or(policy.ttl),
            Some(_) | None => policy.ttl,
        };
        let life = policy.max_ttl.map_or(life, |longest| life.min(longest));
        policy.expiry(Lifetime::For(life), self.at).or_else(|_| policy.expiry(Lifetime::Default, self.at))
    }
}
