//! The circuit breaker: while Redis does not answer, nothing is sent to it.
//!
//! A command needs a [`Permit`], which is used once: it reports what became of the
//! command. Permits carry the epoch of the state that they were given in, and a report
//! from an older epoch changes nothing. A permit that is dropped says nothing, except
//! that a dropped probe opens the breaker again, so that its slot is not lost.
//!
//! Time is tokio's, so that tests can stop it.

use std::{
    collections::VecDeque,
    fmt::Display,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::watch, time::Instant};

mod state;
#[cfg(test)]
mod tests;
mod window;

pub(super) use self::state::Fault;
use self::state::{Closed, HalfOpen, Open, Policy, State};
use crate::{
    config,
    metrics::{self, Counts, Transition},
};

/// How many transitions are remembered.
const RECENT: usize = 8;

/// A circuit breaker. All of its methods return at once.
#[derive(Debug)]
pub struct Breaker {
    policy: Policy,
    core: Mutex<Core>,
    /// What the core's state is, for a glance.
    closed: AtomicBool,
    published: watch::Sender<BreakerStatus>,
    transitions: Counts<Transition>,
}

/// Where a breaker is, and how it came there.
#[derive(Clone, Debug)]
pub struct BreakerStatus {
    /// Its state.
    pub state: BreakerState,
    /// When it came into this state, on tokio's monotonic clock; a wall-clock time is
    /// `now - since.elapsed()`.
    pub since: Instant,
    /// What brought it there, for people. Holds no secret.
    pub cause: String,
    /// How often it has opened; probes that failed are not counted.
    pub opened_count: u64,
}

/// A breaker's state, in the electrical sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Redis is used.
    Closed,
    /// Redis is left alone.
    Open,
    /// One command is trying whether Redis is back.
    HalfOpen,
}

/// Leave to send one command.
#[must_use = "a permit reports what became of its command"]
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    epoch: u64,
}

/// The breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open")]
pub struct Rejected;

#[derive(Debug)]
struct Core {
    state: State,
    epoch: u64,
    opened_count: u64,
    /// The latest transitions, the last one at the end.
    recent: VecDeque<BreakerStatus>,
}

// === impl Breaker ===

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(config: &config::Breaker) -> Self {
        let (policy, now) = (Policy::new(config), Instant::now());
        let state = State::Closed(Closed::new(&policy, now));
        let status =
            BreakerStatus { state: BreakerState::Closed, since: now, cause: "start".to_owned(), opened_count: 0 };
        let core = Mutex::new(Core { state, epoch: 0, opened_count: 0, recent: VecDeque::new() });
        let (closed, published) = (AtomicBool::new(true), watch::Sender::new(status));
        Self { policy, core, closed, published, transitions: metrics::transitions() }
    }

    /// Where it is now.
    #[must_use]
    pub fn status(&self) -> BreakerStatus {
        self.published.borrow().clone()
    }

    /// Where it is, from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BreakerStatus> {
        self.published.subscribe()
    }

    /// The latest openings and closings, a bounded number, the last one at the end. Probes that failed are no openings
    /// of their own; the cause is the latest's.
    #[must_use]
    pub fn recent(&self) -> Vec<BreakerStatus> {
        self.lock().recent.iter().cloned().collect()
    }

    /// How often it came into each state.
    #[must_use]
    pub fn transitions(&self) -> &Counts<Transition> {
        &self.transitions
    }

    /// Whether Redis is used, and not merely tried.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Asks for leave to send one command.
    pub(super) fn admit(&self) -> Result<Permit<'_>, Rejected> {
        let mut core = self.lock();
        match core.state {
            State::Closed(_) => {}
            State::Open(open) => {
                let now = Instant::now();
                let probe = open.probe(now).map_err(|_| Rejected)?;
                self.enter(&mut core, State::HalfOpen(probe), "the open time is over".to_owned(), now);
            }
            State::HalfOpen(_) => return Err(Rejected),
        }
        Ok(Permit { breaker: self, epoch: core.epoch })
    }

    /// There is a connection again: an open breaker probes without waiting any longer. It stays open until
    /// the probe is answered.
    pub(super) fn connected(&self) {
        if let State::Open(open) = &mut self.lock().state {
            open.until = open.until.min(Instant::now());
        }
    }

    fn pass(&self, epoch: u64) {
        let Some(mut core) = self.current(epoch) else { return };
        let now = Instant::now();
        match &mut core.state {
            State::Closed(closed) => closed.pass(now),
            State::Open(_) => {}
            State::HalfOpen(probe) => {
                let closed = probe.pass(&self.policy, now);
                self.enter(&mut core, State::Closed(closed), "the probe was answered".to_owned(), now);
            }
        }
    }

    fn fail(&self, epoch: u64, fault: Fault, cause: &dyn Display) {
        let Some(mut core) = self.current(epoch) else { return };
        let now = Instant::now();
        match &mut core.state {
            State::Closed(closed) => {
                if let Some((open, reason)) = closed.fail(fault, &self.policy, now) {
                    core.opened_count += 1;
                    self.enter(&mut core, State::Open(open), format!("{reason}; the last: {cause}"), now);
                }
            }
            State::Open(_) => {}
            State::HalfOpen(probe) => {
                let open = probe.fail(&self.policy, now);
                self.enter(&mut core, State::Open(open), format!("the probe failed: {cause}"), now);
            }
        }
    }

    fn give_up(&self, epoch: u64) {
        let Some(mut core) = self.current(epoch) else { return };
        if let State::HalfOpen(probe) = core.state {
            let now = Instant::now();
            let open = probe.give_up(&self.policy, now);
            self.enter(&mut core, State::Open(open), "the probe was cancelled".to_owned(), now);
        }
    }

    /// The one place where the state changes: a new epoch, published and logged once.
    fn enter(&self, core: &mut Core, state: State, cause: String, now: Instant) {
        log(&state, &cause, now);
        let status = BreakerStatus { state: name(&state), since: now, cause, opened_count: core.opened_count };
        self.transitions.of(transition(status.state)).inc();
        core.remember(&status);
        core.state = state;
        self.closed.store(status.state == BreakerState::Closed, Ordering::Relaxed);
        core.epoch += 1;
        self.published.send_replace(status);
    }

    /// The core, unless the state has changed since this epoch: then a report is too late.
    fn current(&self, epoch: u64) -> Option<MutexGuard<'_, Core>> {
        Some(self.lock()).filter(|core| core.epoch == epoch)
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Core ===

impl Core {
    /// Keeps openings and closings. A probe that failed belongs to the opening before it, so that a long outage pushes
    /// nothing else out.
    fn remember(&mut self, status: &BreakerStatus) {
        match (status.state, self.recent.back_mut()) {
            (BreakerState::HalfOpen, _) => {}
            (BreakerState::Open, Some(last)) if last.state == BreakerState::Open => {
                last.cause.clone_from(&status.cause);
            }
            (BreakerState::Open | BreakerState::Closed, _) => {
                if self.recent.len() == RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back(status.clone());
            }
        }
    }
}

fn name(state: &State) -> BreakerState {
    match state {
        State::Closed(_) => BreakerState::Closed,
        State::Open(_) => BreakerState::Open,
        State::HalfOpen(_) => BreakerState::HalfOpen,
    }
}

fn transition(state: BreakerState) -> Transition {
    match state {
        BreakerState::Closed => Transition::Closed,
        BreakerState::Open => Transition::Open,
        BreakerState::HalfOpen => Transition::HalfOpen,
    }
}

fn log(state: &State, cause: &str, now: Instant) {
    match state {
        State::Closed(_) => tracing::info!(state = "closed", cause, "circuit breaker"),
        State::Open(Open { until, .. }) => {
            let open_for_ms = until.saturating_duration_since(now).as_millis();
            tracing::warn!(state = "open", cause, open_for_ms, "circuit breaker");
        }
        State::HalfOpen(HalfOpen { .. }) => tracing::info!(state = "half-open", cause, "circuit breaker"),
    }
}

// === impl Permit ===

impl Permit<'_> {
    /// The command was answered.
    pub(super) fn success(self) {
        self.breaker.pass(self.epoch);
        mem::forget(self);
    }

    /// The command failed for a reason that is Redis's or the network's.
    pub(super) fn failure(self, fault: Fault, cause: &dyn Display) {
        self.breaker.fail(self.epoch, fault, cause);
        mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.breaker.give_up(self.epoch);
    }
}
