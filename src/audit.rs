//! The audit trail: one record for each call that changes something, and for calls that were not let through.
//!
//! A record goes to the log at once (target `tokenward::audit`), and where the deployment has a table for them into a
//! queue that is written behind ([`Table`]). Nothing that a caller waits for waits for a record.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tracing::Instrument as _;
use uuid::{Builder, Uuid};

use crate::{
    domain::{
        AuditEvent, AuditRecord, Clock, IssueRequest, Outcome, Replaced, Replacement, Revocation, RevocationCause,
        Timestamp, TokenId, UserChange, UserId, What, Who,
    },
    request::carried,
};

mod counters;
mod log;
mod refusals;
mod table;

pub use counters::Counters;
pub use refusals::{Peer, Rejection, Source};
pub use table::{Table, Writer, table};

use refusals::{Kind, Refusals};

/// Time between two looks for refused calls of which no record tells yet.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where records are made. A clone makes them in the same place.
#[derive(Clone)]
pub struct Audit(Arc<Inner>);

struct Inner {
    /// Erased, so that not everything that a request passes has to know the clock's type.
    clock: Box<dyn Clock>,
    counters: Counters,
    refusals: Refusals,
    /// Calls whose record is still to be made.
    open: TaskTracker,
    table: Option<Table>,
}

/// A call that is under way. When it is dropped, nobody waits for its end any more.
#[derive(Debug)]
pub struct Entry {
    audit: Audit,
    event: AuditEvent,
    /// `None` once the record is made.
    who: Option<Who>,
    subject: Subject,
    _open: TaskTrackerToken,
}

/// What a call is about, to be told as it becomes known.
#[derive(Clone, Default)]
pub struct Subject(Arc<Mutex<Told>>);

#[derive(Clone, Default)]
struct Told {
    what: What,
    /// A secret of the call, which is not recorded where it is the call's `x-request-id` too.
    request_id: Option<Uuid>,
}

// === impl Audit ===

impl Audit {
    /// Records are logged, and put into `table` where there is one.
    pub fn new(clock: impl Clock, counters: Counters, table: Option<Table>) -> Self {
        let (refusals, open) = (Refusals::default(), TaskTracker::new());
        Self(Arc::new(Inner { clock: Box::new(clock), counters, refusals, open, table }))
    }

    /// What is counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Begins the record of a call.
    #[must_use]
    pub fn begin(&self, event: AuditEvent, who: Who) -> Entry {
        let audit = self.clone();
        Entry { _open: audit.0.open.token(), audit, event, who: Some(who), subject: Subject::default() }
    }

    /// Records a call that was not let through, unless there were many of the kind: then it is counted, and the next
    /// record says how many there were.
    pub fn refused(&self, rejection: Rejection, source: Source, call: impl FnOnce() -> (Who, What)) {
        if let Some(suppressed) = self.0.refusals.admit(rejection, source) {
            let (who, what) = call();
            self.record(AuditEvent::CallRefused, who, what, rejection.outcome(), suppressed);
        }
    }

    /// Tells of refused calls when none follows whose record could. Run it in a task of its own.
    pub async fn run(self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            self.tell(self.0.refusals.due());
        }
    }

    /// Waits, for at most so long, while there are many records that the table has not got. For who makes many in a row.
    pub async fn keep_up(&self, limit: Duration) {
        if let Some(table) = &self.0.table {
            table.room(limit).await;
        }
    }

    /// Makes every record there is to make, and waits until the table has them, for at most so long each. What it has
    /// not got then is counted and logged as lost.
    pub async fn drain(&self, limit: Duration) {
        self.0.open.close();
        if timeout(limit, self.0.open.wait()).await.is_err() {
            tracing::debug!("calls are still under way");
        }
        self.tell(self.0.refusals.all());
        if let Some(table) = &self.0.table {
            table.drain(limit).await;
        }
    }

    fn tell(&self, suppressed: Vec<(Kind, u64)>) {
        for (Kind { rejection, source }, count) in suppressed {
            let who = match source {
                Source::Caller(caller) => Who { caller, ..Who::default() },
                Source::Peer(peer) => Who { peer: peer.to_string(), ..Who::default() },
                Source::Others => Who::default(),
            };
            self.record(AuditEvent::CallRefused, who, What::default(), rejection.outcome(), count);
        }
    }

    fn record(&self, event: AuditEvent, who: Who, what: What, outcome: Outcome, suppressed: u64) {
        let time = self.0.clock.now();
        let record = AuditRecord { id: name(time), time, event, who, what, outcome, suppressed };
        log::log(&record);
        if let Some(table) = &self.0.table {
            table.push(record);
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("table", &self.0.table.is_some()).finish_non_exhaustive()
    }
}

fn name(time: Timestamp) -> Uuid {
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or_default();
    Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

// === impl Entry ===

impl Entry {
    /// To be told what the call is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.subject.clone()
    }

    /// Runs a change to its end in a task of its own, whoever waits for it, and records how it ended. One that was done
    /// when nobody waited any more is recorded as that. `None` when it was abandoned.
    ///
    /// # Cancel safety
    /// Once polled, the change runs to its end and is recorded whether or not the future is dropped.
    pub async fn carry_through<T: Send + 'static>(
        self,
        change: impl Future<Output = T> + Send + 'static,
        outcome: fn(&T) -> Outcome,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        tokio::spawn(carried(
            async move {
                let done = change.await;
                let outcome = outcome(&done);
                self.end(if tell.is_closed() { outcome.untold() } else { outcome });
                let _nobody_waits = tell.send(done);
            }
            .in_current_span(),
        ));
        told.await.ok()
    }

    /// Makes the record.
    pub fn end(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        let Some(mut who) = self.who.take() else { return };
        let Told { what, request_id } = self.subject.told();
        if request_id.is_some() && Uuid::try_parse(&who.request_id).ok() == request_id {
            who.request_id.clear();
        }
        self.audit.record(self.event, who, what, outcome, 0);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.finish(Outcome::cancelled());
    }
}

// === impl Subject ===

impl Subject {
    /// A token.
    pub fn token(&self, id: TokenId) {
        self.tell(|told| told.what.token_id = Some(id));
    }

    /// An owner.
    pub fn user(&self, id: &UserId) {
        self.tell(|told| told.what.user_id = Some(id.clone()));
    }

    /// A token that is to be issued. Its `request_id`, under which the secret is sealed, is kept out of the record.
    pub fn issue(&self, request: &IssueRequest) {
        self.user(&request.user);
        self.tell(|told| told.request_id = request.request_id);
    }

    /// A user that is to be made or changed.
    pub fn change(&self, change: &UserChange) {
        self.user(&change.id);
        self.tell(|told| told.what.user_active = change.active);
    }

    /// Why tokens are to end.
    pub fn cause(&self, cause: RevocationCause) {
        self.tell(|told| told.what.cause = Some(cause));
    }

    /// How many have ended, and whose the one was.
    pub fn revoked(&self, revocation: &Revocation) {
        self.tell(|told| told.what.revoked = Some(revocation.count));
        revocation.owner.iter().for_each(|owner| self.user(owner));
    }

    /// A token that is to be replaced; its `request_id` is as an issue's.
    pub fn replace(&self, replacement: &Replacement) {
        self.token(replacement.token);
        self.tell(|told| told.request_id = replacement.request_id);
    }

    /// What replaces it.
    pub fn replaced(&self, replaced: &Replaced) {
        self.user(&replaced.successor.user.id);
        self.tell(|told| told.what.successor = Some(replaced.successor.digest.token_id()));
        self.revoked(&replaced.revocation);
    }

    fn tell(&self, more: impl FnOnce(&mut Told)) {
        more(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn told(&self) -> Told {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subject").field(&self.told().what).finish()
    }
}

#[cfg(test)]
mod tests;
