//! The database's time, kept between polls.

use super::*;
use crate::domain::{Clock as _, SystemClock};

#[tokio::test(start_paused = true)]
async fn the_databases_time_goes_on_between_polls_and_is_never_slow() {
    let bench = Bench::leased();
    assert_eq!(bench.handle.database_now(), None);
    bench.polled().await.expect("a good poll");
    assert_eq!(bench.handle.database_now(), Some(noon()));
    bench.link(Link::Refused);
    sleep(Duration::from_secs(7)).await;
    assert_eq!(bench.handle.database_now(), Some(noon() + TimeDelta::seconds(7)));
    bench.link(Link::Slow(200 * MS));
    bench.polled().await.expect("a good poll");
    assert_eq!(bench.handle.database_now(), Some(noon() + TimeDelta::milliseconds(200)), "from before it was sent");
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_the_systems_until_the_first_poll_and_the_databases_from_then_on() {
    let bench = Bench::leased();
    let clock = bench.handle.clock();
    let off = (clock.now() - SystemClock.now()).abs();
    assert!(off < TimeDelta::minutes(1), "{off}");
    bench.polled().await.expect("a good poll");
    assert_eq!(clock.now(), noon());
    bench.link(Link::Refused);
    sleep(LEASE + GRACE + LEASE).await;
    assert_eq!(clock.now(), noon() + TimeDelta::seconds(32), "it does not depend on the lease");
}

#[tokio::test(start_paused = true)]
async fn the_clock_counts_the_time_that_the_machine_was_suspended() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.suspend(Duration::from_hours(1));
    assert_eq!(bench.handle.clock().now(), noon() + TimeDelta::hours(1));
}

#[tokio::test(start_paused = true)]
async fn the_clock_shows_whole_microseconds_and_rounds_them_up() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    for (nanos, micros) in [(1, 1), (1_000, 1), (1_001, 2), (1_999, 2)] {
        bench.wrist.nanos.store(nanos, Ordering::SeqCst);
        assert_eq!(bench.handle.clock().now(), noon() + TimeDelta::microseconds(micros), "{nanos} ns");
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_whose_clock_is_set_is_followed_at_the_next_poll() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.ledger.lock().whole.now = noon() - TimeDelta::hours(1);
    bench.polled().await.expect("a good poll");
    assert_eq!(bench.handle.clock().now(), noon() - TimeDelta::hours(1));
}
