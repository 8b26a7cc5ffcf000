//! `make flood`: the p99 of valid, cached tokens without and with a flood of unknown ones.
//!
//! The load is open: a request is sent at its time whatever became of the ones before. Who floods and who is measured
//! are callers of their own, on connections and threads of their own; all of it shares the machine with the service and
//! its servers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokenward::proto::{AnswerSource, BatchAuthenticateRequest};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep_until},
};
use tonic::{Code, Status};

use super::super::made_up;
use crate::harness::{
    callers::{ADMIN, GATEWAY, known, with_key},
    client::{Client, Issued, about, for_user},
    eventually::{eventually, report},
    stack::{On, Stack, With},
};

/// Between two checks of a valid token.
const PERIOD: Duration = Duration::from_millis(2);
/// Connections of the flood.
const CONNECTIONS: usize = 4;
/// What of the flood may be under way; beyond it the flood is late.
const UNDER_WAY: usize = 4_096;
/// Ticks of the flood in a second.
const TICKS: u64 = 200;
/// Valid tokens.
const TOKENS: usize = 100;

/// What became of the flood.
#[derive(Default)]
struct Outcomes {
    sent: AtomicU64,
    unknown: AtomicU64,
    limited: AtomicU64,
    other: AtomicU64,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Latencies in microseconds, and how many answers were not from Redis or there was none.
struct Measured {
    latencies: Histogram<u64>,
    misses: u64,
    refused: u64,
}

/// Checks a valid token every [`PERIOD`].
async fn checks(client: Client, tokens: Vec<Issued>, lasting: Duration) -> Measured {
    let latencies = Histogram::new(3).expect("three digits");
    let mut measured = Measured { latencies, misses: 0, refused: 0 };
    let (begin, mut calls) = (tokio::time::Instant::now(), Vec::new());
    for round in 0..u32::try_from(lasting.as_micros() / PERIOD.as_micros()).expect("a measurement is short") {
        sleep_until(begin + PERIOD * round).await;
        let (client, secret) = (client.clone(), tokens[round as usize % tokens.len()].secret.clone());
        // A timer's tick of a millisecond is not the service's.
        let sent = Instant::now();
        calls.push(tokio::spawn(async move {
            let answer = client.tokens.clone().authenticate(with_key(about(&secret), ADMIN)).await;
            (sent.elapsed(), answer.map(tonic::Response::into_inner))
        }));
    }
    for call in calls {
        let (latency, answer) = call.await.expect("a call does not panic");
        // Not `saturating_record`, which takes what is beyond its present size for its end.
        let micros = u64::try_from(latency.as_micros()).expect("a call ends");
        measured.latencies.record(micros).expect("it grows");
        match answer {
            Ok(answer) => {
                assert!(answer.active, "{answer:?}");
                measured.misses += u64::from(answer.source() != AnswerSource::SharedCache);
            }
            // Never inactive; that it cannot be told is a figure.
            Err(_) => measured.refused += 1,
        }
    }
    measured
}

/// Asks about so many tokens that nobody issued, in calls of one or in batches.
async fn ask(client: &Client, count: u64) -> Result<(), Status> {
    let unknown = |_| about(&made_up().secret);
    let mut tokens = client.tokens.clone();
    let answers = if count == 1 {
        vec![tokens.authenticate(with_key(unknown(0), GATEWAY)).await?.into_inner()]
    } else {
        let batch = BatchAuthenticateRequest { requests: (0..count).map(unknown).collect() };
        tokens.batch_authenticate(with_key(batch, GATEWAY)).await?.into_inner().responses
    };
    assert!(answers.iter().all(|answer| !answer.active), "nobody issued them");
    Ok(())
}

async fn flood(clients: Vec<Client>, rate: u64, batch: u64, outcomes: Arc<Outcomes>, over: Arc<AtomicBool>) {
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(TICKS).expect("a few"));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut owed = 0;
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        owed += rate / TICKS;
        while owed >= batch {
            owed -= batch;
            let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
            let (client, outcomes) = (clients[rand::random_range(0..clients.len())].clone(), Arc::clone(&outcomes));
            tokio::spawn(async move {
                outcomes.sent.fetch_add(batch, Ordering::Relaxed);
                let counter = match ask(&client, batch).await {
                    Ok(()) => &outcomes.unknown,
                    Err(status) if status.code() == Code::ResourceExhausted => &outcomes.limited,
                    Err(_) => &outcomes.other,
                };
                counter.fetch_add(batch, Ordering::Relaxed);
                drop(place);
            });
        }
    }
}

async fn connect(url: String) -> Client {
    Client::new(tonic::transport::Endpoint::from_shared(url).expect("a URL").connect().await.expect("it accepts"))
}

/// A thread of its own, so that neither waits for the other's turn.
fn apart<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> std::thread::JoinHandle<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a process may have one");
    std::thread::spawn(move || runtime.block_on(future))
}

fn line(name: &str, Measured { latencies, misses, refused }: &Measured) -> String {
    let at = |quantile| latencies.value_at_quantile(quantile);
    let (p50, p99, p999, max, of) = (at(0.5), at(0.99), at(0.999), latencies.max(), latencies.len());
    format!(
        "{name}: p50 {p50} us, p99 {p99} us, p99.9 {p999} us, max {max} us of {of}, {misses} misses, {refused} refused"
    )
}

#[ignore = "a measurement, on a release build and a quiet machine: make flood"]
#[tokio::test(flavor = "multi_thread")]
async fn valid_tokens_in_a_flood_of_unknown_ones() {
    let (rate, batch) = (number("FLOOD", 10_000), number("BATCH", 1).clamp(1, 100));
    let lasting = Duration::from_secs(number("SECONDS_OF_FLOOD", 20));
    let (_dir, settings) = known();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut stack = Stack::start_with(On::Postgres, With::Redis, &settings).await;
    let client = stack.client();
    let mut tokens = Vec::new();
    for _ in 0..TOKENS {
        let issued = client.tokens.clone().issue_token(with_key(for_user("alice"), ADMIN)).await;
        tokens.push(Issued::from(issued.expect("a token can be issued").into_inner()));
    }
    for token in &tokens {
        eventually("the token is cached", async || {
            let answer = client.tokens.clone().authenticate(with_key(about(&token.secret), ADMIN)).await.ok()?;
            (answer.into_inner().source() == AnswerSource::SharedCache).then_some(())
        })
        .await;
    }
    let url = stack.server.url().to_owned();
    let measure =
        |tokens: Vec<Issued>, url: String| apart(async move { checks(connect(url).await, tokens, lasting).await });
    let quiet = tokio::task::spawn_blocking({
        let thread = measure(tokens.clone(), url.clone());
        move || thread.join().expect("each answer is right")
    });
    let quiet = quiet.await.expect("it is measured");

    let (outcomes, over, position) =
        (Arc::new(Outcomes::default()), Arc::default(), stack.postgres().server.log_position());
    let flooding = apart({
        let (outcomes, over, url) = (Arc::clone(&outcomes), Arc::clone(&over), url.clone());
        async move {
            let mut clients = Vec::new();
            for _ in 0..CONNECTIONS {
                clients.push(connect(url.clone()).await);
            }
            flood(clients, rate, batch, outcomes, over).await;
        }
    });
    let begin = Instant::now();
    let thread = measure(tokens, url);
    let flooded = tokio::task::spawn_blocking(move || thread.join().expect("each answer is right")).await;
    let flooded = flooded.expect("it is measured");
    let seconds = begin.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    tokio::task::spawn_blocking(move || flooding.join().expect("each answer is right")).await.expect("it ends");

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let lookups = stack.postgres().server.statements_since(position);
    let lookups = lookups.iter().filter(|statement| statement.contains(" t ON t.")).count();
    report(&line("quiet", &quiet));
    report(&line("flood", &flooded));
    report(&format!(
        "{} unknown tokens in {seconds:.1} s ({rate} a second wanted, {batch} a call): {} looked up, {} refused, {} otherwise; {lookups} look-ups in the database",
        count(&outcomes.sent),
        count(&outcomes.unknown),
        count(&outcomes.limited),
        count(&outcomes.other),
    ));
    let p99 = |measured: &Measured| measured.latencies.value_at_quantile(0.99);
    let (before, after) = (p99(&quiet), p99(&flooded));
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a latency")]
    let ratio = after as f64 / before as f64;
    report(&format!("p99 {before} us -> {after} us: {ratio:.2} times; the aim is at most 2"));
}
