//! What becomes a record, and what becomes of records when the table does not take them.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{advance, sleep};

use super::*;
use crate::domain::{AuditTrail, Error, Lifetime, SetClock};

const SECOND: Duration = Duration::from_secs(1);

/// A table that can be away.
#[derive(Default)]
struct Kept {
    away: AtomicBool,
    /// It does not take records of `FlushCache`, nor what comes with one.
    picky: AtomicBool,
    records: Mutex<Vec<AuditRecord>>,
}

// === impl Kept ===

impl Kept {
    fn all(&self) -> Vec<AuditRecord> {
        self.records.lock().expect("not poisoned").clone()
    }
}

impl AuditTrail for Kept {
    async fn append(&self, records: Vec<AuditRecord>) -> Result<(), Error> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("it is away".into()));
        }
        let poisoned = records.iter().any(|record| record.event == AuditEvent::FlushCache);
        if poisoned && self.picky.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("a column is too narrow".into()));
        }
        self.records.lock().expect("not poisoned").extend(records);
        Ok(())
    }
}

fn start() -> (Arc<Kept>, Audit) {
    let (kept, counters) = (Arc::new(Kept::default()), Counters::new());
    let (queue, writer) = table(Arc::clone(&kept), counters.clone());
    tokio::spawn(writer.run());
    (kept, Audit::new(SetClock::at(chrono::DateTime::UNIX_EPOCH), counters, Some(queue)))
}

fn who(request_id: &str) -> Who {
    Who { caller: "admin".into(), request_id: request_id.to_owned(), ..Who::default() }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_one_record_with_what_was_told_of_it() {
    let (kept, audit) = start();
    let entry = audit.begin(AuditEvent::Revoke, who("r1"));
    let id: TokenId = "0123456789abcdef0123456789abcdef".parse().expect("a token_id");
    entry.subject().token(id);
    entry.subject().cause(RevocationCause::KeyCompromise);
    entry.end(Outcome::ok());
    drop(audit.begin(AuditEvent::FlushCache, who("r2")));
    audit.drain(SECOND).await;
    let records = kept.all();
    let what = What { token_id: Some(id), cause: Some(RevocationCause::KeyCompromise), ..What::default() };
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!((&records[0].who, &records[0].what, &records[0].outcome), (&who("r1"), &what, &Outcome::ok()));
    assert_eq!(records[1].outcome, Outcome::cancelled(), "nobody waits for it any more");
    assert_ne!(records[0].id, records[1].id);
    assert_eq!(audit.counters().records_written.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_request_id_that_seals_a_secret_is_not_recorded() {
    let (kept, audit) = start();
    let id = "6e3b1a52-1f5e-4c56-9c39-0d4d6f0c7a11";
    for (header, recorded) in [(id.to_owned(), ""), (id.to_uppercase(), ""), ("another".to_owned(), "another")] {
        let entry = audit.begin(AuditEvent::IssueToken, who(&header));
        entry.subject().issue(&IssueRequest {
            user: "ada".parse().expect("a user_id"),
            lifetime: Lifetime::Default,
            display_name: String::new(),
            scopes: Vec::new(),
            metadata: std::collections::BTreeMap::new(),
            issuer: None,
            request_id: Some(id.parse().expect("a UUID")),
        });
        assert!(!format!("{entry:?}").contains("Told"), "no debug text has it");
        entry.end(Outcome::ok());
        audit.drain(SECOND).await;
        assert_eq!(kept.all().last().expect("a record").who.request_id, recorded, "{header}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_waits_and_is_written_later() {
    let (kept, audit) = start();
    kept.away.store(true, Ordering::Relaxed);
    for _ in 0..200 {
        audit.begin(AuditEvent::IssueToken, who("")).end(Outcome::ok());
    }
    sleep(SECOND * 60).await;
    assert_eq!((kept.all().len(), audit.counters().records_written.get()), (0, 0));
    kept.away.store(false, Ordering::Relaxed);
    audit.drain(SECOND * 10).await;
    assert_eq!((kept.all().len(), audit.counters().records_written.get()), (200, 200));
    assert_eq!(audit.counters().records_dropped.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_finds_the_queue_full_and_what_a_drain_leaves_is_counted() {
    let (kept, audit) = start();
    kept.away.store(true, Ordering::Relaxed);
    for _ in 0..20_000 {
        audit.begin(AuditEvent::IssueToken, who("")).end(Outcome::ok());
    }
    let dropped = audit.counters().records_dropped.get();
    assert!((9_000..=10_000).contains(&dropped), "{dropped}");
    audit.drain(SECOND).await;
    assert_eq!(audit.counters().records_dropped.get(), 20_000, "what waits at the end is lost");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_table_refuses_holds_up_no_other_and_is_given_up() {
    let (kept, audit) = start();
    kept.picky.store(true, Ordering::Relaxed);
    audit.begin(AuditEvent::FlushCache, who("alone")).end(Outcome::ok());
    sleep(SECOND * 60).await;
    assert_eq!(audit.counters().records_dropped.get(), 0, "nothing shows that it is not the table");
    for round in 1..=4 {
        (0..60).for_each(|_| audit.begin(AuditEvent::Revoke, who("")).end(Outcome::ok()));
        sleep(SECOND * 10).await;
        assert_eq!(kept.all().len(), 60 * round, "the others are written");
    }
    assert_eq!(audit.counters().records_dropped.get(), 1, "it is counted");
    // One that was refused for a while only is not lost.
    audit.begin(AuditEvent::FlushCache, who("for a while")).end(Outcome::ok());
    audit.begin(AuditEvent::Revoke, who("")).end(Outcome::ok());
    sleep(SECOND).await;
    kept.picky.store(false, Ordering::Relaxed);
    audit.begin(AuditEvent::Revoke, who("")).end(Outcome::ok());
    audit.drain(SECOND).await;
    assert_eq!((kept.all().len(), audit.counters().records_written.get()), (243, 243));
    assert_eq!(audit.counters().records_dropped.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_and_is_recorded_although_nobody_waits_any_more() {
    let (kept, audit) = start();
    let change = |outcome: Outcome| async move {
        sleep(SECOND).await;
        outcome
    };
    let failed = Outcome { code: "UNAVAILABLE", reason: "STORE_UNAVAILABLE".to_owned() };
    for outcome in [Outcome::ok(), failed.clone()] {
        let told = audit.begin(AuditEvent::Revoke, who("waits")).carry_through(change(outcome.clone()), Outcome::clone);
        assert_eq!(told.await, Some(outcome.clone()));
        let untold = audit.begin(AuditEvent::Revoke, who("went")).carry_through(change(outcome), Outcome::clone);
        tokio::time::timeout(SECOND / 2, untold).await.expect_err("it takes longer");
    }
    // Nor does the end of the process come first.
    audit.drain(SECOND * 10).await;
    let outcomes: Vec<_> = kept.all().into_iter().map(|record| record.outcome).collect();
    let untold = Outcome { code: "OK", reason: "CALLER_NOT_TOLD".to_owned() };
    assert_eq!(outcomes, [Outcome::ok(), untold, failed.clone(), failed]);
}

#[tokio::test(start_paused = true)]
async fn refused_calls_that_have_no_record_are_told_of_without_another_call() {
    let (kept, audit) = start();
    tokio::spawn(audit.clone().run());
    for _ in 0..500 {
        audit.refused(Rejection::Unauthenticated, Source::Others, || (who("flood"), What::default()));
    }
    advance(SECOND * 3).await;
    let told = async || {
        while kept.all().len() < 11 {
            sleep(SECOND / 10).await;
        }
    };
    tokio::time::timeout(SECOND * 10, told()).await.expect("a record tells of the rest");
    let records = kept.all();
    assert!(records[..10].iter().all(|record| record.suppressed == 0 && record.who == who("flood")), "{records:?}");
    assert_eq!((records[10].suppressed, records[10].event), (490, AuditEvent::CallRefused));
}

#[test]
fn a_registry_takes_the_counters() {
    let (registry, counters) = (prometheus::Registry::new(), Counters::new());
    registry.register(Box::new(counters.clone())).expect("no name stands twice");
    counters.dropped(1);
    assert_eq!(registry.gather().len(), 2);
}
