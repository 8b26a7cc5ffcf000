//! What is counted only when something goes wrong, or long after: that it does move.

use tokenward::proto::{AnswerSource, FlushCacheRequest};
use tonic::Code;

use super::{SETTINGS, Scrape};
use crate::harness::{
    client::about,
    eventually::eventually,
    stack::{On, Stack, With},
};

/// Waits until the samples of a family with these labels come to at least so much.
async fn comes_to(url: &str, family: &str, labels: &[&str], least: f64) -> Scrape {
    let enough = async || {
        let scrape = Scrape::of(url).await;
        (scrape.sum(family, labels) >= least).then_some(scrape)
    };
    eventually(&format!("{family}{labels:?} is {least}"), enough).await
}

/// A series that is there, and has counted nothing yet.
async fn is_there_at_0(url: &str, series: &str) {
    let scrape = Scrape::of(url).await;
    assert_eq!(scrape.samples().get(series).map(f64::to_string).as_deref(), Some("0"), "{series}:\n{}", scrape.0);
}

fn more<'a>(settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&SETTINGS[..], settings].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_pruned_is_counted() {
    let settings = more(&[("TOKENWARD_PRUNE__INTERVAL", "1s")]);
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &settings).await;
    let url = stack.server.http();
    is_there_at_0(&url, "tokenward_pruned_total").await;
    for user in ["alice", "bob"] {
        stack.client().issue(user).await;
    }
    let old = "UPDATE tokenward_token SET expiry = now() - interval '1 year'";
    stack.postgres().server.execute_as_owner(old).await;
    comes_to(&url, "tokenward_pruned_total", &[], 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn look_ups_beyond_a_caller_s_quota_are_counted_one_by_one() {
    let settings = more(&[("TOKENWARD_CALLERS__MAX_INACTIVE_PER_SECOND", "1")]);
    let stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let (url, client) = (stack.server.http(), stack.client());
    is_there_at_0(&url, "tokenward_lookups_rate_limited_total").await;
    let mut refused = 0_u32;
    for number in 0..200 {
        let asked = client.try_authenticate(about(&format!("nobody-issued-{number}"))).await;
        let Err(status) = asked else { continue };
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        refused += 1;
    }
    assert!(refused > 0, "the quota refuses something");
    let scrape = Scrape::of(&url).await;
    let counted = scrape.sum("tokenward_lookups_rate_limited_total", &[]);
    assert_eq!(counted.to_string(), refused.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_somebody_else_wrote_and_a_fill_that_is_not_taken_are_counted_by_reason() {
    let mut stack = Stack::start_with(On::Postgres, With::Redis, &SETTINGS).await;
    let (url, client) = (stack.server.http(), stack.client());
    let rejected = "tokenward_cache_fill_rejected_total";
    is_there_at_0(&url, "tokenward_cache_entries_refused_total{reason=\"version\"}").await;
    is_there_at_0(&url, &format!("{rejected}{{reason=\"tombstone\"}}")).await;
    let issued = client.issue("alice").await;
    let (secret, key) = (issued.secret, format!("tokenward:token:{}", issued.token_id));
    client.hit(&secret, AnswerSource::SharedCache).await;
    assert!(stack.redis().server.value(&key).await.is_some(), "the entry is at {key}");
    stack.redis().server.put(&key, &[255; 64]).await;
    assert!(client.authenticate(&secret).await.active);
    comes_to(&url, "tokenward_cache_entries_refused_total", &["reason=\"version\""], 1.0).await;

    // Leaves a tombstone of a token that goes on.
    let one = FlushCacheRequest { user_id: "alice".to_owned() };
    client.cache.clone().flush_cache(one).await.expect("a flush of one user is answered");
    let rejects = async || {
        assert!(client.authenticate(&secret).await.active);
        (Scrape::of(&url).await.sum(rejected, &["reason=\"tombstone\""]) >= 1.0).then_some(())
    };
    eventually("a fill finds the tombstone", rejects).await;

    // More about a user than an entry may hold, which no call can set.
    let secret = client.issue("bob").await.secret;
    let long = "UPDATE tokenward_user SET attributes = json_build_object('a', repeat('x', 20000)) WHERE id = 'bob'";
    stack.postgres().server.execute_as_owner(long).await;
    assert!(client.authenticate(&secret).await.active);
    comes_to(&url, rejected, &["reason=\"too_large\""], 1.0).await;

    let secret = client.issue("carol").await.secret;
    stack.redis().server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(client.authenticate(&secret).await.active);
    comes_to(&url, rejected, &["reason=\"unavailable\""], 1.0).await;
    is_there_at_0(&url, &format!("{rejected}{{reason=\"outdated\"}}")).await;
}

/// The service does not notice that its triggers are gone, as it should, and another program ends a token.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_without_a_record_is_counted_as_a_violation() {
    let settings = more(&[("TOKENWARD_MUTANT", "Trigger"), ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "5s")]);
    let mut stack = Stack::start_with(On::Postgres, With::Redis, &settings).await;
    let (url, client) = (stack.server.http(), stack.client());
    is_there_at_0(&url, "tokenward_coherence_violations_total").await;
    for table in ["tokenward_token", "tokenward_user"] {
        stack.postgres().server.execute_as_owner(&format!("ALTER TABLE {table} DISABLE TRIGGER USER")).await;
    }
    let secret = client.issue("alice").await.secret;
    client.hit(&secret, AnswerSource::SharedCache).await;
    stack.postgres().server.execute_as_owner("DELETE FROM tokenward_token").await;
    let noticed = async || {
        client.authenticate(&secret).await;
        (Scrape::of(&url).await.sum("tokenward_coherence_violations_total", &[]) >= 1.0).then_some(())
    };
    eventually("a hit is compared with the database", noticed).await;
    let refused = async || (!client.authenticate(&secret).await.active).then_some(());
    eventually("the fact is dropped", refused).await;
}
