//! The journal: appending in the writer's transaction, numbering, purging.

use crate::action::{Action, JournalStep};
use crate::environment::Purging;
use crate::model::Coherence;
use crate::protocol::{Purge, Stamp};
use crate::state::{Position, Record, Standing, State, Token};

impl Coherence {
    pub(crate) fn offer_journal(&self, state: &State, actions: &mut Vec<Action>) {
        for (slot, record) in state.journal.records.iter().enumerate() {
            match record {
                Record::Unnumbered => actions.push(Action::Journal(JournalStep::Numbers(slot))),
                Record::At(_) if self.environment.purging == Purging::AnyTime => {
                    actions.push(Action::Journal(JournalStep::Purges(slot)));
                }
                Record::At(_) | Record::Absent => {}
            }
        }
    }

    pub(crate) fn keep_journal(&self, state: &mut State, step: JournalStep) {
        match step {
            JournalStep::Numbers(slot) => number(state, slot),
            JournalStep::Purges(slot) => self.purge(state, slot),
        }
    }

    /// A commit that appends a record about this token.
    pub(crate) fn append(&self, state: &mut State, slot: usize, id: Position) {
        state.journal.records[slot] = match self.protocol.stamp {
            Stamp::Absent => return,
            Stamp::CommitOrder => Record::Unnumbered,
            Stamp::InsertOrder => Record::At(id),
        };
        self.reach(state, id);
    }

    /// A commit that appends a record about another token, numbered.
    pub(crate) fn append_other(&self, state: &mut State, id: Position) {
        match self.protocol.stamp {
            Stamp::Absent => {}
            Stamp::CommitOrder => state.journal.seq += 1,
            Stamp::InsertOrder => self.reach(state, id),
        }
    }

    /// With ids for stamps, the position is the highest id committed.
    fn reach(&self, state: &mut State, id: Position) {
        if self.protocol.stamp == Stamp::InsertOrder {
            state.journal.seq = state.journal.seq.max(id);
        }
    }

    /// The id that an INSERT takes; 0 where ids mean nothing.
    pub(crate) fn take_id(&self, state: &mut State) -> Position {
        if self.protocol.stamp != Stamp::InsertOrder {
            return 0;
        }
        state.journal.next_id += 1;
        state.journal.next_id - 1
    }

    fn purge(&self, state: &mut State, slot: usize) {
        let journal = &mut state.journal;
        if let (Record::At(seq), Purge::RaisesFloor) = (journal.records[slot], self.protocol.purge) {
            journal.floor = journal.floor.max(seq);
        }
        journal.records[slot] = Record::Absent;
    }
}

/// The sequencer gives a record the next number.
fn number(state: &mut State, slot: usize) {
    state.journal.seq += 1;
    state.journal.records[slot] = Record::At(state.journal.seq);
}

/// The token ends, in the database; calls in progress may answer either way.
pub(super) fn end(state: &mut State) {
    state.token = Token::Ended(0);
    for call in state.calls().filter(|call| call.standing == Standing::Valid) {
        call.standing = Standing::Changed;
    }
}

/// The token is good again.
pub(super) fn revive(state: &mut State) {
    state.token = Token::Valid;
    for call in state.calls() {
        call.standing = Standing::Changed;
    }
}
