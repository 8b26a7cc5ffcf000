//! Polls that come sooner because the journal says that it changed.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_change_is_looked_at_before_the_interval_is_over() {
    let bench = Bench::leased();
    assert_eq!(bench.confirm().await, Confirmed::Current);
    bench.revoke();
    bench.ledger.bell.notify_one();
    sleep(6 * MS).await;
    assert_eq!(bench.confirm().await, Confirmed::Outdated);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_changes_costs_a_poll_every_5_ms() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    let before = bench.polls();
    for _ in 0..1_000 {
        bench.ledger.bell.notify_one();
        sleep(MS).await;
    }
    let polls = bench.polls() - before;
    assert!((150..=201).contains(&polls), "{polls} in a second");
}

#[tokio::test(start_paused = true)]
async fn who_asks_does_not_wait_for_the_breath_between_changes() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.ledger.bell.notify_one();
    settle().await;
    let asked = Instant::now();
    bench.polled().await.expect("a good poll");
    assert_eq!(asked.elapsed(), Duration::ZERO);
}
