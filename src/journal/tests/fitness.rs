//! What a poll must be for a lease, and what the reader does beside polling.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_replica_gives_no_lease_and_is_not_believed() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.ledger.lock().whole.role = Role::Replica;
    assert!(matches!(bench.polled().await, Err(Lost::Replica)));
    assert_eq!(bench.handle.health().lease, None, "not even the old one");
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
    bench.link(Link::Refused);
    bench.polled().await.expect_err("refused");
    assert_eq!(bench.confirm().await, Confirmed::Unproven, "no grace either");
    bench.link(Link::Up);
    bench.ledger.lock().whole.role = Role::Primary;
    bench.polled().await.expect("a good poll");
    assert_eq!(bench.confirm().await, Confirmed::Current);
}

#[tokio::test(start_paused = true)]
async fn missing_triggers_are_found_within_seconds_and_give_no_lease() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.ledger.lock().triggers = Triggers::Missing("tokenward_user".to_owned());
    sleep(Duration::from_secs(10) + 2 * INTERVAL).await;
    let health = bench.handle.health();
    assert!(matches!(health.failure, Some(Lost::Untriggered(_))), "{health:?}");
    assert_eq!(health.lease, None);
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
}

#[tokio::test(start_paused = true)]
async fn facts_from_before_missing_triggers_were_found_are_proved_again() {
    let bench = Bench::leased();
    bench.ledger.lock().triggers = Triggers::Missing("tokenward_user".to_owned());
    bench.polled().await.expect_err("missing");
    bench.ledger.lock().triggers = Triggers::Enabled;
    bench.polled().await.expect("a good poll");
    assert_ne!(bench.confirm().await, Confirmed::Current, "what ended it may not have been recorded");
    let later = bench.handle.confirm(at(1, 10), digest(1), &user("ada")).await;
    assert_eq!(later, Confirmed::Current);
}

#[tokio::test(start_paused = true)]
async fn after_missing_triggers_facts_are_believed_again_without_another_write() {
    let bench = Bench::leased();
    bench.ledger.lock().triggers = Triggers::Missing("tokenward_user".to_owned());
    bench.polled().await.expect_err("missing");
    bench.ledger.lock().triggers = Triggers::Enabled;
    bench.link(Link::Refused);
    bench.polled().await.expect_err("refused");
    assert_eq!(bench.ledger.lock().everything, 0);
    bench.link(Link::Up);
    bench.polled().await.expect("a good poll");
    settle().await;
    let position = bench.handle.health().position.expect("known");
    assert_eq!(position, at(1, 10), "the next one, read again at once");
    assert_eq!(bench.handle.confirm(position, digest(1), &user("ada")).await, Confirmed::Current);
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
    sleep(10 * INTERVAL).await;
    assert_eq!(bench.ledger.lock().everything, 1, "once");
}

#[tokio::test(start_paused = true)]
async fn a_first_poll_needs_triggers_too() {
    let bench = Bench::leased();
    bench.ledger.lock().triggers = Triggers::Missing("tokenward_user".to_owned());
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
    assert!(matches!(bench.handle.health().failure, Some(Lost::Untriggered(_))));
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_begins_anew_and_is_checked() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    let checks = bench.ledger.lock().checks;
    bench.ledger.lock().whole = Poll { position: at(2, 3), ..poll(3) }.record(3, Ended::User(user("ada")));
    bench.polled().await.expect("a good poll");
    assert_eq!(bench.ledger.lock().checks, checks + 1);
    assert_eq!(bench.confirm().await, Confirmed::Unproven, "a fact of the old epoch");
    assert_eq!(bench.handle.confirm(at(2, 2), digest(1), &user("ada")).await, Confirmed::Outdated);
    assert_eq!(bench.handle.confirm(at(2, 3), digest(1), &user("ada")).await, Confirmed::Current);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_went_back_is_not_believed_until_a_new_epoch() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.ledger.lock().whole.position.seq = 8;
    assert!(matches!(bench.polled().await, Err(Lost::Rewound { known: 9, found: 8 })));
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
    bench.ledger.lock().whole.position = at(2, 8);
    bench.polled().await.expect("a good poll");
}

#[tokio::test(start_paused = true)]
async fn records_without_a_number_get_one_and_only_then_is_it_asked_for() {
    let bench = Bench::leased();
    sleep(10 * INTERVAL).await;
    assert_eq!(bench.ledger.lock().sequences, 0);
    bench.ledger.lock().whole.records.push(Record { seq: None, ended: Ended::Token(token(1)) });
    bench.polled().await.expect("a good poll");
    assert_eq!(bench.confirm().await, Confirmed::Outdated, "at once");
    settle().await;
    assert_eq!(bench.ledger.lock().sequences, 1);
    assert_eq!(bench.handle.health().position, Some(at(1, 10)), "read again at once");
    sleep(10 * INTERVAL).await;
    assert_eq!(bench.ledger.lock().sequences, 1);
}

#[tokio::test(start_paused = true)]
async fn the_journal_is_purged_every_minute() {
    let bench = Bench::leased();
    sleep(Duration::from_secs(150)).await;
    assert_eq!(bench.ledger.lock().purges, [65_536, 65_536]);
}
