//! Authenticate: the hit path, and the answer.

use crate::action::{Action, CallStep};
use crate::environment::RedisKind;
use crate::model::Coherence;
use crate::protocol::{Flights, Hit, Memory};
use crate::state::{
    Call, Cell, Cover, Flight, Poll, Position, Redis, Revocation, Right, Since, Stage, Standing, State, Token,
};

impl Coherence {
    pub(crate) fn offer_calls(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        let slots = &state.replicas[replica].calls[..self.bound.at_once];
        if let (1.., Some(slot)) = (state.replicas[replica].calls_left, slots.iter().position(Option::is_none)) {
            actions.push(Action::Call(replica, slot, CallStep::Begins));
        }
        for (slot, call) in slots.iter().enumerate() {
            if let Some(call) = call {
                self.offer_call(state, replica, call, &mut |step| actions.push(Action::Call(replica, slot, step)));
            }
        }
    }

    fn offer_call(&self, state: &State, replica: usize, call: &Call, offer: &mut impl FnMut(CallStep)) {
        match call.stage {
            Stage::Begun => self.offer_gets(state, replica, offer),
            Stage::Found(_) if self.first_test(state, replica, call).is_none() => {}
            Stage::Found(_) => offer(CallStep::TakesFirstTest),
            Stage::HalfTested(..) => offer(CallStep::TakesSecondTest),
            Stage::Missed if self.protocol.flights == Flights::Alone => offer(CallStep::ReadsDatabase),
            Stage::Missed if state.replicas[replica].flight == Flight::Idle => offer(CallStep::SendsFlight),
            Stage::Missed => {}
        }
    }

    fn offer_gets(&self, state: &State, replica: usize, offer: &mut impl FnMut(CallStep)) {
        match state.redis {
            Redis::Honest { .. } => offer(CallStep::Gets),
            Redis::Adversary(facts) => facts.iter().for_each(|stamp| offer(CallStep::GetsAny(stamp))),
        }
        if self.environment.redis != RedisKind::Honest {
            offer(CallStep::GetsNothing);
        }
        if state.replicas[replica].memory.is_some() {
            offer(CallStep::FindsInMemory);
        }
    }

    pub(crate) fn call(&self, state: &mut State, replica: usize, slot: usize, step: CallStep) {
        match step {
            CallStep::Begins => self.begin(state, replica, slot),
            CallStep::Gets => state.call(replica, slot).stage = get(state.redis),
            CallStep::GetsAny(stamp) => state.call(replica, slot).stage = Stage::Found(stamp),
            CallStep::GetsNothing => state.call(replica, slot).stage = Stage::Missed,
            CallStep::FindsInMemory => {
                let stamp = state.replicas[replica].memory;
                state.call(replica, slot).stage = stamp.map_or(Stage::Missed, Stage::Found);
            }
            CallStep::TakesFirstTest => {
                let call = *state.call(replica, slot);
                state.call(replica, slot).stage = self.first_test(state, replica, &call).unwrap_or(call.stage);
            }
            CallStep::TakesSecondTest => self.take_second_test(state, replica, slot),
            CallStep::ReadsDatabase => {
                let read = read(state);
                self.learn(state, replica, read);
                self.answer(state, replica, slot, read);
            }
            CallStep::SendsFlight => Self::send_flight(state, replica),
        }
    }

    fn begin(&self, state: &mut State, replica: usize, slot: usize) {
        let standing = self.standing(state);
        let replica = &mut state.replicas[replica];
        let cover = match self.protocol.hit {
            Hit::StrictJoinsPoll if replica.poll != Poll::Idle => Cover::Underway,
            Hit::Strict | Hit::StrictJoinsPoll => Cover::Wanted,
            Hit::LeaseThenView | Hit::ViewThenLease | Hit::ViewOnly => Cover::Needless,
        };
        replica.calls_left -= 1;
        replica.calls[slot] = Some(Call { standing, stage: Stage::Begun, cover, before_flight: false });
    }

    /// What a call that begins now may answer.
    fn standing(&self, state: &State) -> Standing {
        let complete = state.revocation == Revocation::Complete;
        match state.token {
            Token::Valid => Standing::Valid,
            Token::Ended(age) if age >= self.protocol.horizon() => {
                Standing::Ended { since: Since::PastGrace, complete }
            }
            Token::Ended(age) if age >= self.protocol.lease => Standing::Ended { since: Since::PastLease, complete },
            Token::Ended(_) => Standing::Ended { since: Since::Recently, complete },
        }
    }

    /// The stage after the first test, or `None` for a call that is parked.
    fn first_test(&self, state: &State, replica: usize, call: &Call) -> Option<Stage> {
        let Stage::Found(stamp) = call.stage else { return None };
        match self.protocol.hit {
            Hit::LeaseThenView | Hit::Strict | Hit::StrictJoinsPoll => {
                self.lease(state, replica, call).map(|right| Stage::HalfTested(stamp, right))
            }
            Hit::ViewThenLease if state.replicas[replica].view.refutes(stamp) => Some(Stage::Missed),
            Hit::ViewThenLease | Hit::ViewOnly => Some(Stage::HalfTested(stamp, Right::Lease)),
        }
    }

    /// The right by which this replica may use facts at this moment, if any.
    fn lease(&self, state: &State, replica: usize, call: &Call) -> Option<Right> {
        let replica = &state.replicas[replica];
        if self.protocol.is_strict() {
            return (call.cover == Cover::Done).then_some(Right::Lease);
        }
        if replica.lease_age < self.protocol.lease {
            return Some(Right::Lease);
        }
        (!replica.reaches_database && replica.lease_age < self.protocol.horizon()).then_some(Right::Grace)
    }

    fn take_second_test(&self, state: &mut State, replica: usize, slot: usize) {
        let call = *state.call(replica, slot);
        match (self.passing(state, replica, &call), call.stage) {
            (Some(stamp), Stage::HalfTested(_, right)) => {
                self.remember(state, replica, stamp);
                Self::accept(state, replica, slot, right);
            }
            _ => state.call(replica, slot).stage = Stage::Missed,
        }
    }

    /// The stamp of the fact that this call would accept if it took its second
    /// test now.
    pub(crate) fn passing(&self, state: &State, replica: usize, call: &Call) -> Option<Position> {
        let Stage::HalfTested(stamp, _) = call.stage else { return None };
        let passes = match self.protocol.hit {
            Hit::ViewThenLease => self.lease(state, replica, call).is_some(),
            _ => !state.replicas[replica].view.refutes(stamp),
        };
        passes.then_some(stamp)
    }

    fn remember(&self, state: &mut State, replica: usize, stamp: Position) {
        if self.protocol.memory == Memory::Facts {
            state.replicas[replica].memory = Some(stamp);
        }
    }

    /// What the database said becomes a fact to put, or the end of one.
    pub(super) fn learn(&self, state: &mut State, replica: usize, read: Option<Position>) {
        match read {
            Some(stamp) => {
                Self::fill(state, stamp);
                self.remember(state, replica, stamp);
            }
            None => state.replicas[replica].memory = None,
        }
    }

    /// The answer that the database gave.
    pub(super) fn answer(&self, state: &mut State, replica: usize, slot: usize, read: Option<Position>) {
        match read {
            Some(_) => Self::accept(state, replica, slot, Right::Database),
            None => Self::refuse(state, replica, slot),
        }
    }

    fn accept(state: &mut State, replica: usize, slot: usize, right: Right) {
        let standing = state.call(replica, slot).standing;
        if let Standing::Ended { since, complete } = standing {
            state.wrong.after_complete = complete;
            state.wrong.past_bound = match since {
                Since::Recently => false,
                Since::PastLease => right != Right::Grace,
                Since::PastGrace => true,
            };
        }
        state.replicas[replica].calls[slot] = None;
    }

    fn refuse(state: &mut State, replica: usize, slot: usize) {
        state.wrong.refusal |= state.call(replica, slot).standing == Standing::Valid;
        state.replicas[replica].calls[slot] = None;
    }
}

/// What GETRANGE finds in a Redis that keeps its word.
fn get(redis: Redis) -> Stage {
    match redis {
        Redis::Honest { cell: Cell::Fact(stamp), .. } => Stage::Found(stamp),
        Redis::Honest { .. } | Redis::Adversary(_) => Stage::Missed,
    }
}

/// One snapshot of clock, token and user: the stamp, if the token is good.
pub(super) fn read(state: &State) -> Option<Position> {
    (state.token == Token::Valid).then_some(state.journal.seq)
}
