//! The load: connections, and on each of them calls that are always under way.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use http::HeaderValue;
use tokio::{
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};
use tonic::Code;

use super::{
    Error,
    deck::{Card, Deck},
    tally::{Kind, Outcome, Tally},
    wire::{Address, Line, Method, Reply},
};
use crate::proto::code;

/// Pause before a connection that was lost is opened again.
const REDIAL: Duration = Duration::from_millis(10);
/// Pause before a known token is asked about again whose first answer was a status, and how often that is done.
const RETRY: Duration = Duration::from_millis(50);
const ATTEMPTS: usize = 100;
/// How long calls that are under way at the end may take to end.
const LINGER: Duration = Duration::from_secs(10);

/// How many calls are under way, and over how many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) connections: usize,
    /// Each slot makes one call after the other.
    pub(super) slots: usize,
}

/// The connections of a slot, which it uses in turn.
#[derive(Debug)]
struct Round {
    lines: Vec<Line>,
    next: usize,
}

/// A running load. It runs on the thread that started it, inside a `LocalSet`.
#[derive(Debug)]
pub(super) struct Load {
    post: Rc<Post>,
    slots: JoinSet<()>,
}

#[derive(Debug)]
struct Post {
    at: Address,
    authenticate: Method,
    batch: Method,
    revoke: Method,
    deck: Deck,
    tally: RefCell<Tally>,
    /// When the call began that a slot has under way.
    open: Vec<Cell<Option<Instant>>>,
    stopping: Cell<bool>,
}

// === impl Shape ===

impl Shape {
    /// The numbers of a slot's connections: slots that are as many or more lie side by side on each, of fewer each goes
    /// round those that no other uses.
    fn share(self, slot: usize) -> impl Iterator<Item = usize> {
        let (first, step) = if self.slots < self.connections {
            (slot, self.slots)
        } else {
            (slot * self.connections / self.slots, self.connections)
        };
        (first..self.connections).step_by(step)
    }
}

// === impl Round ===

impl Round {
    fn over(lines: &[Line], share: impl Iterator<Item = usize>) -> Self {
        Self { lines: share.map(|number| lines[number].clone()).collect(), next: 0 }
    }

    fn next(&mut self) -> &mut Line {
        self.next = (self.next + 1) % self.lines.len();
        &mut self.lines[self.next]
    }
}

// === impl Load ===

impl Load {
    /// Opens the connections. With `warm`, every known token is asked about once, which is waited for; then calls
    /// are made until [`Self::stop`].
    ///
    /// # Errors
    /// When a connection cannot be opened, or an answer about a known token is not right.
    pub(super) async fn start(
        at: &Address,
        credential: Option<&HeaderValue>,
        shape: Shape,
        deck: Deck,
        warm: Warm,
    ) -> Result<Self, Error> {
        let method = |name: &str| Method::new(at, &format!("/tokenward.v1.TokenService/{name}"), credential);
        let post = Rc::new(Post {
            at: at.clone(),
            authenticate: method("Authenticate"),
            batch: method("BatchAuthenticate"),
            revoke: method("Revoke"),
            deck,
            tally: RefCell::new(Tally::new()),
            open: vec![Cell::new(None); shape.slots],
            stopping: Cell::new(false),
        });
        let mut lines = Vec::new();
        for _ in 0..shape.connections {
            lines.push(at.connect().await.map_err(|source| Error::Connect { at: at.url(), source })?);
        }
        let slots = || (0..shape.slots).map(|slot| (slot, Round::over(&lines, shape.share(slot))));
        if warm == Warm::Known {
            let mut asking = JoinSet::new();
            slots().for_each(|(slot, round)| drop(asking.spawn_local(Rc::clone(&post).warm(slot, round))));
            asking.join_all().await;
            post.all_was_well()?;
            *post.tally.borrow_mut() = Tally::new();
        }
        let mut running = JoinSet::new();
        slots().for_each(|(slot, round)| drop(running.spawn_local(Rc::clone(&post).slot(slot, round))));
        Ok(Self { post, slots: running })
    }

    /// Forgets what was noted until now.
    pub(super) fn begin(&self) {
        *self.post.tally.borrow_mut() = Tally::new();
    }

    /// Time since the measurement began.
    pub(super) fn elapsed(&self) -> Duration {
        self.post.tally.borrow().elapsed()
    }

    /// Right answers until now.
    pub(super) fn checks(&self) -> u64 {
        self.post.tally.borrow().slices.iter().sum()
    }

    /// Whether there are no fresh tokens left, so that calls are no longer made.
    pub(super) fn is_dry(&self) -> bool {
        self.post.deck.is_dry()
    }

    /// Ends the measurement: takes what was noted, with the age of the calls that are under way.
    pub(super) fn take(&self) -> Tally {
        let mut tally = self.post.tally.replace(Tally::new());
        let now = Instant::now();
        tally.end(self.post.open.iter().filter_map(Cell::get), now);
        tally
    }

    /// Makes no more calls, and waits for those that are under way. What came of them is in what is returned; those
    /// that nobody answers are failures.
    pub(super) async fn stop(mut self) -> Tally {
        self.post.stopping.set(true);
        // It is an error when time is up.
        let _ = timeout(LINGER, async { while self.slots.join_next().await.is_some() {} }).await;
        let mut rest = self.post.tally.replace(Tally::new());
        let now = Instant::now();
        self.post.open.iter().filter_map(Cell::get).for_each(|start| rest.unanswered(now - start));
        rest
    }
}

/// What is asked before the load begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warm {
    /// Every known token.
    Known,
    /// Nothing.
    Nothing,
}

// === impl Post ===

impl Post {
    async fn warm(self: Rc<Self>, slot: usize, mut round: Round) {
        while let Some(card) = self.deck.warm() {
            // So many misses at once are more than a database is let have; those that were shed come again.
            for _ in 0..ATTEMPTS {
                match self.send(slot, round.next(), &card).await {
                    Outcome::Status(_) | Outcome::Lost => sleep(RETRY).await,
                    Outcome::Right(_) | Outcome::Wrong => break,
                }
            }
            if self.tally.borrow().wrong > 0 {
                return;
            }
        }
    }

    async fn slot(self: Rc<Self>, slot: usize, mut round: Round) {
        while !self.stopping.get() {
            let Some(card) = self.deck.draw(slot) else { return };
            let outcome = self.send(slot, round.next(), &card).await;
            if card.kind == Kind::Revoke
                && matches!(outcome, Outcome::Right(_))
                && let Some(again) = self.deck.ended(&card)
            {
                self.send(slot, round.next(), &again).await;
            }
        }
    }

    async fn send(&self, slot: usize, line: &mut Line, card: &Card) -> Outcome {
        let method = match card.kind {
            Kind::Batch => &self.batch,
            Kind::Revoke => &self.revoke,
            Kind::Known | Kind::Fresh | Kind::Unknown | Kind::Ended => &self.authenticate,
        };
        let start = Instant::now();
        self.open[slot].set(Some(start));
        let reply = method.call(line, card.message.clone()).await;
        let now = Instant::now();
        self.open[slot].set(None);
        let outcome = match &reply {
            Ok(Reply::Message(answer)) => self.deck.judge(card, answer, &self.tally),
            Ok(Reply::Status(status)) => Outcome::Status(code::name(Code::from_i32(*status))),
            Err(_) => Outcome::Lost,
        };
        self.tally.borrow_mut().note(card.kind, outcome, now - start, now);
        if outcome == Outcome::Lost {
            self.redial(line).await;
        }
        // A connection whose answers are all there must not keep the others from theirs.
        if matches!(outcome, Outcome::Status(_)) {
            yield_now().await;
        }
        outcome
    }

    async fn redial(&self, line: &mut Line) {
        while !self.stopping.get() {
            sleep(REDIAL).await;
            if let Ok(new) = self.at.connect().await {
                *line = new;
                return;
            }
        }
    }

    fn all_was_well(&self) -> Result<(), Error> {
        let tally = self.tally.borrow();
        let right: u64 = tally.kinds.get(&Kind::Known).map_or(0, |calls| calls.checks);
        match (tally.wrong, tally.failures.keys().next()) {
            (0, _) if right >= self.deck.known() => Ok(()),
            (0, status) => Err(Error::Warming(format!(
                "{right} of {} known tokens were answered, others got {}",
                self.deck.known(),
                status.unwrap_or(&"nothing")
            ))),
            (wrong, _) => Err(Error::Warming(format!("{wrong} of the known tokens got a wrong answer"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(connections: usize, slots: usize) -> Vec<Vec<usize>> {
        let shape = Shape { connections, slots };
        (0..slots).map(|slot| shape.share(slot).collect()).collect()
    }

    #[test]
    fn every_connection_is_used_and_as_much_as_another() {
        assert_eq!(shares(2, 4), [[0], [0], [1], [1]]);
        assert_eq!(shares(3, 3), [[0], [1], [2]]);
        assert_eq!(shares(5, 2), [vec![0, 2, 4], vec![1, 3]]);
        assert_eq!(shares(2, 3), [[0], [0], [1]]);
    }
}
