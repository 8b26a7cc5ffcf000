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

/// How many calls are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) connections: usize,
    pub(super) in_flight: usize,
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
    stopping: Cell<bool>,
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
            stopping: Cell::new(false),
        });
        let mut lines = Vec::new();
        for _ in 0..shape.connections {
            lines.push(at.connect().await.map_err(|source| Error::Connect { at: at.url(), source })?);
        }
        let slots = || lines.iter().flat_map(|line| (0..shape.in_flight).map(move |_| line.clone()));
        if warm == Warm::Known {
            let mut asking = JoinSet::new();
            slots().for_each(|line| drop(asking.spawn_local(Rc::clone(&post).warm(line))));
            asking.join_all().await;
            post.all_was_well()?;
            *post.tally.borrow_mut() = Tally::new();
        }
        let mut running = JoinSet::new();
        for (number, line) in slots().enumerate() {
            running.spawn_local(Rc::clone(&post).slot(number, line));
        }
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

    /// Ends the measurement: takes what was noted.
    pub(super) fn take(&self) -> Tally {
        self.post.tally.replace(Tally::new())
    }

    /// Makes no more calls, and waits for those that are under way.
    pub(super) async fn stop(mut self) {
        self.post.stopping.set(true);
        let ended = timeout(LINGER, async { while self.slots.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!("calls were under way at the end that nobody answered");
        }
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
    async fn warm(self: Rc<Self>, mut line: Line) {
        while let Some(card) = self.deck.warm() {
            // So many misses at once are more than a database is let have; those that were shed come again.
            for _ in 0..ATTEMPTS {
                match self.send(&mut line, &card).await {
                    Outcome::Status(_) | Outcome::Lost => sleep(RETRY).await,
                    Outcome::Right(_) | Outcome::Wrong => break,
                }
            }
            if self.tally.borrow().wrong > 0 {
                return;
            }
        }
    }

    async fn slot(self: Rc<Self>, number: usize, mut line: Line) {
        while !self.stopping.get() {
            let Some(card) = self.deck.draw(number) else { return };
            let outcome = self.send(&mut line, &card).await;
            if card.kind == Kind::Revoke
                && matches!(outcome, Outcome::Right(_))
                && let Some(again) = self.deck.ended(&card)
            {
                self.send(&mut line, &again).await;
            }
        }
    }

    async fn send(&self, line: &mut Line, card: &Card) -> Outcome {
        let method = match card.kind {
            Kind::Batch => &self.batch,
            Kind::Revoke => &self.revoke,
            Kind::Known | Kind::Fresh | Kind::Unknown | Kind::Ended => &self.authenticate,
        };
        let start = Instant::now();
        let reply = method.call(line, card.message.clone()).await;
        let now = Instant::now();
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
