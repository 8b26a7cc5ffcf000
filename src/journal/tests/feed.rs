//! Those who follow: what they are told, when, and when they are sent away.

use super::*;
use crate::{
    domain::{Event, Outdated, Revocations as _, Watch as _, WatchEnd},
    journal::Follower,
};

async fn follow(bench: &Bench, start: Option<Position>) -> Result<Follower, WatchEnd> {
    bench.handle.watch(start).await
}

async fn following(bench: &Bench, start: Option<Position>) -> Follower {
    let mut follower = follow(bench, start).await.expect("it begins");
    if start.is_none() {
        assert_eq!(follower.next().await, Ok(heartbeat(bench.ledger.lock().whole.position.seq)), "at once");
    }
    follower
}

fn event(subject: Option<Outdated>, seq: u64) -> Event {
    Event { subject, position: at(1, seq), at: noon() }
}

fn heartbeat(seq: u64) -> Event {
    event(None, seq)
}

fn ended(name: u8, seq: u64) -> Event {
    event(Some(Outdated::Token(token(name))), seq)
}

impl Bench {
    fn end(&self, ended: Ended) {
        let mut content = self.ledger.lock();
        content.whole.position.seq += 1;
        let seq = Some(content.whole.position.seq);
        content.whole.records.push(Record { seq, ended });
    }
}

#[tokio::test(start_paused = true)]
async fn each_end_is_told_in_its_order_and_a_heartbeat_when_nothing_ends() {
    let bench = Bench::leased();
    let mut follower = following(&bench, None).await;
    bench.end(Ended::Token(token(1)));
    bench.end(Ended::User(user("ada")));
    assert_eq!(follower.next().await, Ok(ended(1, 10)));
    assert_eq!(follower.next().await, Ok(event(Some(Outdated::User(user("ada"))), 11)));
    let quiet = Instant::now();
    for _ in 0..3 {
        assert_eq!(follower.next().await, Ok(heartbeat(11)));
    }
    let longest = 3 * (Duration::from_secs(1) + INTERVAL);
    assert!((Duration::from_secs(2)..=longest).contains(&quiet.elapsed()), "{:?}", quiet.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_record_is_told_before_it_has_a_number_and_again_with_it() {
    let bench = Bench::leased();
    let mut follower = following(&bench, None).await;
    bench.ledger.lock().whole.records.push(Record { seq: None, ended: Ended::Token(token(1)) });
    assert_eq!(follower.next().await, Ok(ended(1, 9)), "no place covers it yet");
    assert_eq!(follower.next().await, Ok(ended(1, 10)));
    assert_eq!(follower.next().await, Ok(heartbeat(10)), "and no more often");
}

#[tokio::test(start_paused = true)]
async fn what_came_since_is_told_to_who_comes_back_and_what_cannot_be_told_is_said() {
    let bench = Bench::leased();
    bench.end(Ended::Token(token(1)));
    bench.end(Ended::Token(token(2)));
    bench.polled().await.expect("a good poll");
    let mut follower = following(&bench, Some(at(1, 10))).await;
    assert_eq!(follower.next().await, Ok(ended(2, 11)));
    assert_eq!(following(&bench, Some(at(1, 11))).await.next().await, Ok(heartbeat(11)), "nothing, at once");
    bench.ledger.lock().whole.floor = 10;
    bench.polled().await.expect("a good poll");
    assert!(follow(&bench, Some(at(1, 10))).await.is_ok());
    for lost in [at(1, 9), at(2, 10), at(1, 99)] {
        assert_eq!(follow(&bench, Some(lost)).await.err(), Some(WatchEnd::StartOver), "{lost}");
    }
    bench.end(Ended::Everything);
    assert_eq!(follow(&bench, Some(at(1, 11))).await.err(), Some(WatchEnd::StartOver));
    assert!(follow(&bench, Some(at(1, 12))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_follows_has_to_start_over_when_everything_may_have_ended() {
    let bench = Bench::leased();
    let told = async |follower: &mut Follower| loop {
        match follower.next().await {
            Ok(told) => assert_eq!(told.subject, None, "{told:?}"),
            Err(end) => return end,
        }
    };
    let mut follower = following(&bench, None).await;
    bench.end(Ended::Everything);
    assert_eq!(told(&mut follower).await, WatchEnd::StartOver, "it was said");

    let mut follower = following(&bench, None).await;
    bench.ledger.lock().whole.position.epoch = 2;
    assert_eq!(told(&mut follower).await, WatchEnd::StartOver, "another epoch");

    bench.ledger.lock().whole.position.epoch = 1;
    let mut follower = following(&bench, None).await;
    bench.ledger.lock().triggers = Triggers::Missing("one".to_owned());
    sleep(Duration::from_secs(11)).await;
    assert_eq!(follow(&bench, None).await.err(), Some(WatchEnd::Lost), "ends go unrecorded");
    bench.ledger.lock().triggers = Triggers::Enabled;
    bench.polled().await.expect("a good poll");
    assert_eq!(told(&mut follower).await, WatchEnd::StartOver, "they went unrecorded");
}

#[tokio::test(start_paused = true)]
async fn who_reads_too_slowly_is_cut_off_and_nobody_waits() {
    let bench = Bench::leased();
    let (mut slow, mut quick) = (following(&bench, None).await, following(&bench, None).await);
    for round in 0..300 {
        bench.end(Ended::Token(token(1)));
        bench.polled().await.expect("a good poll");
        assert_eq!(quick.next().await, Ok(ended(1, 10 + round)));
    }
    assert_eq!(slow.next().await, Err(WatchEnd::Slow));
    let mut back = following(&bench, Some(at(1, 9))).await;
    assert_eq!(back.next().await, Ok(ended(1, 309)), "the last one of each is enough");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_not_read_is_no_heartbeat() {
    let bench = Bench::leased();
    let mut follower = following(&bench, None).await;
    bench.link(Link::Refused);
    let since = Instant::now();
    while follower.next().await.is_ok() {
        assert!(since.elapsed() < Duration::from_millis(200), "only what was under way");
    }
    assert!(since.elapsed() >= Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(follow(&bench, None).await.err(), Some(WatchEnd::Lost));
}
