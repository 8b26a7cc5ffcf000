//! Waiting for a poll that began after the question.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_strict_confirm_never_uses_a_poll_that_began_before_it() {
    let bench = Bench::strict();
    bench.hold_a_poll().await;
    bench.revoke();
    let asking = bench.confirming().await;
    bench.open();
    assert_eq!(asking.await.expect("it ends"), Confirmed::Outdated);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_strict_confirms_cost_at_most_two_polls() {
    let bench = Bench::strict();
    bench.hold_a_poll().await;
    let before = bench.polls();
    let ask = || {
        let handle = bench.handle.clone();
        tokio::spawn(async move { handle.confirm(at(1, 9), digest(1), &user("ada")).await })
    };
    let asking: Vec<_> = (0..1_000).map(|_| ask()).collect();
    settle().await;
    bench.open();
    let began = Instant::now();
    for asked in join_all(asking).await {
        assert_eq!(asked.expect("it ends"), Confirmed::Current);
    }
    settle().await;
    assert!(bench.polls() - before <= 2, "{} polls", bench.polls() - before);
    assert_eq!(began.elapsed(), Duration::ZERO, "demand does not wait for the interval");
}

#[tokio::test(start_paused = true)]
async fn two_who_ask_at_once_cost_one_poll() {
    let bench = Bench::strict();
    bench.polled().await.expect("a good poll");
    settle().await;
    let before = bench.polls();
    assert_eq!(tokio::join!(bench.confirm(), bench.confirm()), (Confirmed::Current, Confirmed::Current));
    settle().await;
    assert_eq!(bench.polls(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn strict_knows_no_grace() {
    let bench = Bench::strict();
    bench.polled().await.expect("a good poll");
    bench.link(Link::Refused);
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
}

#[tokio::test(start_paused = true)]
async fn one_poll_is_under_way_at_a_time() {
    let bench = Bench::strict();
    bench.hold_a_poll().await;
    let before = bench.polls();
    let asking = [bench.confirming().await, bench.confirming().await];
    assert_eq!(bench.polls(), before);
    bench.open();
    for asked in asking {
        asked.await.expect("it ends");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revision_is_waited_for() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    let before = bench.polls();
    bench.handle.revision_covered(at(1, 9)).await.expect("known already");
    assert_eq!(bench.polls(), before);

    bench.revoke();
    let asked = Instant::now();
    bench.handle.revision_covered(at(1, 10)).await.expect("one poll later");
    assert_eq!(asked.elapsed(), Duration::ZERO);
    bench.handle.revision_covered(at(7, 99)).await.expect("of another epoch");

    bench.link(Link::Refused);
    bench.handle.revision_covered(at(1, 10)).await.expect("known already, whatever happens now");
    let unknown = bench.handle.revision_covered(at(1, 11)).await;
    assert!(matches!(unknown, Err(Lost::Failed(_))), "told rather than left waiting: {unknown:?}");
    bench.link(Link::Up);
    bench.polled().await.expect("a good poll");

    let before = bench.polls();
    let never = tokio::time::timeout(LEASE, bench.handle.revision_covered(at(1, 999))).await;
    assert!(never.is_err(), "it was never given");
    assert!(bench.polls() - before <= 11, "and costs no polls of its own: {}", bench.polls() - before);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_reader_that_ends_is_told() {
    let bench = Bench::strict();
    bench.hold_a_poll().await;
    let asking = bench.confirming().await;
    bench.task.abort();
    assert_eq!(asking.await.expect("it ends"), Confirmed::Unproven);
    assert!(matches!(bench.handle.covered().await, Err(Lost::Stopped)));
}
