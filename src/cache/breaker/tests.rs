use std::time::Duration;

use tokio::time::{self, Instant};

use super::*;

fn breaker() -> Breaker {
    Breaker::new(&config::Breaker::default())
}

fn fail(breaker: &Breaker, fault: Fault) {
    breaker.admit().expect("closed").failure(fault, &"test");
}

fn trip(breaker: &Breaker) {
    for _ in 0..3 {
        fail(breaker, Fault::Unanswered);
    }
    assert_eq!(breaker.status().state, BreakerState::Open);
}

/// Long enough for the first open time, whatever its jitter.
async fn until_probe_is_due() {
    time::advance(config::Breaker::default().open_max).await;
}

#[tokio::test(start_paused = true)]
async fn opens_at_the_failure_ratio_and_not_below_it() {
    let breaker = breaker();
    for _ in 0..11 {
        breaker.admit().expect("closed").success();
    }
    for _ in 0..10 {
        fail(&breaker, Fault::Unready);
    }
    assert_eq!(breaker.status().state, BreakerState::Closed, "10 of 21 is below one half");
    fail(&breaker, Fault::Unready);
    let status = breaker.status();
    assert_eq!(status.state, BreakerState::Open, "11 of 22 is one half");
    assert_eq!(status.opened_count, 1);
    assert_eq!(status.cause, "11 of 22 commands failed; the last: test");
}

#[tokio::test(start_paused = true)]
async fn the_ratio_says_nothing_below_the_minimum_sample() {
    let breaker = breaker();
    for _ in 0..19 {
        fail(&breaker, Fault::Unready);
    }
    assert_eq!(breaker.status().state, BreakerState::Closed);
    fail(&breaker, Fault::Unready);
    assert_eq!(breaker.status().state, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn failures_older_than_the_window_do_not_open_it() {
    let breaker = breaker();
    for _ in 0..19 {
        fail(&breaker, Fault::Unready);
    }
    time::advance(Duration::from_secs(11)).await;
    fail(&breaker, Fault::Unready);
    assert_eq!(breaker.status().state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn opens_at_three_unanswered_commands_in_a_row_whatever_the_ratio() {
    let breaker = breaker();
    for _ in 0..1000 {
        breaker.admit().expect("closed").success();
    }
    fail(&breaker, Fault::Unanswered);
    fail(&breaker, Fault::Unanswered);
    breaker.admit().expect("closed").success();
    fail(&breaker, Fault::Unanswered);
    fail(&breaker, Fault::Unanswered);
    assert_eq!(breaker.status().state, BreakerState::Closed, "an answer came between");
    fail(&breaker, Fault::Unanswered);
    assert_eq!(breaker.status().state, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_admitted_while_it_is_open() {
    let breaker = breaker();
    trip(&breaker);
    let until = match breaker.lock().state {
        State::Open(open) => open.until,
        _ => panic!("not open"),
    };
    while Instant::now() + Duration::from_millis(1) < until {
        assert!(breaker.admit().is_err());
        time::advance(Duration::from_millis(1)).await;
    }
    time::advance(Duration::from_millis(2)).await;
    drop(breaker.admit().expect("the probe is due"));
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_and_its_success_closes() {
    let breaker = breaker();
    trip(&breaker);
    until_probe_is_due().await;
    let probe = breaker.admit().expect("the probe is due");
    assert_eq!(breaker.status().state, BreakerState::HalfOpen);
    assert_eq!(breaker.admit().expect_err("a second probe"), Rejected);
    probe.success();
    assert_eq!(breaker.status().state, BreakerState::Closed);
    fail(&breaker, Fault::Unanswered);
    assert_eq!(breaker.status().state, BreakerState::Closed, "the count begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_again_and_is_not_counted_as_another_opening() {
    let breaker = breaker();
    trip(&breaker);
    until_probe_is_due().await;
    breaker.admit().expect("the probe is due").failure(Fault::Unready, &"LOADING");
    let status = breaker.status();
    assert_eq!((status.state, status.opened_count), (BreakerState::Open, 1));
    assert_eq!(status.cause, "the probe failed: LOADING");
}

#[tokio::test(start_paused = true)]
async fn the_latest_openings_and_closings_are_remembered_and_probes_that_failed_are_none() {
    let breaker = breaker();
    assert!(breaker.recent().is_empty(), "it began closed");
    for _ in 0..5 {
        trip(&breaker);
        for _ in 0..3 {
            until_probe_is_due().await;
            breaker.admit().expect("the probe is due").failure(Fault::Unready, &"LOADING");
        }
        until_probe_is_due().await;
        breaker.admit().expect("the probe is due").success();
    }
    let recent = breaker.recent();
    let states: Vec<_> = recent.iter().map(|turn| turn.state).collect();
    assert_eq!(states, [BreakerState::Open, BreakerState::Closed].repeat(RECENT / 2));
    assert_eq!(recent[6].cause, "the probe failed: LOADING", "the latest cause");
    let open_min = config::Breaker::default().open_min;
    assert!(recent[7].since - recent[6].since > 3 * open_min, "since it opened first");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_does_not_leak_its_slot() {
    let breaker = breaker();
    trip(&breaker);
    for _ in 0..100 {
        until_probe_is_due().await;
        drop(breaker.admit().expect("the slot is free again"));
        assert_eq!(breaker.status().state, BreakerState::Open);
    }
    until_probe_is_due().await;
    breaker.admit().expect("the slot is free again").success();
    assert_eq!(breaker.status().state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_permit_is_neutral_while_closed() {
    let breaker = breaker();
    for _ in 0..1000 {
        drop(breaker.admit().expect("closed"));
    }
    assert_eq!(breaker.status().state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_report_from_an_older_epoch_changes_nothing() {
    let breaker = breaker();
    let (late_success, late_failure, late_drop) =
        (breaker.admit().expect("closed"), breaker.admit().expect("closed"), breaker.admit().expect("closed"));
    trip(&breaker);
    until_probe_is_due().await;
    let probe = breaker.admit().expect("the probe is due");
    late_success.success();
    assert_eq!(breaker.status().state, BreakerState::HalfOpen, "a late success is not the probe's");
    late_failure.failure(Fault::Unanswered, &"late");
    drop(late_drop);
    assert_eq!(breaker.status().state, BreakerState::HalfOpen, "a late failure is not the probe's");
    probe.success();
    assert_eq!(breaker.status().state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn every_transition_reaches_a_watcher_in_order() {
    let breaker = breaker();
    let mut seen = breaker.watch();
    trip(&breaker);
    assert_eq!(seen.borrow_and_update().state, BreakerState::Open);
    until_probe_is_due().await;
    let probe = breaker.admit().expect("the probe is due");
    assert_eq!(seen.borrow_and_update().state, BreakerState::HalfOpen);
    probe.success();
    assert_eq!(seen.borrow_and_update().state, BreakerState::Closed);
    assert!(!seen.has_changed().expect("the breaker lives"));
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_makes_the_probe_due_and_closes_nothing() {
    let breaker = breaker();
    breaker.connected();
    assert_eq!(breaker.status().state, BreakerState::Closed);
    trip(&breaker);
    assert!(breaker.admit().is_err(), "its time is not over");
    breaker.connected();
    assert_eq!(breaker.status().state, BreakerState::Open);
    let probe = breaker.admit().expect("the probe is due");
    breaker.connected();
    assert!(breaker.admit().is_err(), "there is one probe at a time");
    probe.failure(Fault::Unanswered, &"test");
    assert!(breaker.admit().is_err(), "it waits as long as after any probe");
}
