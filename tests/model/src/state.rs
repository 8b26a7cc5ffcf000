//! A state of the model: everything that can differ between two moments.

mod journal;
mod redis;
mod replica;

pub use self::journal::{Journal, Position, Record, View};
pub use self::redis::{Cell, Facts, Redis};
pub use self::replica::{Call, Cover, Flight, Poll, Replica, Right, Since, Stage, Standing};
use crate::protocol::Ticks;

/// The whole system at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The truth: the token's and the user's row.
    pub token: Token,
    /// The journal's tables.
    pub journal: Journal,
    /// The token's key.
    pub redis: Redis,
    /// Two replicas of the service.
    pub replicas: [Replica; 2],
    /// The one Revoke of this token.
    pub revocation: Revocation,
    /// How many steps the other writer has taken.
    pub written: u8,
    /// What the last step did wrong, if anything.
    pub wrong: Wrong,
}

/// Whether the token is good, in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// It is.
    Valid,
    /// It ended that long ago (counted up to `L + G`).
    Ended(Ticks),
}

/// The Revoke of this token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revocation {
    /// Nobody has asked.
    NotBegun,
    /// The record is inserted with this id; the transaction is open (only
    /// `Stamp::InsertOrder` tells this from the commit).
    Inserted(Position),
    /// This attempt committed that long ago; next is the tombstone.
    Committed(Ticks),
    /// This attempt committed that long ago and waits for `L`.
    Waiting(Ticks),
    /// The service died; the client has no answer.
    Dead,
    /// Answered PENDING.
    Pending,
    /// Answered COMPLETE.
    Complete,
}

/// What the last step did wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wrong {
    /// It accepted in a call that began after COMPLETE.
    pub after_complete: bool,
    /// It accepted in a call that began too long after the commit.
    pub past_bound: bool,
    /// It refused a token that was valid throughout the call.
    pub refusal: bool,
}

// === impl State ===

impl State {
    /// The call in this slot, which the caller knows to be in progress.
    pub(crate) fn call(&mut self, replica: usize, slot: usize) -> &mut Call {
        self.replicas[replica].calls[slot].as_mut().expect("a step of a call is offered only while it is in progress")
    }

    /// Every call in progress.
    pub(crate) fn calls(&mut self) -> impl Iterator<Item = &mut Call> {
        self.replicas.iter_mut().flat_map(|replica| replica.calls.iter_mut().flatten())
    }
}
