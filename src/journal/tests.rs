//! The reader and its handle over a journal in memory, on tokio's paused clock.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta};
use futures::future::join_all;
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, yield_now},
    time::{Instant, sleep},
};

mod canary;
mod clock;
mod feed;
mod fitness;
mod lease;
mod strict;
mod wake;

use super::{Confirmed, Handle, Lost, Terms, Uptime, handle::Shared, reader};
use crate::domain::{
    Digest, Ended, Error, Journal, Poll, Position, Record, Role, Timestamp, TokenId, Triggers, UserId,
};

const MS: Duration = Duration::from_millis(1);
const LEASE: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn at(epoch: u128, seq: u64) -> Position {
    Position { epoch, seq }
}

pub(super) fn digest(name: u8) -> Digest {
    Digest::from_bytes([name; 64])
}

pub(super) fn token(name: u8) -> TokenId {
    digest(name).token_id()
}

pub(super) fn user(name: &str) -> UserId {
    name.parse().expect("a user_id")
}

/// A poll of the primary in epoch 1 without records.
pub(super) fn poll(seq: u64) -> Poll {
    Poll { position: at(1, seq), floor: 0, now: noon(), role: Role::Primary, records: Vec::new() }
}

fn terms() -> Terms {
    Terms { max_staleness: LEASE, outage_grace: GRACE, poll_interval: INTERVAL }
}

fn noon() -> Timestamp {
    DateTime::from_timestamp(1_790_000_000, 0).expect("a time")
}

impl Poll {
    pub(super) fn record(mut self, seq: u64, ended: Ended) -> Self {
        self.records.push(Record { seq: Some(seq), ended });
        self
    }

    pub(super) fn pending(mut self, ended: Ended) -> Self {
        self.records.push(Record { seq: None, ended });
        self
    }
}

/// A journal in memory.
struct Ledger {
    content: Mutex<Content>,
    /// Answers are held back while it is shut.
    gate: watch::Sender<bool>,
    /// Tells of changes.
    bell: Notify,
}

struct Content {
    whole: Poll,
    triggers: Triggers,
    link: Link,
    polls: u64,
    checks: u64,
    sequences: u64,
    purges: Vec<u64>,
    canaries: u64,
    flight: Flight,
    /// How often everything was noted.
    everything: u64,
}

/// What becomes of a canary.
#[derive(Clone, Copy, PartialEq)]
enum Flight {
    /// There is no user whose token it could be.
    Grounded,
    /// Its record is written.
    Returns,
    /// As [`Self::Returns`], and then the database cannot be reached.
    Severed,
    /// The triggers do not fire.
    Lost,
}

#[derive(Clone, Copy, PartialEq)]
enum Link {
    Up,
    Refused,
    /// Answers come this late.
    Slow(Duration),
}

/// Follows tokio's clock, and jumps.
#[derive(Clone)]
struct Wrist {
    origin: Instant,
    suspended: Arc<AtomicU64>,
    /// What tokio's clock, which counts milliseconds, leaves out.
    nanos: Arc<AtomicU64>,
}

struct Bench {
    ledger: Arc<Ledger>,
    wrist: Wrist,
    handle: Handle<Wrist>,
    task: JoinHandle<()>,
}

// === impl Ledger ===

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no test panics with it")
    }

    async fn answer<T>(&self, read: impl FnOnce(&mut Content) -> T) -> Result<T, Error> {
        // The answer is what was true when the question came.
        let (link, answer) = {
            let mut content = self.lock();
            (content.link, read(&mut content))
        };
        self.gate.subscribe().wait_for(|open| *open).await.expect("the ledger outlives its calls");
        match link {
            Link::Up => Ok(answer),
            Link::Refused => Err(Error::Unavailable("refused".into())),
            Link::Slow(time) => {
                sleep(time).await;
                Ok(answer)
            }
        }
    }
}

impl Journal for Ledger {
    async fn poll(&self, after: Option<Position>) -> Result<Poll, Error> {
        self.answer(|content| {
            content.polls += 1;
            let mut poll = content.whole.clone();
            let known = after.filter(|after| after.epoch == poll.position.epoch).map_or(0, |after| after.seq);
            poll.records.retain(|record| record.seq.is_none_or(|seq| seq > known));
            poll
        })
        .await
    }

    async fn sequence(&self) -> Result<u64, Error> {
        self.answer(|content| {
            content.sequences += 1;
            let mut last = content.whole.position.seq;
            for record in content.whole.records.iter_mut().filter(|record| record.seq.is_none()) {
                last += 1;
                record.seq = Some(last);
            }
            last - std::mem::replace(&mut content.whole.position.seq, last)
        })
        .await
    }

    async fn purge(&self, keep: u64) -> Result<u64, Error> {
        self.answer(|content| {
            content.purges.push(keep);
            0
        })
        .await
    }

    async fn intact(&self) -> Result<Triggers, Error> {
        self.answer(|content| {
            content.checks += 1;
            content.triggers.clone()
        })
        .await
    }

    async fn canary(&self) -> Result<Option<TokenId>, Error> {
        self.answer(|content| {
            content.canaries += 1;
            let name = u8::try_from(100 + content.canaries).expect("a short test");
            if content.flight == Flight::Severed {
                content.link = Link::Refused;
            }
            if matches!(content.flight, Flight::Returns | Flight::Severed) {
                content.whole.records.push(Record { seq: None, ended: Ended::Token(token(name)) });
            }
            (content.flight != Flight::Grounded).then(|| token(name))
        })
        .await
    }

    async fn note_everything(&self) -> Result<(), Error> {
        self.answer(|content| {
            content.everything += 1;
            content.whole.position.seq += 1;
            let seq = Some(content.whole.position.seq);
            content.whole.records.push(Record { seq, ended: Ended::Everything });
        })
        .await
    }

    async fn changed(&self) {
        self.bell.notified().await;
    }
}

// === impl Wrist ===

impl Uptime for Wrist {
    fn elapsed(&self) -> Duration {
        // Machines are up for a while before a program starts.
        Duration::from_secs(100)
            + self.origin.elapsed()
            + Duration::from_millis(self.suspended.load(Ordering::SeqCst))
            + Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

// === impl Bench ===

impl Bench {
    fn leased() -> Self {
        Self::of(terms(), poll(9))
    }

    fn strict() -> Self {
        Self::of(Terms { max_staleness: Duration::ZERO, ..terms() }, poll(9))
    }

    fn of(terms: Terms, whole: Poll) -> Self {
        let content = Content {
            whole,
            triggers: Triggers::Enabled,
            link: Link::Up,
            polls: 0,
            checks: 0,
            sequences: 0,
            purges: Vec::new(),
            canaries: 0,
            flight: Flight::Grounded,
            everything: 0,
        };
        let gate = watch::channel(true).0;
        let ledger = Arc::new(Ledger { content: Mutex::new(content), gate, bell: Notify::new() });
        let wrist = Wrist { origin: Instant::now(), suspended: Arc::default(), nanos: Arc::default() };
        let (reader, handle) = reader::new(Arc::clone(&ledger), terms, wrist.clone());
        Self { ledger, wrist, handle, task: tokio::spawn(reader.run()) }
    }

    async fn confirm(&self) -> Confirmed {
        self.handle.confirm(at(1, 9), digest(1), &user("ada")).await
    }

    /// Asks in a task of its own, which has begun when this returns.
    async fn confirming(&self) -> JoinHandle<Confirmed> {
        let handle = self.handle.clone();
        let asking = tokio::spawn(async move { handle.confirm(at(1, 9), digest(1), &user("ada")).await });
        settle().await;
        asking
    }

    /// Token 1 ends, and its record is numbered.
    fn revoke(&self) {
        let mut content = self.ledger.lock();
        content.whole.position.seq += 1;
        let seq = Some(content.whole.position.seq);
        content.whole.records.push(Record { seq, ended: Ended::Token(token(1)) });
    }

    fn link(&self, link: Link) {
        self.ledger.lock().link = link;
    }

    fn shut(&self) {
        self.ledger.gate.send_replace(false);
    }

    fn open(&self) {
        self.ledger.gate.send_replace(true);
    }

    fn suspend(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).expect("short");
        self.wrist.suspended.fetch_add(millis, Ordering::SeqCst);
    }

    fn polls(&self) -> u64 {
        self.ledger.lock().polls
    }

    /// Waits until a poll has ended that began after this.
    async fn polled(&self) -> Result<(), Lost> {
        self.handle.covered().await
    }

    /// Holds back the answer to a poll that has begun.
    async fn hold_a_poll(&self) {
        self.polled().await.expect("a good poll");
        self.shut();
        let before = self.polls();
        sleep(INTERVAL).await;
        settle().await;
        assert_eq!(self.polls(), before + 1, "it is under way");
    }

    /// The end of the lease that the last good poll gave.
    fn lapse(&self) -> Duration {
        self.handle.health().lease.expect("a lease")
    }
}

/// Lets every task run until it waits, without moving the clock.
async fn settle() {
    for _ in 0..2_000 {
        yield_now().await;
    }
}
