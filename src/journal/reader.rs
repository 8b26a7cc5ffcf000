//! The task that polls: one poll at a time, every interval and at once on demand.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    select,
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{
    Terms,
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
const CHORE_DEADLINE: Duration = Duration::from_secs(5);
/// Time between two purges.
const PURGE_EVERY: Duration = Duration::from_mins(1);
/// Records that a purge leaves. Each replica holds them in memory.
const RETAINED: u64 = 65_536;

/// Keeps the view and the lease up to date while [`Self::run`] runs.
#[derive(Debug)]
pub struct Reader<J, U = Boottime> {
    polls: Polls<J, U>,
    chores: Chores<J, U>,
}

#[derive(Debug)]
struct Polls<J, U> {
    journal: Arc<J>,
    shared: Arc<Shared<U>>,
    rounds: watch::Sender<Round>,
    pending: Arc<Notify>,
    check: Check,
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
    pending: Arc<Notify>,
}

pub(super) fn new<J: Journal, U: Uptime>(journal: Arc<J>, terms: Terms, uptime: U) -> (Reader<J, U>, Handle<U>) {
    let shared = Arc::new(Shared::new(terms, uptime));
    let pending = Arc::new(Notify::new());
    let (rounds, ended) = watch::channel(Round::default());
    let chores = Chores { journal: Arc::clone(&journal), shared: Arc::clone(&shared), pending: Arc::clone(&pending) };
    let polls =
        Polls { journal, shared: Arc::clone(&shared), rounds, pending, check: Check::Undone, unrecorded: false };
    (Reader { polls, chores }, Handle::new(shared, ended))
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
            let demanded = timeout(self.shared.terms.poll_interval, self.shared.demanded()).await;
            drop(demanded);
        }
    }

    /// Polls, and publishes what can be relied on.
    async fn round(&mut self) -> Result<(), Lost> {
        let outcome = self.reliable().await.map(|(poll, sent)| {
            if poll.records.iter().any(|record| record.seq.is_none()) {
                self.pending.notify_one();
            }
            self.shared.publish(poll, sent);
            self.unrecorded = false;
        });
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
        let mut poll = within(self.deadline(), self.journal.poll(known)).await?;
        if poll.role == Role::Replica {
            return Err(Lost::Replica);
        }
        match known {
            Some(known) if known.epoch == poll.position.epoch => not_rewound(known.seq, poll.position.seq)?,
            Some(_) => self.look_at_triggers().await?,
            None => {}
        }
        if self.unrecorded {
            // Any fact from before this poll may be outdated by what went unrecorded.
            poll.floor = poll.position.seq + 1;
        }
        Ok((poll, sent))
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

async fn within<T>(limit: Duration, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Lost> {
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
                () = self.pending.notified() => self.sequence().await,
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

    async fn purge(&self) {
        if let Err(error) = within(CHORE_DEADLINE, self.journal.purge(RETAINED)).await {
            tracing::debug!(%error, "the journal was not purged");
        }
    }
}
