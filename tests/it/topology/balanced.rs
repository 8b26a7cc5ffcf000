//! Three replicas behind a real Envoy with the file that is shipped, at full load: a rolling restart costs no call,
//! and a replica that dies costs calls that were under way on it, checks and revocations not even then.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokenward::proto::PropagationState;
use tokio::task::JoinSet;
use tonic::{Status, transport::Endpoint};

use super::fleet::{Fleet, REPLICAS};
use crate::harness::{
    client::{Client, about},
    eventually::{eventually, report},
};

/// Connections to Envoy.
const CONNECTIONS: usize = 4;
/// Callers on each, one call at a time each.
const CALLERS: usize = 8;
/// Checks between two tokens that are issued, ended and asked for again.
const CHECKS: usize = 50;
/// Tokens that all callers ask about.
const TOKENS: usize = 40;
const CHECK: &str = "Authenticate";
const ISSUE: &str = "IssueToken";
const REVOKE: &str = "Revoke";

/// What the callers share.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answers: AtomicUsize,
    ended: AtomicUsize,
    failures: Mutex<Vec<Failure>>,
}

/// A call without a right answer.
#[derive(Clone, Debug)]
struct Failure {
    caller: usize,
    call: &'static str,
    invoked: Instant,
    what: String,
}

// === impl Load ===

impl Load {
    /// Calls until it is over.
    async fn call(&self, caller: usize, client: &Client, secrets: &[String]) {
        for round in (0..secrets.len()).cycle().skip(caller) {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            for number in 0..CHECKS {
                self.check(caller, client, &secrets[(round + number) % secrets.len()]).await;
            }
            self.end_one(caller, client).await;
        }
    }

    async fn check(&self, caller: usize, client: &Client, secret: &str) {
        let invoked = Instant::now();
        let answer = client.try_authenticate(about(secret)).await;
        if let Some(answer) = self.noted(caller, CHECK, invoked, answer)
            && !answer.active
        {
            self.fails(caller, CHECK, invoked, format!("a live token is refused: {answer:?}"));
        }
    }

    /// Issues a token, ends it, and asks for it, wherever Envoy leads each call.
    async fn end_one(&self, caller: usize, client: &Client) {
        let invoked = Instant::now();
        let user = format!("caller-{caller}");
        let issued = client.try_issue(crate::harness::client::for_user(&user)).await;
        let Some(issued) = self.noted(caller, ISSUE, invoked, issued) else { return };
        self.check(caller, client, &issued.secret).await;
        let invoked = Instant::now();
        let target = tokenward::proto::revoke_request::Target::Token(issued.secret.clone());
        let Some(answer) = self.noted(caller, REVOKE, invoked, client.try_revoke(target).await) else { return };
        let propagation = answer.propagation.expect("a revocation says how far it has come");
        let invoked = Instant::now();
        let answer = client.try_authenticate(about(&issued.secret)).await;
        let Some(answer) = self.noted(caller, CHECK, invoked, answer) else { return };
        if answer.active && propagation.state() == PropagationState::Complete {
            self.fails(caller, CHECK, invoked, "a token is accepted after COMPLETE".to_owned());
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn noted<T>(&self, caller: usize, call: &'static str, invoked: Instant, answer: Result<T, Status>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.answers.fetch_add(1, Ordering::Relaxed);
                Some(answer)
            }
            Err(status) => {
                self.fails(caller, call, invoked, format!("{:?}: {}", status.code(), status.message()));
                None
            }
        }
    }

    fn fails(&self, caller: usize, call: &'static str, invoked: Instant, what: String) {
        self.failures.lock().expect("nobody panics with it").push(Failure { caller, call, invoked, what });
    }

    fn failures(&self) -> Vec<Failure> {
        self.failures.lock().expect("nobody panics with it").clone()
    }

    /// Waits until there are so many answers more.
    async fn goes_on(&self, more: usize) {
        let goal = self.answers.load(Ordering::Relaxed) + more;
        eventually("the load goes on", async || (self.answers.load(Ordering::Relaxed) >= goal).then_some(())).await;
    }
}

/// Starts the callers.
async fn load(fleet: &Fleet) -> (Arc<Load>, JoinSet<()>) {
    let (load, mut callers, url) = (Arc::new(Load::default()), JoinSet::new(), fleet.url().await);
    let mut secrets = Vec::new();
    for connection in 0..CONNECTIONS {
        let channel = Endpoint::from_shared(url.clone()).expect("Envoy has a URL").connect().await;
        let client = Client::new(channel.expect("Envoy accepts"));
        while secrets.len() < TOKENS {
            secrets.push(client.issue(&format!("user-{}", secrets.len())).await.secret);
        }
        for caller in 0..CALLERS {
            let (load, client, secrets) = (Arc::clone(&load), client.clone(), secrets.clone());
            callers.spawn(async move { load.call(connection * CALLERS + caller, &client, &secrets).await });
        }
    }
    load.goes_on(1_000).await;
    (load, callers)
}

async fn finish(load: &Load, mut callers: JoinSet<()>) {
    load.over.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("a caller has no fault of its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_envoy_costs_no_call() {
    let mut fleet = Fleet::start().await;
    let (load, callers) = load(&fleet).await;
    let begun = Instant::now();
    for number in 0..REPLICAS {
        fleet.replicas[number].signal(Signal::SIGTERM);
        let (exit, _) = fleet.replicas[number].exit(Duration::from_secs(30)).await;
        assert!(exit.success(), "{exit}");
        load.goes_on(100).await;
        fleet.start_again(number).await;
        fleet.healthy(REPLICAS).await;
    }
    let took = begun.elapsed();
    load.goes_on(500).await;
    finish(&load, callers).await;
    let (answers, ended) = (load.answers.load(Ordering::Relaxed), load.ended.load(Ordering::Relaxed));
    report(&format!("rolling restart of {REPLICAS} replicas in {took:?}: {answers} answers, {ended} tokens ended"));
    let failures = load.failures();
    assert!(failures.is_empty(), "{} failed: {:#?}", failures.len(), &failures[..failures.len().min(5)]);
    assert!(ended > 0);
    for number in 0..REPLICAS {
        assert_eq!(fleet.lost(number).await, 0, "Envoy had to repeat what was under way at replica {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_behind_envoy_costs_at_most_what_was_under_way_on_it() {
    let mut fleet = Fleet::start().await;
    let (load, callers) = load(&fleet).await;
    let waiting = async || {
        let under_way = fleet.under_way(0).await;
        (under_way > 0).then_some(under_way)
    };
    let under_way = eventually("calls are under way on the replica", waiting).await;
    fleet.replicas[0].kill();
    // It is gone, and its sockets are closed: no call that begins from now on is under way on it.
    let killed = Instant::now();
    fleet.healthy(REPLICAS - 1).await;
    let noticed = Instant::now();
    load.goes_on(1_000).await;
    finish(&load, callers).await;
    let failures = load.failures();
    report(&format!(
        "kill -9 of one of {REPLICAS}: {} calls lost, {under_way} were under way on it just before, {} attempts at it \
         failed; out of rotation after {:?}, {} answers",
        failures.len(),
        fleet.lost(0).await,
        noticed - killed,
        load.answers.load(Ordering::Relaxed),
    ));
    let mut callers: Vec<_> = failures.iter().map(|failure| failure.caller).collect();
    callers.sort_unstable();
    callers.dedup();
    assert_eq!(callers.len(), failures.len(), "each caller loses at most the call it had under way: {failures:#?}");
    for failure in &failures {
        assert!(failure.what.starts_with("Unavailable: "), "it is the loss of a connection: {failure:?}");
        assert!(failure.invoked < killed, "it was begun after the replica had died: {failure:?}");
        assert_eq!(failure.call, ISSUE, "what may be repeated is repeated by Envoy: {failure:?}");
    }
    assert!(fleet.lost(0).await > 0, "something was under way on the replica that died, or began while it was gone");
    for sound in 1..REPLICAS {
        assert_eq!(fleet.lost(sound).await, 0, "a call on another replica failed");
    }
}
