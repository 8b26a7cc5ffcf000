//! The token's key, in a Redis that keeps its word and in one that does not.

use super::Position;
use crate::protocol::Ticks;

/// The token's key in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Redis {
    /// What was acknowledged is there.
    Honest {
        /// What the key holds.
        cell: Cell,
        /// Facts that a replica has read: their put may arrive at any time, and
        /// again.
        puts: Facts,
        /// A fallback delete that was sent and may still arrive.
        stray_delete: bool,
    },
    /// Any of these facts, or nothing, whenever it is asked.
    Adversary(Facts),
}

/// What the key holds in a Redis that keeps its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// A fact with this stamp.
    Fact(Position),
    /// A tombstone that lives that much longer.
    Tombstone(Ticks),
}

/// A set of facts, by stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts(u8);

// === impl Facts ===

impl Facts {
    /// Adds a fact.
    pub fn insert(&mut self, stamp: Position) {
        self.0 |= 1 << stamp;
    }

    /// The facts, oldest first.
    pub fn iter(self) -> impl Iterator<Item = Position> {
        (0..8).filter(move |stamp| self.0 & (1 << stamp) != 0)
    }
}
