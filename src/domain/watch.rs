//! Following what ends, as the journal tells it.

use std::future::Future;

use super::{
    digest::TokenId,
    journal::Ended,
    reading::Position,
    record::{Timestamp, UserId},
};

/// What tells of ends as they happen. Implemented by the journal's reader.
pub trait Revocations: Send + Sync + 'static {
    /// One who follows.
    type Watch: Watch;

    /// Follows from what comes after `start`; `None`: from now.
    ///
    /// # Errors
    /// [`WatchEnd::StartOver`] when what came after `start` cannot be told; [`WatchEnd::Lost`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    fn watch(&self, start: Option<Position>) -> impl Future<Output = Result<Self::Watch, WatchEnd>> + Send;
}

/// One who follows.
pub trait Watch: Send + 'static {
    /// Waits for what is next; the first one comes at once.
    ///
    /// # Errors
    /// [`WatchEnd`], after which nothing comes.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Event, WatchEnd>> + Send;
}

/// Something that ended, or the word that nothing else did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What is outdated; `None` in a heartbeat.
    pub subject: Option<Outdated>,
    /// The place up to which everything has been told.
    pub position: Position,
    /// When the journal was read that showed it, by the database's clock.
    pub at: Timestamp,
}

/// What an [`Event`] outdates. That everything is, is told by [`WatchEnd::StartOver`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outdated {
    /// What is known of this token.
    Token(TokenId),
    /// What is known of every token of this user.
    User(UserId),
}

/// Why nothing more is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// What ended cannot be told one by one: everything may have.
    #[error("what ended since cannot be told one by one")]
    StartOver,
    /// The follower is too far behind. It can go on from the last place that it was told.
    #[error("events were not read as fast as they came")]
    Slow,
    /// The journal cannot be read, so nobody knows what has ended.
    #[error("the journal is not read")]
    Lost,
}

// === impl Outdated ===

impl Outdated {
    /// `None` for what is more than one token's or one user's.
    #[must_use]
    pub fn of(ended: &Ended) -> Option<Self> {
        match ended {
            Ended::Token(token) => Some(Self::Token(*token)),
            Ended::User(user) => Some(Self::User(user.clone())),
            Ended::Everything => None,
        }
    }
}
