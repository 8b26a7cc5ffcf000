//! What this replica knows of the database's journal, and until when that may be relied on.
//!
//! A [`Reader`] polls the journal into a view in memory and publishes a lease: while it
//! is valid, the view holds everything that was committed more than
//! [`Terms::max_staleness`] ago. A [`Handle`] then tells whether a cached fact is still
//! current without asking anybody.
//!
//! The order is what makes it safe: the reader publishes the view before the lease, and
//! a handle looks at the lease before the view. A lease counts from before the poll was
//! sent, on a clock that goes on while the machine is suspended.
//!
//! What the view cannot tell is whether ends are recorded at all. The reader looks for the
//! triggers in the catalog, and ends a token of its own now and then to see its record come
//! back (`canary.rs`); without either there is no lease.
//!
//! What the polls show is also told to whoever follows (`feed.rs`).
//!
//! Neighbours: `domain` defines the port, [`Journal`], which the store implements; the
//! cache asks the handle before it believes a fact.

use std::{sync::Arc, time::Duration};

mod canary;
mod clock;
mod feed;
mod handle;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod lease;
mod reader;
#[cfg(test)]
mod tests;
mod view;

pub use self::{
    clock::DatabaseClock,
    feed::Follower,
    handle::{Confirmed, Handle, Health, Lost, Round},
    lease::{Boottime, Uptime},
    reader::Reader,
};
use crate::domain::Journal;

/// What callers were promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a committed change may go unnoticed. Zero is strict: nothing is judged
    /// without a poll that began after the question.
    pub max_staleness: Duration,
    /// How long facts stay usable after the lease lapsed when the database cannot be reached.
    pub outage_grace: Duration,
    /// Time from the end of one poll to the beginning of the next, when nobody asks earlier.
    pub poll_interval: Duration,
}

/// A reader of `journal` and its handle. Nothing is read until [`Reader::run`] is polled.
#[must_use]
pub fn reader<J: Journal>(journal: Arc<J>, terms: Terms) -> (Reader<J>, Handle) {
    reader::new(journal, terms, Boottime)
}
