//! The token's key: fills, marks and deletes.

use crate::action::Action;
use crate::model::Coherence;
use crate::protocol::{Fallback, Mark, Put};
use crate::state::{Cell, Position, Redis, State};

impl Coherence {
    pub(crate) fn offer_puts(state: &State, actions: &mut Vec<Action>) {
        if let Redis::Honest { puts, .. } = state.redis {
            actions.extend(puts.iter().map(Action::Put));
        }
    }

    /// A replica has read a fact, and will put it some time later: as late as the
    /// search likes. The adversary has it from the start.
    pub(crate) fn fill(state: &mut State, stamp: Position) {
        match &mut state.redis {
            Redis::Honest { puts: facts, .. } | Redis::Adversary(facts) => facts.insert(stamp),
        }
    }

    /// "`put` is a one-key script that never replaces a tombstone." It may replace
    /// a newer fact by an older one: nothing depends on that.
    pub(crate) fn put(&self, state: &mut State, stamp: Position) {
        if let Redis::Honest { cell, .. } = &mut state.redis {
            let keeps = matches!(cell, Cell::Tombstone(_)) && self.protocol.put == Put::KeepsTombstone;
            if !keeps {
                *cell = Cell::Fact(stamp);
            }
        }
    }

    /// The revocation's mark reaches Redis. (The adversary has lost it.)
    pub(crate) fn mark(&self, state: &mut State) {
        if let Redis::Honest { cell, .. } = &mut state.redis {
            *cell = match self.protocol.mark {
                Mark::Tombstone(life) => Cell::Tombstone(life),
                Mark::Delete => Cell::Empty,
            };
        }
    }

    /// The fallback delete leaves for Redis; it may never arrive.
    pub(crate) fn send_delete(state: &mut State) {
        if let Redis::Honest { stray_delete, .. } = &mut state.redis {
            *stray_delete = true;
        }
    }

    /// The fallback delete arrives.
    pub(crate) fn delete(&self, state: &mut State) {
        if let Redis::Honest { cell, stray_delete, .. } = &mut state.redis {
            *stray_delete = false;
            let spares = matches!(cell, Cell::Tombstone(_)) && self.protocol.fallback == Fallback::DeleteFact;
            if !spares {
                *cell = Cell::Empty;
            }
        }
    }
}
