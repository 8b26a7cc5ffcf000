//! Records for a table: queued in memory, and written behind in batches.
//!
//! A database that does not answer is tried again for as long as it takes. Meanwhile the queue fills up; what finds
//! it full is counted and logged as lost, since nobody's call waits for it. A record that the table does not take while
//! it takes others is put aside, tried again after each of the next writes, and given up after three of them: nothing
//! behind it waits. (That others are taken is how it is told from a table that is away, full or read-only.)

use std::{
    mem,
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
/// Records that fail before any other is tried: then the table is away.
const AWAY: usize = 3;
/// Writes of others after each of which a record that is put aside fails, before it is given up; and most of those.
const STRIKES: u32 = 3;
const ASIDE: usize = 100;
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
    /// Records that failed while others were written, and how often since.
    aside: Vec<(AuditRecord, u32)>,
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
    (Table { queue: sender, shared: Arc::clone(&shared) }, Writer { trail, queue: receiver, shared, aside: Vec::new() })
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

    /// Waits until there is room for as many as there may be waiting, at most so long.
    pub(super) async fn room(&self, limit: Duration) {
        let mut unwritten = self.shared.unwritten.subscribe();
        let _full = timeout(limit, unwritten.wait_for(|count| *count <= QUEUE / 2)).await;
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
            self.append(&mut batch).await;
            self.try_aside().await;
            self.shared.report();
        }
    }

    /// Writes them, or puts those aside that keep the others from being written.
    async fn append(&mut self, batch: &mut Vec<AuditRecord>) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.write(batch).await {
            self.shared.report();
            if pause == FIRST_PAUSE {
                warn(&error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.write_one_by_one(batch).await;
            // What came meanwhile tells whether it is the table.
            while batch.len() < BATCH
                && let Ok(record) = self.queue.try_recv()
            {
                batch.push(record);
            }
        }
        if pause > FIRST_PAUSE {
            tracing::info!(target: "tokenward", "the audit table can be written again");
        }
    }

    async fn write(&self, batch: &mut Vec<AuditRecord>) -> Result<(), Error> {
        if !batch.is_empty() {
            self.trail.append(batch.clone()).await?;
        }
        self.shared.wrote(batch.len());
        batch.clear();
        Ok(())
    }

    /// Leaves those that failed, unless others did not; what was not tried comes first next time.
    async fn write_one_by_one(&mut self, batch: &mut Vec<AuditRecord>) {
        let (mut written, mut failed, mut rest) = (0, Vec::new(), mem::take(batch).into_iter());
        for record in rest.by_ref() {
            match self.trail.append(vec![record.clone()]).await {
                Ok(()) => written += 1,
                Err(_) => failed.push(record),
            }
            if written == 0 && failed.len() == AWAY {
                break;
            }
        }
        batch.extend(rest);
        self.shared.wrote(written);
        if written == 0 {
            batch.append(&mut failed);
        }
        self.aside.extend(failed.into_iter().map(|record| (record, 0)));
    }

    /// Others have just been written.
    async fn try_aside(&mut self) {
        for (record, strikes) in mem::take(&mut self.aside) {
            match self.trail.append(vec![record.clone()]).await {
                Ok(()) => self.shared.wrote(1),
                Err(error) if strikes + 1 >= STRIKES || self.aside.len() >= ASIDE => {
                    self.shared.refuse(&record, &error);
                }
                Err(_) => self.aside.push((record, strikes + 1)),
            }
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

    fn wrote(&self, count: usize) {
        self.counters.written(count);
        self.done(count);
    }

    /// The table takes others, and never this one.
    fn refuse(&self, record: &AuditRecord, error: &Error) {
        let (event, id, error) = (record.event.name(), record.id, error as &dyn std::error::Error);
        tracing::error!(target: "tokenward", event, %id, error, "the audit table refuses a record: it is in the log alone");
        self.counters.dropped(1);
        self.done(1);
    }

    /// Not more often than a write is tried.
    fn report(&self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::error!(target: "tokenward", lost, "audit records are not in the table: it could not take them");
        }
    }
}
