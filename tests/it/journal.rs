//! The reader over a real database: triggers that go and come back, triggers that do
//! nothing, and news that does not wait for the next poll.

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use sea_orm::{ConnectionTrait as _, Statement};
use tempfile::TempDir;
use tokenward::{
    config::{Config, SecretText},
    domain::{
        Digest, Found, Freshness, Inserted, Journal as _, Label, NewToken, Position, Secret, Token, TokenPrefix,
        TokenStore as _, Triggers, UserId,
    },
    journal::{self, Confirmed, Handle, Lost, Terms},
    store::Database,
};
use tokio::task::JoinHandle;

use crate::harness::{eventually::eventually, postgres::Postgres, server::directory, sql};

/// A store and a reader of its journal.
struct Reading {
    url: String,
    store: Database,
    handle: Handle,
    task: JoinHandle<()>,
}

/// A cached fact of which only what matters here is kept.
struct Fact {
    digest: Digest,
    user: UserId,
    position: Position,
}

const TERMS: Terms = Terms {
    max_staleness: Duration::from_secs(1),
    outage_grace: Duration::from_secs(30),
    poll_interval: Duration::from_millis(50),
};
/// Polls that only somebody's word brings about.
const ON_WORD_ONLY: Terms =
    Terms { max_staleness: Duration::from_hours(1), poll_interval: Duration::from_hours(1), ..TERMS };
const DELETE_FUNCTION: &str = "public.tokenward_journal_token_delete";

// === impl Reading ===

impl Reading {
    async fn of(url: String, terms: Terms, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.database.url = SecretText::new(url.clone());
        config.database.acquire_timeout = Duration::from_secs(5);
        config.database.statement_timeout = Duration::from_secs(5);
        change(&mut config);
        let store = Database::open(&config).await.expect("it opens");
        store.migrate_up().await.expect("it is migrated");
        let (reader, handle) = journal::reader(Arc::new(store.clone()), terms);
        Self { url, store, handle, task: tokio::spawn(reader.run()) }
    }

    async fn sql(&self, statements: &[String]) {
        for statement in statements {
            sql::execute(&self.url, statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    async fn texts(&self, query: &str) -> Vec<String> {
        let connection = sql::connect(&self.url).await.expect("it connects");
        let query = Statement::from_string(connection.get_database_backend(), query);
        let rows = connection.query_all_raw(query).await.expect("rows");
        rows.iter().map(|row| row.try_get_by_index(0).expect("text")).collect()
    }

    /// A new token, as a cache would keep it.
    async fn issue(&self) -> Fact {
        let secret = Token::of(&TokenPrefix::default(), &Secret::random());
        let token = NewToken {
            digest: secret.digest(),
            key: secret.key(),
            user: "ada".parse().expect("a user_id"),
            created: DateTime::from_timestamp(1_800_000_000, 0).expect("a time"),
            expiry: None,
            label: Label::default(),
            issuer: None,
            request: None,
        };
        assert!(matches!(self.store.insert(token).await, Ok(Inserted::New(_))));
        self.read(secret.digest()).await
    }

    async fn read(&self, digest: Digest) -> Fact {
        let reading = self.store.find(digest, Freshness::Any).await.expect("an answer");
        let Found::Token(record) = reading.found else { panic!("it is live") };
        Fact { digest, user: record.user.id.clone(), position: reading.position }
    }

    async fn confirm(&self, fact: &Fact) -> Confirmed {
        self.handle.confirm(fact.position, fact.digest, &fact.user).await
    }

    async fn becomes(&self, fact: &Fact, standing: Confirmed) {
        eventually(&format!("the fact is {standing:?}"), async || (self.confirm(fact).await == standing).then_some(()))
            .await;
    }

    async fn fails(&self, what: &str, is: fn(&Lost) -> bool) {
        let failed = async || self.handle.health().failure.as_ref().is_some_and(is).then_some(());
        eventually(what, failed).await;
        assert_eq!(self.handle.health().lease, None, "{what}");
    }

    /// A fact that is read now is believed, without anybody writing anything else.
    async fn believes_what_is_read(&self, digest: Digest) {
        let current = async || (self.confirm(&self.read(digest).await).await == Confirmed::Current).then_some(());
        eventually("what is read now is believed", current).await;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn url_of(postgres: &Postgres) -> String {
    let socket = postgres.socket();
    format!("postgres://tokenward@localhost/tokenward?host={}", socket.parent().expect("a directory").display())
}

/// Drops them once the reader believes its triggers to be there.
async fn hits_come_back_with_the_triggers(reading: &Reading, names: &str, drop: impl Fn(&str) -> String) {
    let fact = reading.issue().await;
    reading.becomes(&fact, Confirmed::Current).await;
    let triggers = reading.texts(names).await;
    reading.sql(&triggers.iter().map(|name| drop(name)).collect::<Vec<_>>()).await;
    reading.fails("missing triggers are noticed", |lost| matches!(lost, Lost::Untriggered(_))).await;
    assert_eq!(reading.confirm(&fact).await, Confirmed::Unproven);
    assert_eq!(reading.store.migrate_up().await.expect("up"), ["triggers of the journal"]);
    reading.believes_what_is_read(fact.digest).await;
    assert_ne!(reading.confirm(&fact).await, Confirmed::Current, "from before");
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_come_back_with_the_triggers_on_postgres() {
    let postgres = Postgres::start().await;
    let reading = Reading::of(url_of(&postgres), TERMS, |_| {}).await;
    let names = "SELECT tgname || ' ON ' || tgrelid::regclass FROM pg_trigger WHERE tgname LIKE 'tokenward%'";
    hits_come_back_with_the_triggers(&reading, names, |trigger| format!("DROP TRIGGER {trigger}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_come_back_with_the_triggers_on_sqlite() {
    let place: TempDir = directory();
    let url = format!("sqlite://{}/tokenward.db", place.path().display());
    let reading = Reading::of(url, TERMS, |_| {}).await;
    let names = "SELECT name FROM sqlite_master WHERE type = 'trigger'";
    hits_come_back_with_the_triggers(&reading, names, |trigger| format!("DROP TRIGGER {trigger}")).await;
}

/// The catalog shows nothing. That triggers come back sends a canary at once, which saves a minute here.
#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_stand_and_do_nothing_cost_the_lease_until_they_do_something() {
    let postgres = Postgres::start().await;
    let reading = Reading::of(url_of(&postgres), TERMS, |_| {}).await;
    let fact = reading.issue().await;
    reading.becomes(&fact, Confirmed::Current).await;
    let switch = |to: &str| vec![format!("ALTER TABLE tokenward_token {to} TRIGGER USER")];
    let names = reading.texts("SELECT tgname::text FROM pg_trigger WHERE tgname LIKE 'tokenward_journal_token%'").await;
    let arm: Vec<_> =
        names.iter().map(|name| format!("ALTER TABLE tokenward_token ENABLE ALWAYS TRIGGER {name}")).collect();
    let sound = reading.texts(&format!("SELECT pg_get_functiondef('{DELETE_FUNCTION}'::regproc)")).await;
    let hollow = format!(
        "CREATE OR REPLACE FUNCTION {DELETE_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    );

    reading.sql(&switch("DISABLE")).await;
    reading.fails("disabled triggers are noticed", |lost| matches!(lost, Lost::Untriggered(_))).await;
    reading.sql(&[hollow]).await;
    reading.sql(&arm).await;
    reading.fails("a canary is lost", |lost| matches!(lost, Lost::Unrecorded)).await;
    assert_eq!(reading.store.intact().await.expect("a look"), Triggers::Enabled, "as the catalog has it");
    assert_eq!(reading.confirm(&fact).await, Confirmed::Unproven);

    reading.sql(&sound).await;
    reading.believes_what_is_read(fact.digest).await;
    assert_ne!(reading.confirm(&fact).await, Confirmed::Current, "from before");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_tells_of_news_at_once_and_again_after_its_connection_was_lost() {
    let postgres = Postgres::start().await;
    let reading = Reading::of(url_of(&postgres), ON_WORD_ONLY, |_| {}).await;
    let listeners = "SELECT pid::text FROM pg_stat_activity WHERE query LIKE 'LISTEN %'";
    let listens = async || (!reading.texts(listeners).await.is_empty()).then_some(());
    eventually("the reader listens", listens).await;
    for way in ["first connection", "second connection"] {
        let fact = reading.issue().await;
        // The poll that a new connection brings about is past, and nothing but a word brings another.
        reading.handle.covered().await.expect("a good poll");
        assert_eq!(reading.confirm(&fact).await, Confirmed::Current, "{way}");
        reading.sql(&[format!("DELETE FROM tokenward_token WHERE digest = '{}'", fact.digest.to_hex())]).await;
        reading.becomes(&fact, Confirmed::Outdated).await;
        let pids = reading.texts(listeners).await;
        reading.sql(&[format!("SELECT pg_terminate_backend({})", pids[0])]).await;
        let renewed = async || reading.texts(listeners).await.first().is_some_and(|pid| *pid != pids[0]).then_some(());
        eventually("the reader listens again", renewed).await;
    }
    reading.store.close().await;
    let gone = async || reading.texts(listeners).await.is_empty().then_some(());
    eventually("a store that is closed does not listen", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens_where_that_is_switched_off() {
    let postgres = Postgres::start().await;
    let reading = Reading::of(url_of(&postgres), TERMS, |config| config.coherence.listen = false).await;
    let fact = reading.issue().await;
    for _ in 0..3 {
        reading.handle.covered().await.expect("a good poll");
    }
    assert_eq!(reading.confirm(&fact).await, Confirmed::Current);
    assert!(reading.texts("SELECT query FROM pg_stat_activity WHERE query LIKE 'LISTEN %'").await.is_empty());
}
