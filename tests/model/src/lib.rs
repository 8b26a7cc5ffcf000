//! A model of the protocol that keeps cached token facts coherent with the
//! database, checked by visiting every state that it can reach.
//!
//! # The protocol in one page
//!
//! A *fact* says: "at journal position `s`, this token belonged to this user".
//! Facts are cached in Redis. They never become false, they only become
//! outdated, and the database says when: each change that ends a token appends a
//! record to a *journal* in the same transaction, and a sequencer numbers the
//! records in commit order.
//!
//! - **Poll.** Every replica reads the journal again and again. It first
//!   publishes what it read (its *view*), then a *lease*: until `L` after the
//!   moment before the poll was sent, the view is known to hold every record
//!   committed more than `L` ago.
//! - **Authenticate.** Fetch the fact; is the lease valid? else wait for the next
//!   poll; does no record of the view have a number above `s`? then accept.
//!   Whatever else happens, ask the database, and `put` the fact for the next.
//! - **Revoke.** Commit, then leave a *tombstone* in Redis that `put` never
//!   replaces and that lives as long as a lease can. Acknowledged: COMPLETE at
//!   once. Otherwise: COMPLETE when every older lease has ended, `L` after the
//!   commit.
//! - **Outage grace.** While the database cannot be reached, facts stay usable
//!   for another `G`. Then only an acknowledged tombstone makes COMPLETE; what
//!   ends by waiting is answered PENDING.
//!
//! # The model
//!
//! One token, two replicas, one Redis key, one database. Time is a small integer
//! that may step forward between any two actions. Everything else is an
//! arbitrary interleaving: a message takes as long as the search likes.
//!
//! Not modelled: the MAC and the epoch of a fact, sliding expiry, more than one
//! token (records of other tokens are: they move the journal's position), and a
//! primary that loses commits (assumed not to happen).
//!
//! # Reading order
//!
//! [`protocol`] the switches, each a line of the protocol that a mutant breaks;
//! [`environment`] the faults and the bounds; [`state`]; [`action`], one variant
//! a step; `steps`, what a step does; [`properties`], what must hold; [`runs`],
//! what is checked; [`check`] and [`report`], how it is run and told.

#![expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::unused_self,
    reason = "every step has one shape, whatever the size of what it looks at"
)]

pub mod action;
pub mod check;
pub mod environment;
pub mod model;
pub mod properties;
pub mod protocol;
pub mod report;
pub mod runs;
pub mod state;

mod forget;
mod steps;
mod trace;
mod words;
