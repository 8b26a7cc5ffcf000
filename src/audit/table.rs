//! Records for a table: queued in memory, and written behind in batches.
//!
//! A database that does not answer is tried again for as long as it takes. Meanwhile the queue fills up; what finds
//! it full is counted and logged as lost, since nobody's call waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::Counters;
use crate::domain::{AuditRecord, AuditTrail, Error};

/// Records that wait to be written.
const QUEUE: usize = 10_000;
/// Records in one write.
const BATCH: usize = 50;
/// First and longest pause before a write is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where records for the table are put.
#[derive(Debug)]
pub struct Table {
    queue: mpsc::Sender<AuditRecord>,
    shared: Arc<Shared>,
}

/// What brings them into the table.
#[derive(Debug)]
pub struct Writer<T> {
    trail: Arc<T>,
    queue: mpsc::Receiver<AuditRecord>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    counters: Counters,
    /// Queued, and not known to be in the table.
    unwritten: watch::Sender<usize>,
    /// Lost, and not told of yet.
    lost: AtomicU64,
}

/// A queue, and what empties it into `trail`.
pub fn table<T: AuditTrail>(trail: Arc<T>, counters: Counters) -> (Table, Writer<T>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let shared = Arc::new(Shared { counters, unwritten: watch::Sender::new(0), lost: AtomicU64::new(0) });
    (Table { queue: sender, shared: Arc::clone(&shared) }, Writer { trail, queue: receiver, shared })
}

// === impl Table ===

impl Table {
    /// Never waits.
    pub(super) fn push(&self, record: AuditRecord) {
        self.shared.unwritten.send_modify(|count| *count += 1);
        if self.queue.try_send(record).is_err() {
            self.shared.done(1);
            self.shared.lose(1);
        }
    }

    pub(super) async fn drain(&self, limit: Duration) {
        let mut unwritten = self.shared.unwritten.subscribe();
        if timeout(limit, unwritten.wait_for(|count| *count == 0)).await.is_err() {
            let count = *self.shared.unwritten.borrow();
            self.shared.lose(u64::try_from(count).unwrap_or(u64::MAX));
        }
        self.shared.report();
    }
}

// === impl Writer ===

impl<T: AuditTrail> Writer<T> {
    /// Writes for ever. Run it in a task of its own.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if self.queue.recv_many(&mut batch, BATCH).await == 0 {
                return std::future::pending().await;
            }
            self.append(&batch).await;
            self.shared.counters.written(batch.len());
            self.shared.done(batch.len());
            self.shared.report();
            batch.clear();
        }
    }

    async fn append(&self, batch: &[AuditRecord]) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.trail.append(batch.to_vec()).await {
            self.shared.report();
            if pause == FIRST_PAUSE {
                warn(&error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if pause > FIRST_PAUSE {
            tracing::info!(target: "tokenward", "the audit table can be written again");
        }
    }
}

fn warn(error: &Error) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(target: "tokenward", error, "the audit table cannot be written: records wait in memory");
}

// === impl Shared ===

impl Shared {
    fn done(&self, count: usize) {
        self.unwritten.send_modify(|unwritten| *unwritten -= count);
    }

    fn lose(&self, count: u64) {
        self.counters.dropped(count);
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Not more often than a write is tried.
    fn report(&self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::error!(target: "tokenward", lost, "audit records are not in the table: it could not take them");
        }
    }
}
