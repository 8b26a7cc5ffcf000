//! Writers that never call the service: Django, psql, a cascade.

use super::journal::{end, revive};
use crate::action::{Action, WriteStep};
use crate::environment::Writer;
use crate::model::Coherence;
use crate::state::State;

impl Coherence {
    pub(crate) fn offer_writes(&self, state: &State, actions: &mut Vec<Action>) {
        let step = match (self.environment.writer, state.written) {
            (Writer::Renames, 0) => WriteStep::Renames,
            (Writer::RevokesAnother, 0) => WriteStep::RevokesAnother,
            (Writer::Switches, 0 | 2) => WriteStep::SwitchesOff,
            (Writer::Switches, 1) => WriteStep::SwitchesOn,
            (Writer::Nobody | Writer::Renames | Writer::RevokesAnother | Writer::Switches, _) => return,
        };
        actions.push(Action::Write(step));
    }

    pub(crate) fn write(&self, state: &mut State, step: WriteStep) {
        let slot = usize::from(state.written > 0);
        state.written += 1;
        match step {
            WriteStep::SwitchesOff => {
                let id = self.take_id(state);
                end(state);
                self.append(state, slot, id);
            }
            WriteStep::SwitchesOn => revive(state),
            WriteStep::Renames => {
                let id = self.take_id(state);
                self.append(state, 1, id);
            }
            WriteStep::RevokesAnother => {
                let id = self.take_id(state);
                self.append_other(state, id);
            }
        }
    }
}
