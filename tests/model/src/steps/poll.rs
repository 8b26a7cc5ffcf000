//! The poll: view and lease.

use crate::action::{Action, PollStep};
use crate::environment::Reach;
use crate::model::Coherence;
use crate::protocol::{LeaseStart, Publication, Stamp, Ticks};
use crate::state::{Cover, Poll, Replica, State, View};

impl Coherence {
    pub(crate) fn offer_poll(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        let mut offer = |step| actions.push(Action::Poll(replica, step));
        match state.replicas[replica].poll {
            Poll::Idle if !self.would_learn(state, replica) => {}
            Poll::Idle => offer(PollStep::Reads),
            Poll::Answered(..) if self.protocol.publication == Publication::AtOnce => offer(PollStep::Publishes),
            Poll::Answered(..) => offer(PollStep::PublishesFirstHalf),
            Poll::HalfPublished(..) => offer(PollStep::PublishesSecondHalf),
        }
        if self.would_miss(&state.replicas[replica]) {
            offer(PollStep::Fails);
        }
    }

    pub(crate) fn poll(&self, state: &mut State, id: usize, step: PollStep) {
        let read = state.journal.read();
        let replica = &mut state.replicas[id];
        match (step, replica.poll) {
            (PollStep::Reads, Poll::Idle) => send(replica, read),
            (PollStep::Publishes, Poll::Answered(age, view)) => {
                replica.view = view;
                self.publish_lease(replica, age);
            }
            (PollStep::PublishesFirstHalf, Poll::Answered(age, view)) => self.publish_first(replica, age, view),
            (PollStep::PublishesSecondHalf, Poll::HalfPublished(age, view)) => self.publish_second(replica, age, view),
            (PollStep::Fails, _) => replica.reaches_database = false,
            (_, other) => unreachable!("{step:?} is not offered in {other:?}"),
        }
    }

    /// Whether a poll sent now could change anything: one that finds the same
    /// records in the same tick cannot.
    fn would_learn(&self, state: &State, id: usize) -> bool {
        let replica = &state.replicas[id];
        if self.protocol.stamp == Stamp::Absent || replica.is_done() {
            return false;
        }
        if self.protocol.is_strict() {
            return replica.calls.iter().any(Option::is_some);
        }
        replica.view != state.journal.read() || replica.lease_age != 0
    }

    /// Whether a poll that fails now could change anything. (It may be one sent
    /// before the poll in progress, or after it.)
    fn would_miss(&self, replica: &Replica) -> bool {
        let lapsed = (self.protocol.lease..self.protocol.horizon()).contains(&replica.lease_age);
        self.environment.database == Reach::CutOff && lapsed && replica.reaches_database && !replica.is_done()
    }

    fn publish_first(&self, replica: &mut Replica, age: Ticks, view: View) {
        match self.protocol.publication {
            Publication::LeaseThenView => self.publish_lease(replica, age),
            Publication::ViewThenLease | Publication::AtOnce => replica.view = view,
        }
        replica.poll = Poll::HalfPublished(age, view);
    }

    fn publish_second(&self, replica: &mut Replica, age: Ticks, view: View) {
        match self.protocol.publication {
            Publication::LeaseThenView => replica.view = view,
            Publication::ViewThenLease | Publication::AtOnce => self.publish_lease(replica, age),
        }
        replica.poll = Poll::Idle;
    }

    /// `lease := T0 + L`, and the database answers again.
    fn publish_lease(&self, replica: &mut Replica, age: Ticks) {
        replica.poll = Poll::Idle;
        replica.reaches_database = true;
        replica.lease_age = match self.protocol.lease_start {
            LeaseStart::BeforeSending => age,
            LeaseStart::AtAnswer => 0,
        };
        advance(replica, Cover::Underway, Cover::Done);
    }
}

/// The poll begins after every call in progress, so it covers them.
fn send(replica: &mut Replica, read: View) {
    replica.poll = Poll::Answered(0, read);
    advance(replica, Cover::Wanted, Cover::Underway);
}

fn advance(replica: &mut Replica, from: Cover, to: Cover) {
    for call in replica.calls.iter_mut().flatten().filter(|call| call.cover == from) {
        call.cover = to;
    }
}
