//! How long the view may be relied on: leases, lapses and the grace.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_valid_lease_answers_without_a_poll() {
    let bench = Bench::leased();
    assert_eq!(bench.confirm().await, Confirmed::Current, "the first one waits for the first poll");
    let before = bench.polls();
    for _ in 0..1_000 {
        assert_eq!(bench.confirm().await, Confirmed::Current);
    }
    assert_eq!(bench.polls(), before);
}

#[tokio::test(start_paused = true)]
async fn what_a_poll_shows_is_refused_from_then_on() {
    let bench = Bench::leased();
    assert_eq!(bench.confirm().await, Confirmed::Current);
    bench.revoke();
    sleep(INTERVAL + MS).await;
    assert_eq!(bench.confirm().await, Confirmed::Outdated);
    let other = bench.handle.confirm(at(1, 9), digest(2), &user("ada")).await;
    assert_eq!(other, Confirmed::Current);
}

#[tokio::test(start_paused = true)]
async fn the_view_is_published_before_the_lease() {
    let shared = Arc::new(Shared::new(
        terms(),
        Wrist { origin: Instant::now(), suspended: Arc::default(), nanos: Arc::default() },
    ));
    let stop = Arc::new(AtomicU64::new(0));
    let watching = std::thread::spawn({
        let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
        move || {
            let mut caught = 0;
            while stop.load(Ordering::SeqCst) == 0 {
                // As a handle does: the lease, then the view.
                if let Some(until) = shared.lease.until() {
                    let number = until.as_millis() - LEASE.as_millis();
                    caught += u64::from(u128::from(shared.view.position().expect("filled").seq) < number);
                }
            }
            caught
        }
    });
    for number in 1..=50_000 {
        shared.publish(poll(number), Duration::from_millis(number));
    }
    stop.store(1, Ordering::SeqCst);
    assert_eq!(watching.join().expect("it ends"), 0, "leases that were seen before their view");
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_from_before_the_poll_was_sent() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.link(Link::Slow(200 * MS));
    bench.polled().await.expect("a good poll");
    assert_eq!(bench.lapse(), 800 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_took_longer_than_a_lease_gives_none() {
    let bench = Bench::leased();
    bench.hold_a_poll().await;
    bench.suspend(2 * LEASE);
    bench.open();
    settle().await;
    let health = bench.handle.health();
    assert!(health.failure.is_none(), "it was answered: {health:?}");
    assert_eq!(health.lease, None);
    assert_eq!(health.lag, Some(2 * LEASE));
}

#[tokio::test(start_paused = true)]
async fn a_poll_has_a_deadline_of_250_ms_or_half_a_short_lease() {
    for (lease, deadline) in [(LEASE, 250), (100 * MS, 50), (Duration::ZERO, 250)] {
        let bench = Bench::of(Terms { max_staleness: lease, ..terms() }, poll(9));
        bench.polled().await.expect("a good poll");
        bench.link(Link::Slow((deadline - 1) * MS));
        bench.polled().await.expect("in time");
        bench.link(Link::Slow((deadline + 1) * MS));
        let late = bench.polled().await.expect_err("late");
        assert!(matches!(late, Lost::Late(limit) if limit == deadline * MS), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_fails_renews_nothing() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    let left = bench.lapse();
    bench.link(Link::Refused);
    sleep(left.saturating_sub(MS)).await;
    assert_eq!(bench.handle.health().lease, Some(MS));
    sleep(MS).await;
    assert_eq!(bench.handle.health().lease, None);
}

#[tokio::test(start_paused = true)]
async fn grace_begins_at_the_lapse_and_ends_after_its_time() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    let left = bench.lapse();
    bench.link(Link::Refused);
    bench.polled().await.expect_err("refused");
    sleep((left + GRACE).saturating_sub(MS)).await;
    assert_eq!(bench.confirm().await, Confirmed::Current, "the last millisecond");
    let unfit = bench.handle.confirm(at(2, 9), digest(1), &user("ada")).await;
    assert_eq!(unfit, Confirmed::Unproven, "grace proves nothing that the view does not");
    sleep(MS).await;
    assert_eq!(bench.confirm().await, Confirmed::Unproven, "over");
    bench.link(Link::Up);
    bench.polled().await.expect("a good poll");
    assert_eq!(bench.confirm().await, Confirmed::Current, "back");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_without_waiting_for_the_database() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.link(Link::Slow(Duration::from_hours(1)));
    sleep(LEASE + GRACE + LEASE).await;
    let asked = Instant::now();
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn grace_needs_an_outage() {
    let bench = Bench::of(Terms { max_staleness: 100 * MS, outage_grace: GRACE, poll_interval: LEASE }, poll(9));
    bench.polled().await.expect("a good poll");
    bench.revoke();
    sleep(200 * MS).await;
    assert_eq!(bench.confirm().await, Confirmed::Outdated, "lapsed between two polls: asks, and learns");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_ended_is_no_outage() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.task.abort();
    assert_eq!(bench.confirm().await, Confirmed::Current, "the lease is valid");
    sleep(LEASE).await;
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
}

#[tokio::test(start_paused = true)]
async fn no_grace_fails_closed_at_the_lapse() {
    let bench = Bench::of(Terms { outage_grace: Duration::ZERO, ..terms() }, poll(9));
    bench.polled().await.expect("a good poll");
    let left = bench.lapse();
    bench.link(Link::Refused);
    sleep(left.saturating_sub(MS)).await;
    assert_eq!(bench.confirm().await, Confirmed::Current);
    sleep(MS).await;
    assert_eq!(bench.confirm().await, Confirmed::Unproven);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_machine_wakes_up_without_a_lease() {
    let bench = Bench::leased();
    bench.polled().await.expect("a good poll");
    bench.revoke();
    assert_eq!(bench.confirm().await, Confirmed::Current, "the lease is valid");
    bench.suspend(10 * LEASE);
    assert_eq!(bench.handle.health().lease, None);
    assert_eq!(bench.confirm().await, Confirmed::Outdated, "asks first");
}
