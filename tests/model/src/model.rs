//! The protocol in its environment, as a model that can be checked.

use stateright::{Model, Property};

use crate::action::Action;
use crate::environment::{Bound, Environment, RedisKind};
use crate::protocol::Protocol;
use crate::state::{Cell, Facts, Flight, Journal, Poll, Record, Redis, Replica, Revocation, State, Token, View, Wrong};
use crate::{forget, properties};

/// A protocol, a world, and how far to look.
#[derive(Clone, Debug)]
pub struct Coherence {
    /// The protocol's parts.
    pub protocol: Protocol,
    /// The faults.
    pub environment: Environment,
    /// How many calls are followed.
    pub bound: Bound,
    /// Whether states that differ in nothing observable are taken as one.
    pub merging: Merging,
}

/// Whether states that differ in nothing observable are taken as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merging {
    /// They are: fewer states, the same verdicts.
    On,
    /// They are not: to show that the verdicts are the same.
    Off,
}

// === impl Coherence ===

impl Model for Coherence {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            token: Token::Valid,
            journal: Journal { seq: 0, next_id: 1, records: [Record::Absent; 2], floor: 0 },
            redis: self.empty_redis(),
            replicas: self.bound.calls.map(|calls| self.new_replica(calls)),
            revocation: Revocation::NotBegun,
            written: 0,
            wrong: Wrong::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.replicas.iter().all(Replica::is_done) {
            return;
        }
        actions.push(Action::Tick);
        for replica in 0..state.replicas.len() {
            self.offer_poll(state, replica, actions);
            self.offer_calls(state, replica, actions);
            self.offer_flight(state, replica, actions);
        }
        Self::offer_puts(state, actions);
        self.offer_revoke(state, actions);
        self.offer_journal(state, actions);
        self.offer_writes(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = State { wrong: Wrong::default(), ..before.clone() };
        match action {
            Action::Tick => self.tick(&mut state),
            Action::Poll(replica, step) => self.poll(&mut state, replica, step),
            Action::Call(replica, slot, step) => self.call(&mut state, replica, slot, step),
            Action::Flight(replica, step) => self.flight(&mut state, replica, step),
            Action::Put(stamp) => self.put(&mut state, stamp),
            Action::Revoke(step) => self.revoke(&mut state, step),
            Action::Journal(step) => self.keep_journal(&mut state, step),
            Action::Write(step) => self.write(&mut state, step),
        }
        if self.merging == Merging::On {
            forget::forget(&self.protocol, &mut state);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Coherence {
    fn empty_redis(&self) -> Redis {
        match self.environment.redis {
            RedisKind::Honest | RedisKind::Failing => {
                Redis::Honest { cell: Cell::Empty, puts: Facts::default(), stray_delete: false }
            }
            RedisKind::Adversary => Redis::Adversary(Facts::default()),
        }
    }

    /// A replica that has just started: it has no lease.
    fn new_replica(&self, calls_left: u8) -> Replica {
        Replica {
            lease_age: self.protocol.horizon(),
            view: View::default(),
            poll: Poll::Idle,
            reaches_database: true,
            memory: None,
            flight: Flight::Idle,
            calls: [None; 2],
            calls_left,
        }
    }
}
