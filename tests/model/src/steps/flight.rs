//! Single flight: calls of one replica share a read of the database.

use super::authenticate::read;
use crate::action::{Action, FlightStep};
use crate::model::Coherence;
use crate::protocol::Flights;
use crate::state::{Flight, Position, Stage, State};

impl Coherence {
    pub(crate) fn offer_flight(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        match state.replicas[replica].flight {
            Flight::Idle => {}
            Flight::Sent => actions.push(Action::Flight(replica, FlightStep::IsRead)),
            Flight::Answered(_) => actions.push(Action::Flight(replica, FlightStep::Returns)),
        }
    }

    pub(crate) fn flight(&self, state: &mut State, replica: usize, step: FlightStep) {
        match (step, state.replicas[replica].flight) {
            (FlightStep::IsRead, Flight::Sent) => state.replicas[replica].flight = Flight::Answered(read(state)),
            (FlightStep::Returns, Flight::Answered(read)) => self.land(state, replica, read),
            (_, other) => unreachable!("{step:?} is not offered in {other:?}"),
        }
    }

    /// The read is sent; every call in progress began before it.
    pub(super) fn send_flight(state: &mut State, replica: usize) {
        let replica = &mut state.replicas[replica];
        replica.flight = Flight::Sent;
        for call in replica.calls.iter_mut().flatten() {
            call.before_flight = true;
        }
    }

    /// The answer is given to the calls whose it is.
    fn land(&self, state: &mut State, replica: usize, read: Option<Position>) {
        state.replicas[replica].flight = Flight::Idle;
        self.learn(state, replica, read);
        for slot in 0..state.replicas[replica].calls.len() {
            self.board(state, replica, slot, read);
        }
    }

    fn board(&self, state: &mut State, replica: usize, slot: usize, read: Option<Position>) {
        let Some(call) = &mut state.replicas[replica].calls[slot] else { return };
        let uses = call.before_flight || self.protocol.flights == Flights::LateJoin;
        call.before_flight = false;
        if call.stage != Stage::Missed {
            return;
        }
        if uses {
            self.answer(state, replica, slot, read);
        } else {
            call.stage = Stage::Begun;
        }
    }
}
