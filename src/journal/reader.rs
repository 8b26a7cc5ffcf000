//! The task that polls: one poll at a time, every interval and at once on demand; sooner
//! when the journal says that it changed, or this process has changed something.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    select,
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
};

use super::{
    Terms,
    canary::Canaries,
    feed::Announcer,
    handle::{Handle, Lost, Round, Shared},
    lease::{Boottime, Uptime},
};
use crate::{
    domain::{Error, Journal, Poll, Role, Triggers},
    mutant::{self, Mutant},
};

/// The longest that a poll may take; a shorter `max_staleness` makes it half of that.
const POLL_DEADLINE: Duration = Duration::from_millis(250);
/// Time between two looks at the triggers.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// The longest that numbering and purging may take. Nothing waits for them.
pub(super) const CHORE_DEADLINE: Duration = Duration::from_secs(5);
/// The least time between two polls where the second is due to a change: a storm of them wears nobody out.
const BREATH: Duration = Duration::from_millis(5);
/// Time between two purges.
const PURGE_EVERY: Duration = Duration::from_mins(1);
/// Records that a purge leaves. Each replica holds them in memory.
const RETAINED: u64 = 65_536;

/// Keeps the view and the lease up to date while [`Self::run`] runs.
#[derive(Debug)]
pub struct Reader<J, U = Boottime> {
    polls: Polls<J, U>,
    chores: Chores<J, U>,
    canaries: Canaries<J, U>,
}

#[derive(Debug)]
struct Polls<J, U> {
    journal: Arc<J>,
    shared: Arc<Shared<U>>,
    rounds: watch::Sender<Round>,
    calls: Calls,
    check: Check,
    announcer: Announcer,
    /// Changes went unrecorded, and facts from before are not yet distrusted for it.
    unrecorded: bool,
}

/// When the triggers were last looked at, and what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Never.
    Undone,
    /// They were there.
    Passed(Instant),
    /// Some were missing.
    Failed,
}

/// What the journal needs beside being read. Polls do not wait for it.
#[derive(Debug)]
struct Chores<J, U> {
    journal: Arc<J>,
    shared: Arc<Shared<U>>,
    calls: Calls,
}

/// What polls found to be done.
#[derive(Clone, Debug, Default)]
struct Calls {
    /// There are records without a number.
    pending: Arc<Notify>,
    /// No fact passes before the next record has its number.
    shut: Arc<Notify>,
    /// Triggers that were missing are back.
    repaired: Arc<Notify>,
}

pub(super) fn new<J: Journal, U: Uptime>(journal: Arc<J>, terms: Terms, uptime: U) -> (Reader<J, U>, Handle<U>) {
    let shared = Arc::new(Shared::new(terms, uptime));
    let calls = Calls::default();
    let (rounds, ended) = watch::channel(Round::default());
    let chores = Chores { journal: Arc::clone(&journal), shared: Arc::clone(&shared), calls: calls.clone() };
    let canaries = Canaries::new(Arc::clone(&journal), Arc::clone(&shared), ended.clone(), Arc::clone(&calls.repaired));
    let announcer = Announcer::new(shared.ring.clone());
    let polls = Polls {
        journal,
        shared: Arc::clone(&shared),
        rounds,
        calls,
        check: Check::Undone,
        announcer,
        unrecorded: false,
    };
    (Reader { polls, chores, canaries }, Handle::new(shared, ended))
}

// === impl Reader ===

impl<J: Journal, U: Uptime> Reader<J, U> {
    /// Reads for ever; run it in a task of its own, and drop it to stop.
    ///
    /// # Cancel safety
    /// Who waits for a poll when it is dropped is told [`Lost::Stopped`]. The lease lapses.
    pub async fn run(self) {
        select! {
            () = self.polls.run() => {}
            () = self.chores.run() => {}
            () = self.canaries.run() => {}
        }
    }
}

// === impl Polls ===

impl<J: Journal, U: Uptime> Polls<J, U> {
    async fn run(mut self) {
        loop {
            let number = self.shared.begin();
            let failure = self.round().await.err();
            self.report(failure.as_ref());
            self.rounds.send_replace(Round { number, failure });
            select! {
                () = sleep(self.shared.terms.poll_interval) => {}
                () = self.shared.demanded() => {}
                () = self.changed() => {}
            }
        }
    }

    async fn changed(&self) {
        let earliest = Instant::now() + BREATH;
        select! {
            () = self.journal.changed() => {}
            () = self.shared.news.notified() => {}
        }
        sleep_until(earliest).await;
    }

    /// Polls, and publishes what can be relied on.
    async fn round(&mut self) -> Result<(), Lost> {
        let outcome = match self.reliable().await {
            Ok((poll, sent)) => self.publish(poll, sent),
            Err(lost) => Err(lost),
        };
        if outcome.as_ref().is_err_and(|lost| !lost.is_outage()) {
            self.shared.lease.withdraw();
        }
        outcome
    }

    /// A poll that a lease may be granted on, and when it had not been sent yet.
    async fn reliable(&mut self) -> Result<(Poll, Duration), Lost> {
        if self.check_is_due() {
            self.look_at_triggers().await?;
        }
        let known = self.shared.view.position();
        let sent = self.shared.uptime.elapsed();
        let poll = within(self.deadline(), self.journal.poll(known)).await?;
        if poll.role == Role::Replica {
            return Err(Lost::Replica);
        }
        match known {
            Some(known) if known.epoch == poll.position.epoch => not_rewound(known.seq, poll.position.seq)?,
            Some(_) => self.look_at_triggers().await?,
            None => {}
        }
        Ok((poll, sent))
    }

    /// The view takes a poll in even while there is no lease: it may hold a canary.
    fn publish(&mut self, mut poll: Poll, sent: Duration) -> Result<(), Lost> {
        if poll.records.iter().any(|record| record.seq.is_none()) {
            self.calls.pending.notify_one();
        }
        if self.shared.is_silent() && !mutant::is(Mutant::Trigger) {
            self.unrecorded = true;
            self.shared.take_in(poll, sent);
            return Err(Lost::Unrecorded);
        }
        if self.unrecorded {
            // Any fact from before this poll may be outdated by what went unrecorded.
            poll.floor = poll.position.seq + 1;
        }
        let news = self.announcer.news(&poll);
        self.shared.publish(poll, sent);
        // After the view: who is told of an end may ask for an answer that reflects it.
        if let Some(news) = news {
            self.announcer.tell(news);
        }
        self.unrecorded = false;
        if self.shared.view.is_shut() {
            self.calls.shut.notify_one();
        }
        Ok(())
    }

    fn check_is_due(&self) -> bool {
        match self.check {
            Check::Undone | Check::Failed => true,
            Check::Passed(at) => at.elapsed() >= CHECK_EVERY,
        }
    }

    async fn look_at_triggers(&mut self) -> Result<(), Lost> {
        match within(POLL_DEADLINE, self.journal.intact()).await? {
            Triggers::Enabled => {
                if self.check == Check::Failed {
                    self.calls.repaired.notify_one();
                }
                self.check = Check::Passed(Instant::now());
                Ok(())
            }
            Triggers::Missing(_) if mutant::is(Mutant::Trigger) => Ok(()),
            Triggers::Missing(which) => {
                self.check = Check::Failed;
                self.unrecorded = true;
                Err(Lost::Untriggered(which.into()))
            }
        }
    }

    fn deadline(&self) -> Duration {
        let staleness = self.shared.terms.max_staleness;
        if staleness.is_zero() { POLL_DEADLINE } else { POLL_DEADLINE.min(staleness / 2) }
    }

    /// Logs a change for the worse or the better, not every poll.
    fn report(&self, failure: Option<&Lost>) {
        let before = &*self.rounds.borrow();
        match (&before.failure, failure) {
            (None, Some(lost)) => tracing::warn!(error = lost as &dyn std::error::Error, "the journal is not read"),
            (Some(_), None) => tracing::info!("the journal is read again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

/// No database takes numbers back that it has given, except one that was restored.
fn not_rewound(known: u64, found: u64) -> Result<(), Lost> {
    if found < known { Err(Lost::Rewound { known, found }) } else { Ok(()) }
}

pub(super) async fn within<T>(limit: Duration, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Lost> {
    match timeout(limit, asked).await {
        Ok(answer) => answer.map_err(|error| Lost::Failed(Arc::new(error))),
        Err(_) => Err(Lost::Late(limit)),
    }
}

// === impl Chores ===

impl<J: Journal, U: Uptime> Chores<J, U> {
    async fn run(self) {
        let mut purge = interval_at(Instant::now() + PURGE_EVERY, PURGE_EVERY);
        purge.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                () = self.calls.pending.notified() => self.sequence().await,
                () = self.calls.shut.notified() => self.reopen().await,
                _ = purge.tick() => self.purge().await,
            }
        }
    }

    async fn sequence(&self) {
        match within(CHORE_DEADLINE, self.journal.sequence()).await {
            // Another replica was faster, or nothing could be done: no reason to hurry.
            Ok(0) => {}
            // The view learns the numbers from the next poll.
            Ok(_) => drop(self.shared.demand()),
            Err(error) => tracing::debug!(%error, "records of the journal were not numbered"),
        }
    }

    /// What went unrecorded may have ended anything, and the other replicas may not have noticed: so
    /// everything is said to have ended. The number of that record opens the view again.
    async fn reopen(&self) {
        if !self.shared.view.is_shut() {
            return;
        }
        match within(CHORE_DEADLINE, self.journal.note_everything()).await {
            Ok(()) => drop(self.shared.demand()),
            Err(error) => tracing::debug!(%error, "that everything has ended was not recorded"),
        }
    }

    async fn purge(&self) {
        if let Err(error) = within(CHORE_DEADLINE, self.journal.purge(RETAINED)).await {
            tracing::debug!(%error, "the journal was not purged");
        }
    }
}
