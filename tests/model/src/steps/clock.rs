//! Time: one clock for all, since the protocol assumes clocks that agree in rate.

use crate::model::Coherence;
use crate::protocol::Ticks;
use crate::state::{Cell, Poll, Redis, Replica, Revocation, State, Token};

impl Coherence {
    /// Everything that has an age becomes older by one tick.
    pub(crate) fn tick(&self, state: &mut State) {
        if let Token::Ended(age) = &mut state.token {
            self.older(age);
        }
        if let Revocation::Committed(age) | Revocation::Waiting(age) = &mut state.revocation {
            self.older(age);
        }
        if let Redis::Honest { cell, .. } = &mut state.redis {
            *cell = wear(*cell);
        }
        for replica in &mut state.replicas {
            self.tick_replica(replica);
        }
    }

    fn tick_replica(&self, replica: &mut Replica) {
        self.older(&mut replica.lease_age);
        if let Poll::Answered(age, _) | Poll::HalfPublished(age, _) = &mut replica.poll {
            self.older(age);
        }
    }

    /// Ages beyond `L + G` are all alike.
    fn older(&self, age: &mut Ticks) {
        *age = (*age + 1).min(self.protocol.horizon());
    }
}

/// A tombstone's remaining life becomes shorter, and ends.
fn wear(cell: Cell) -> Cell {
    match cell {
        Cell::Tombstone(left) if left > 1 => Cell::Tombstone(left - 1),
        Cell::Tombstone(_) => Cell::Empty,
        Cell::Empty | Cell::Fact(_) => cell,
    }
}
