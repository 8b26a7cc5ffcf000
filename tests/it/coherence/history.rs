//! What was asked, what was answered, and what was done to each token, on one clock.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// A token of the history.
pub(super) type TokenNo = usize;

/// An Authenticate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) token: TokenNo,
    pub(super) replica: usize,
    pub(super) invoked: Instant,
    pub(super) returned: Instant,
    pub(super) answer: Answer,
}

/// What it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    Refused,
    /// The service said that it cannot tell.
    Unavailable,
    /// The connection was lost, or nothing came.
    Lost,
    /// A status that no fault excuses.
    Broken,
}

/// Something that a writer did to a token. Writes of one token follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) to: State,
    pub(super) invoked: Instant,
    pub(super) returned: Instant,
    pub(super) holds: Holds,
}

/// What a change makes of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Live,
    Ended,
}

/// From when on a change must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// It got no answer: it may have happened at any time since, or never.
    Unknown,
    /// The service promised: from here on.
    Promised(Instant),
    /// Another program committed it.
    Committed,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct History {
    lives: Mutex<Vec<Vec<Change>>>,
    checks: Mutex<Vec<Check>>,
}

// === impl History ===

impl History {
    /// A token that was issued by this change.
    pub(super) fn token(&self, issued: Change) -> TokenNo {
        let mut lives = locked(&self.lives);
        lives.push(vec![issued]);
        lives.len() - 1
    }

    /// What was done to a token next.
    pub(super) fn change(&self, token: TokenNo, change: Change) {
        locked(&self.lives)[token].push(change);
    }

    /// What was answered about a token.
    pub(super) fn check(&self, check: Check) {
        locked(&self.checks).push(check);
    }

    /// The changes of each token, and every check.
    pub(super) fn all(&self) -> (Vec<Vec<Change>>, Vec<Check>) {
        (locked(&self.lives).clone(), locked(&self.checks).clone())
    }
}

/// A lock that a failed task leaves usable.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
