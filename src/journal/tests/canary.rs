//! Canaries: a lost one ends the lease until another comes back.

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
/// What a canary has to come back, and a little.
const RETURN: Duration = Duration::from_millis(5_200);

fn fly(bench: &Bench, flight: Flight) {
    bench.ledger.lock().flight = flight;
}

fn canaries(bench: &Bench) -> u64 {
    bench.ledger.lock().canaries
}

/// Waits until a canary was released after this.
async fn released(bench: &Bench) {
    let before = canaries(bench);
    while canaries(bench) == before {
        sleep(MS).await;
    }
}

/// A reader that knows its last canary to be lost.
async fn silent() -> Bench {
    let bench = Bench::leased();
    fly(&bench, Flight::Lost);
    released(&bench).await;
    sleep(RETURN).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn one_flies_every_minute_and_one_that_comes_back_changes_nothing() {
    let bench = Bench::leased();
    fly(&bench, Flight::Returns);
    sleep(10 * MINUTE + MINUTE / 2).await;
    assert!((9..=11).contains(&canaries(&bench)), "{}", canaries(&bench));
    let health = bench.handle.health();
    assert!(health.failure.is_none() && health.lease.is_some(), "{health:?}");
    assert_eq!(bench.ledger.lock().everything, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_one_ends_the_lease_after_its_time_and_polls_go_on() {
    let bench = Bench::leased();
    fly(&bench, Flight::Lost);
    released(&bench).await;
    sleep(Duration::from_millis(4_900)).await;
    assert_eq!(bench.confirm().await, Confirmed::Current, "it may still come back");
    sleep(RETURN.saturating_sub(Duration::from_millis(4_900))).await;
    let health = bench.handle.health();
    assert!(matches!(health.failure, Some(Lost::Unrecorded)), "{health:?}");
    assert_eq!(health.lease, None);
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
    let before = bench.polls();
    sleep(10 * INTERVAL).await;
    assert!(bench.polls() >= before + 9);
    bench.link(Link::Refused);
    bench.polled().await.expect_err("refused");
    assert_eq!(bench.confirm().await, Confirmed::Unproven, "no grace either");
}

#[tokio::test(start_paused = true)]
async fn strict_questions_are_not_answered_from_a_silent_journal() {
    let bench = Bench::strict();
    fly(&bench, Flight::Lost);
    released(&bench).await;
    sleep(RETURN).await;
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
}

#[tokio::test(start_paused = true)]
async fn the_next_one_that_comes_back_restores_the_lease_but_no_fact_from_before() {
    let bench = silent().await;
    fly(&bench, Flight::Returns);
    released(&bench).await;
    sleep(2 * INTERVAL).await;
    let health = bench.handle.health();
    assert!(health.failure.is_none() && health.lease.is_some(), "{health:?}");
    assert_ne!(bench.confirm().await, Confirmed::Current, "what ended it may not have been recorded");
    let position = health.position.expect("known");
    assert_eq!(bench.handle.confirm(position, digest(1), &user("ada")).await, Confirmed::Current);
    assert_eq!(bench.ledger.lock().everything, 1);
}

#[tokio::test(start_paused = true)]
async fn while_one_is_lost_they_fly_more_often() {
    let bench = silent().await;
    let before = canaries(&bench);
    sleep(MINUTE).await;
    assert!(canaries(&bench) >= before + 5);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_no_verdict() {
    let bench = Bench::leased();
    fly(&bench, Flight::Severed);
    released(&bench).await;
    sleep(10 * RETURN).await;
    let health = bench.handle.health();
    assert!(matches!(health.failure, Some(Lost::Failed(_))), "{health:?}");
    bench.link(Link::Up);
    bench.polled().await.expect("it came back, and nothing was held against it");
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_meanwhile_is_no_verdict() {
    let bench = Bench::leased();
    fly(&bench, Flight::Lost);
    released(&bench).await;
    bench.ledger.lock().whole.position = at(2, 3);
    sleep(RETURN).await;
    assert!(bench.handle.health().failure.is_none());
}

/// Such a record may stand for more than one poll tells.
#[tokio::test(start_paused = true)]
async fn one_behind_a_record_of_everything_is_no_verdict_and_another_follows() {
    let bench = Bench::leased();
    fly(&bench, Flight::Lost);
    released(&bench).await;
    bench.ledger.note_everything().await.expect("noted");
    sleep(RETURN).await;
    assert!(bench.handle.health().failure.is_none());
    released(&bench).await;
    sleep(RETURN).await;
    assert!(matches!(bench.handle.health().failure, Some(Lost::Unrecorded)));
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_user_there_is_no_verdict() {
    let bench = Bench::leased();
    sleep(2 * MINUTE).await;
    assert!(canaries(&bench) > 0);
    assert!(bench.handle.health().failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn one_flies_as_soon_as_missing_triggers_are_back() {
    let bench = Bench::leased();
    bench.ledger.lock().triggers = Triggers::Missing("tokenward_user".to_owned());
    bench.polled().await.expect_err("missing");
    let before = canaries(&bench);
    bench.ledger.lock().triggers = Triggers::Enabled;
    bench.polled().await.expect("a good poll");
    settle().await;
    assert_eq!(canaries(&bench), before + 1);
}
