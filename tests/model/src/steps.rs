//! What each step does, and when it is offered: a file for each party.

mod authenticate;
mod clock;
mod flight;
mod journal;
mod poll;
mod redis;
mod revoke;
mod write;
