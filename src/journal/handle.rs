//! What the rest of the program asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::DateTime;
use tokio::sync::{Notify, broadcast, watch};

use super::{
    Terms,
    clock::DatabaseClock,
    feed::{self, Ring},
    lease::{Boottime, Lease, Tenure, Uptime},
    view::{Since, Standing, View},
};
use crate::{
    domain::{Digest, Error, Poll, Position, Timestamp, UserId},
    mutant::{self, Mutant},
};

/// No poll has told the database's time.
const NO_TIME: i64 = i64::MIN;

/// Asks what the reader knows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle<U = Boottime> {
    shared: Arc<Shared<U>>,
    rounds: watch::Receiver<Round>,
}

/// Whether a cached fact may be answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Confirmed {
    /// It may.
    Current,
    /// It may not: something has ended its token or changed its user since it was read.
    Outdated,
    /// Nothing here can tell; only the database can.
    Unproven,
}

/// Why a poll did not bring the view up to date. One failed poll is shared by all who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Lost {
    /// The database answered with an error, or not at all.
    #[error("the database answered a poll with an error")]
    Failed(#[source] Arc<Error>),
    /// It took too long.
    #[error("the database did not answer a poll within {0:?}")]
    Late(Duration),
    /// What answered takes no writes, so it may not have seen the last ones.
    #[error("the database that answered is a replica, or read-only")]
    Replica,
    /// Changes go unrecorded.
    #[error("triggers of the journal are missing or disabled: {0}")]
    Untriggered(Arc<str>),
    /// Changes go unrecorded, whatever the catalog says.
    #[error("the triggers of the journal do not fire: a token was ended to try them and left no record")]
    Unrecorded,
    /// The database lost committed changes without saying so by a new epoch.
    #[error("the journal went back from {known} to {found} within an epoch")]
    Rewound {
        /// What had been read before.
        known: u64,
        /// What was read now.
        found: u64,
    },
    /// The reader has ended.
    #[error("the journal is no longer read")]
    Stopped,
}

/// One poll that has ended.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Counts from 1 as polls begin; 0 before the first has ended.
    pub number: u64,
    /// Why the view is no newer for it; `None` when it is.
    pub failure: Option<Lost>,
}

/// How well the reader does, for status and metrics.
#[derive(Clone, Debug)]
pub struct Health {
    /// The place up to which the view holds every record; `None` before the first poll.
    pub position: Option<Position>,
    /// The view holds all that was committed longer ago than this; `None` before the first poll.
    pub lag: Option<Duration>,
    /// How long the lease is still valid; `None` when it is not, or in strict mode.
    pub lease: Option<Duration>,
    /// How long ago the poll that the lease stands on was sent, also once it has lapsed; `None` when there is none, as
    /// in strict mode.
    pub lease_age: Option<Duration>,
    /// Why the last poll failed; `None` when it did not.
    pub failure: Option<Lost>,
}

/// What the reader writes and handles read.
#[derive(Debug)]
pub(super) struct Shared<U> {
    pub(super) terms: Terms,
    pub(super) uptime: U,
    pub(super) view: View,
    pub(super) lease: Lease,
    /// Database time minus uptime in microseconds, or [`NO_TIME`].
    offset: AtomicI64,
    /// When the last poll that was applied was sent, in nanoseconds of uptime; 0 before the first.
    applied: AtomicU64,
    /// Polls that have begun.
    begun: AtomicU64,
    /// The greatest number of a poll that somebody waits for.
    wanted: AtomicU64,
    wake: Notify,
    /// This process has changed something.
    pub(super) news: Notify,
    /// Whether the last canary that was judged was lost.
    silent: AtomicBool,
    /// What those who follow are told.
    pub(super) ring: Ring,
}

// === impl Lost ===

impl Lost {
    /// Whether the database could not be reached, rather than that it cannot be relied on.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Failed(_) | Self::Late(_) => true,
            Self::Replica | Self::Untriggered(_) | Self::Unrecorded | Self::Rewound { .. } | Self::Stopped => false,
        }
    }
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        Self::Unavailable(Box::new(lost))
    }
}

// === impl Handle ===

impl<U: Uptime> Handle<U> {
    pub(super) fn new(shared: Arc<Shared<U>>, rounds: watch::Receiver<Round>) -> Self {
        Self { shared, rounds }
    }

    /// Whether a fact that was read at `position` may be answered from.
    ///
    /// Takes no I/O and no waiting while the lease is valid. Otherwise waits for a poll,
    /// at most about half a second.
    ///
    /// # Cancel safety
    /// Dropping the future loses only the answer.
    pub async fn confirm(&self, position: Position, digest: Digest, user: &UserId) -> Confirmed {
        // The lease before the view: a lease is published after the view that it is about.
        // What waits is boxed: most calls do not, and their futures are moved about.
        let may_judge = self.has_lease() || Box::pin(self.may_judge()).await;
        if may_judge { self.judge(position, digest, user) } else { Confirmed::Unproven }
    }

    /// Waits until a poll that began after this call has brought the view up to date.
    /// Those who call while a poll is under way share the next one.
    ///
    /// # Errors
    /// [`Lost`] when the first such poll failed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing; the poll still takes place.
    pub async fn covered(&self) -> Result<(), Lost> {
        let next = self.shared.demand();
        let mut rounds = self.rounds.clone();
        let ended = rounds.wait_for(|round| round.number >= next).await;
        let failure = ended.map_or(Some(Lost::Stopped), |round| round.failure.clone());
        failure.map_or(Ok(()), Err)
    }

    /// Waits until the view holds every record up to `position`.
    ///
    /// A place in another epoch counts as covered once a poll that began after this call
    /// has shown that its epoch is over: what is believed now was read after that.
    /// The wait for a place that was never given ends only with the caller's deadline.
    ///
    /// # Errors
    /// [`Lost`] when the first poll that began after this call failed.
    ///
    /// # Cancel safety
    /// As [`Self::covered`].
    pub async fn revision_covered(&self, position: Position) -> Result<(), Lost> {
        let covers = |known: Position| known.epoch == position.epoch && known.seq >= position.seq;
        if self.shared.view.position().is_some_and(covers) {
            return Ok(());
        }
        self.covered().await?;
        let arrived = |known: Position| known.epoch != position.epoch || known.seq >= position.seq;
        let mut rounds = self.rounds.clone();
        let waited = rounds.wait_for(|_| self.shared.view.position().is_some_and(arrived)).await;
        waited.map(drop).map_err(|_| Lost::Stopped)
    }

    /// The database's time to the microsecond; `None` before the first poll. For telling whether a token has expired.
    ///
    /// Fast or slow by at most what the quickest polls take to be answered, and by what the
    /// database's clock leaves out: a microsecond, on SQLite a millisecond.
    #[must_use]
    pub fn database_now(&self) -> Option<Timestamp> {
        let offset = Some(self.shared.offset.load(Ordering::Acquire)).filter(|offset| *offset != NO_TIME)?;
        DateTime::from_timestamp_micros(offset + micros_up(self.shared.uptime.elapsed()))
    }

    /// A clock that shows [`Self::database_now`].
    #[must_use]
    pub fn clock(&self) -> DatabaseClock<U> {
        DatabaseClock::new(self.clone())
    }

    /// Whether the lease is valid now; never in strict mode. Takes no lock.
    #[must_use]
    pub fn has_lease(&self) -> bool {
        self.shared.tenure() == Tenure::Valid
    }

    /// Whether cached facts may be relied on now: the lease is valid, or in strict mode the last poll succeeded. What an
    /// outage's grace still allows is not counted.
    #[must_use]
    pub fn vouches(&self) -> bool {
        if !self.shared.terms.max_staleness.is_zero() {
            return self.has_lease();
        }
        let last = self.rounds.borrow();
        last.number > 0 && last.failure.is_none()
    }

    /// How well the reader does now.
    #[must_use]
    pub fn health(&self) -> Health {
        let now = self.shared.uptime.elapsed();
        let applied = Some(self.shared.applied.load(Ordering::Acquire)).filter(|sent| *sent > 0);
        Health {
            position: self.shared.view.position(),
            lag: applied.map(|sent| now.saturating_sub(Duration::from_nanos(sent))),
            lease: self.shared.lease.until().and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero()),
            lease_age: self.lease_age(now),
            failure: self.rounds.borrow().failure.clone(),
        }
    }

    fn lease_age(&self, now: Duration) -> Option<Duration> {
        let life = Some(self.shared.terms.max_staleness).filter(|life| !life.is_zero())?;
        let granted = self.shared.lease.until()?.saturating_sub(life);
        Some(now.saturating_sub(granted))
    }

    /// Says that this process has committed a change, so that the next poll comes soon. Nothing depends on it.
    pub fn announce(&self) {
        self.shared.news.notify_one();
    }

    /// Tells of every poll that ends.
    #[must_use]
    pub fn rounds(&self) -> watch::Receiver<Round> {
        self.rounds.clone()
    }

    /// What is told from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<feed::News>> {
        self.shared.ring.subscribe()
    }

    /// What the view holds after a place.
    pub(super) fn since(&self, start: Option<Position>) -> Option<Since> {
        self.shared.view.since(start)
    }

    async fn may_judge(&self) -> bool {
        if self.shared.terms.max_staleness.is_zero() {
            return self.covered().await.is_ok();
        }
        if self.has_lease() || mutant::is(Mutant::Lease) {
            return true;
        }
        let failed = self.rounds.borrow().failure.is_some();
        (!failed && self.covered().await.is_ok()) || self.in_grace()
    }

    /// Whether the lease lapsed not long ago, and because of an outage.
    fn in_grace(&self) -> bool {
        let outage = self.rounds.borrow().failure.as_ref().is_some_and(Lost::is_outage);
        match self.shared.tenure() {
            Tenure::Valid => true,
            Tenure::Grace => outage,
            Tenure::Over => false,
        }
    }

    fn judge(&self, position: Position, digest: Digest, user: &UserId) -> Confirmed {
        match self.shared.view.judge(position, digest, user) {
            Standing::Current => Confirmed::Current,
            Standing::Outdated => Confirmed::Outdated,
            Standing::Unknown => Confirmed::Unproven,
        }
    }
}

// === impl Shared ===

impl<U: Uptime> Shared<U> {
    pub(super) fn new(terms: Terms, uptime: U) -> Self {
        Self {
            terms,
            uptime,
            view: View::default(),
            lease: Lease::default(),
            offset: AtomicI64::new(NO_TIME),
            applied: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            wake: Notify::new(),
            news: Notify::new(),
            silent: AtomicBool::new(false),
            ring: feed::ring(),
        }
    }

    /// Asks for a poll that begins after this call, and returns its number.
    pub(super) fn demand(&self) -> u64 {
        // A poll that has begun already may have been answered from before this call.
        let next = self.begun.load(Ordering::SeqCst) + 1;
        self.wanted.fetch_max(next, Ordering::SeqCst);
        self.wake.notify_one();
        next
    }

    /// Waits until somebody wants a poll that has not begun.
    pub(super) async fn demanded(&self) {
        while self.wanted.load(Ordering::SeqCst) <= self.begun.load(Ordering::SeqCst) {
            self.wake.notified().await;
        }
    }

    /// Numbers a poll, before it is sent.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Publishes a poll that was not yet sent at `sent`: the view first, the lease last.
    pub(super) fn publish(&self, poll: Poll, sent: Duration) {
        self.take_in(poll, sent);
        self.lease.grant(sent, self.terms.max_staleness);
    }

    /// As [`Self::publish`], without a lease.
    pub(super) fn take_in(&self, poll: Poll, sent: Duration) {
        let now = poll.now.timestamp_micros();
        self.view.apply(poll);
        let (most, least) = (now - micros(sent), now - micros(self.uptime.elapsed()));
        // As it was, where that can be right: tokens are listed in the order of their issue, and a time
        // that jumps back by what one poll took longer than another would put them out of it.
        let offset = match self.offset.load(Ordering::Acquire) {
            NO_TIME => most,
            known => known.clamp(least.min(most), most),
        };
        self.offset.store(offset, Ordering::Release);
        self.applied.store(u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Ends the lease, and grants none until [`Self::hear`].
    pub(super) fn fall_silent(&self) {
        self.silent.store(true, Ordering::Release);
        self.lease.withdraw();
    }

    /// Ends are recorded.
    pub(super) fn hear(&self) {
        self.silent.store(false, Ordering::Release);
    }

    /// Whether ends go unrecorded, as far as the last canary told.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }

    fn tenure(&self) -> Tenure {
        self.lease.tenure(self.uptime.elapsed(), self.terms.outage_grace)
    }
}

fn micros(uptime: Duration) -> i64 {
    i64::try_from(uptime.as_micros()).expect("uptimes end before 292,000 years")
}

fn micros_up(uptime: Duration) -> i64 {
    i64::try_from(uptime.as_nanos().div_ceil(1_000)).expect("uptimes end before 292,000 years")
}
