//! What is counted once, however a call ends, and what follows the state of a part.

use tokenward::proto::{AuthenticateRequest, BatchAuthenticateRequest, Consistency};

use super::{SETTINGS, Scrape};
use crate::harness::{
    client::about,
    eventually::eventually,
    relay::Fault,
    stack::{On, Stack, With},
};

const JUDGED: &str = "tokenward_authentications_total";
const CONNECTIONS: &str = "tokenward_database_pool_connections";
const USED: [&str; 1] = ["state=\"used\""];
const METHOD: &str = "grpc_method=\"Authenticate\"";

/// By how much each of these results was counted more often since then, and the whole family.
fn gained(since: &Scrape, now: &Scrape, results: [&str; 3]) -> [f64; 4] {
    let [one, two, three] = results.map(|result| format!("result=\"{result}\""));
    [&[&*one][..], &[&*two], &[&*three], &[]].map(|labels| now.gained(since, JUDGED, labels))
}

async fn until(url: &str, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    let scraped = async || Some(Scrape::of(url).await).filter(|scrape| holds(scrape));
    eventually(what, scraped).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_of_a_batch_is_counted_once_with_its_own_result() {
    let stack = Stack::start_with(On::Sqlite, With::Redis, &SETTINGS).await;
    let (url, client) = (stack.server.http(), stack.client());
    let (alice, bob) = (client.issue("alice").await.secret, client.issue("bob").await.secret);
    let before = Scrape::of(&url).await;
    let requests = [&*alice, &"0".repeat(64), &bob].map(about).to_vec();
    client.tokens.clone().batch_authenticate(BatchAuthenticateRequest { requests }).await.expect("it is answered");
    let all = |scrape: &Scrape| scrape.gained(&before, JUDGED, &[]) >= 3.0;
    let after = until(&url, "all are counted", all).await;
    assert_eq!(format!("{:?}", gained(&before, &after, ["active", "unknown", "malformed"])), "[2.0, 1.0, 0.0, 3.0]");
}

/// The caller hangs up while its token is looked up: it is counted once, and not again when the database answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_caller_hangs_up_is_counted_once_and_its_connection_comes_back() {
    let patience = ["SERVER__REQUEST_TIMEOUT", "DATABASE__ACQUIRE_TIMEOUT", "DATABASE__STATEMENT_TIMEOUT"];
    let patience = patience.map(|name| format!("TOKENWARD_{name}"));
    let settings = [&SETTINGS[..], &patience.each_ref().map(|name| (&**name, "60s"))].concat();
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &settings).await;
    let (url, client) = (stack.server.http(), stack.client());
    let issued = client.issue("alice").await.secret;
    let idle = |scrape: &Scrape| scrape.sum(CONNECTIONS, &USED) < 0.5 && scrape.sum(CONNECTIONS, &[]) > 0.5;
    let before = until(&url, "no connection is in use", idle).await;

    stack.postgres().relay.inject(Fault::Stall);
    let asked = AuthenticateRequest { consistency: Consistency::FullyConsistent.into(), ..about(&issued) };
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.try_authenticate(asked).await }
    });
    let waits =
        |scrape: &Scrape| scrape.sum(CONNECTIONS, &USED) > 0.5 && scrape.sum("grpc_server_in_flight", &[METHOD]) > 0.5;
    let waiting = until(&url, "the call waits for the database", waits).await;
    assert!(waiting.gained(&before, JUDGED, &[]) < 0.5, "nothing is counted before the end");
    call.abort();
    let canceled = [METHOD, "grpc_code=\"Canceled\""];
    let over = |scrape: &Scrape| {
        scrape.gained(&before, "grpc_server_handled_total", &canceled) > 0.5
            && scrape.gained(&before, JUDGED, &[]) > 0.5
    };
    let counts = |scrape: &Scrape| gained(&before, scrape, ["unanswered", "active", "unknown"]);
    let ended = until(&url, "the call is over", over).await;
    assert_eq!(format!("{:?}", counts(&ended)), "[1.0, 0.0, 0.0, 1.0]");

    stack.postgres().relay.inject(Fault::None);
    let ended = until(&url, "the connection is idle again", idle).await;
    assert_eq!(format!("{:?}", counts(&ended)), "[1.0, 0.0, 0.0, 1.0]", "nobody waited for the answer that came");
}
