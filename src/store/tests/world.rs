//! What a case works with: a database of its own, tokens and times.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, QueryResult, Statement};

use super::server::{Kind, Server};
use crate::{
    config::{Config, SecretText},
    domain::{
        Digest, Digests, Ending, Found, Freshness, IdempotentRequest, Inserted, Label, NewToken, RevocationCause,
        Secret, Timestamp, Token, TokenPrefix, TokenRecord, TokenStore as _, UserId,
    },
    store::Database,
};

pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) config: Config,
    pub(super) store: Database,
}

// === impl World ===

impl World {
    /// An empty database, for the default schema.
    pub(super) async fn empty(server: &Server) -> Self {
        let mut config = Config::default();
        config.database.url = SecretText::new(server.database().await);
        // What is tested is not how long a busy machine takes.
        config.database.acquire_timeout = Duration::from_secs(10);
        config.database.statement_timeout = Duration::from_secs(10);
        let store = Database::open(&config).await.expect("it opens");
        Self { kind: server.kind(), config, store }
    }

    /// A database with our own tables.
    pub(super) async fn native(server: &Server) -> Self {
        let world = Self::empty(server).await;
        world.store.migrate_up().await.expect("it is migrated");
        world
    }

    /// Another view of the same database.
    pub(super) async fn reopen(&self, change: impl FnOnce(&mut Config)) -> Database {
        let mut config = self.config.clone();
        change(&mut config);
        Database::open(&config).await.expect("it opens")
    }

    /// Statements of another program.
    pub(super) async fn sql(&self, statements: &str) {
        let connection = self.connection().await;
        for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
            connection.execute_unprepared(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        connection.close().await.expect("closed");
    }

    /// Rows for another program.
    pub(super) async fn query(&self, sql: &str) -> Vec<QueryResult> {
        let connection = self.connection().await;
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let rows = connection.query_all_raw(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.expect("closed");
        rows
    }

    /// The first column of the first row, as text.
    pub(super) async fn text(&self, sql: &str) -> Option<String> {
        self.query(sql).await.first().and_then(|row| row.try_get_by_index(0).expect("text"))
    }

    async fn connection(&self) -> DatabaseConnection {
        sea_orm::Database::connect(self.config.database.url.expose()).await.expect("it connects")
    }
}

/// A moment with microseconds, the same in every run.
pub(super) fn now() -> Timestamp {
    DateTime::from_timestamp(1_800_000_000, 123_456_000).expect("a time")
}

pub(super) fn ending() -> Ending {
    Ending { at: now() + TimeDelta::seconds(1), cause: RevocationCause::SignedOut }
}

pub(super) fn user(id: &str) -> UserId {
    id.parse().expect("a user_id")
}

/// A new token of a user, with a label, that lives an hour.
pub(super) fn token(owner: &str) -> NewToken {
    let secret = Token::of(&TokenPrefix::default(), &Secret::random());
    NewToken {
        digest: secret.digest(),
        key: secret.key(),
        user: user(owner),
        created: now(),
        expiry: Some(now() + TimeDelta::hours(1)),
        label: Label {
            display_name: "Ada's laptop \u{1f4bb}".to_owned(),
            scopes: vec!["read".to_owned(), "wri\"te".to_owned()],
            metadata: BTreeMap::from([("ip".to_owned(), "::1".to_owned())]),
            hint: "0123".to_owned(),
        },
        issuer: Some("gateway".to_owned()),
        request: None,
    }
}

pub(super) fn request(id: u8, body: u8) -> IdempotentRequest {
    IdempotentRequest { id: [id; 32], body: [body; 32], sealed: [id ^ body; 64] }
}

/// Stores a token that nothing speaks against.
pub(super) async fn issue(store: &Database, token: NewToken) -> TokenRecord {
    match store.insert(token).await.expect("it is stored") {
        Inserted::New(record) => record,
        Inserted::Repeated(..) => panic!("it is new"),
    }
}

pub(super) async fn find(store: &Database, digest: Digest) -> Found {
    find_either(store, digest.into()).await
}

/// What a look-up answers, alone and as one of a batch.
pub(super) async fn find_either(store: &Database, digests: Digests) -> Found {
    let nobodys = Digests::from(Digest::from_bytes([7; 64]));
    let batch = [digests, nobodys, digests].map(|digests| (digests, Freshness::Any.into())).to_vec();
    let batch = store.find_all(batch).await.into_iter();
    let mut batch = batch.map(|reading| reading.expect("an answer").found);
    let alone = store.find(digests, Freshness::Any).await.expect("an answer").found;
    assert_eq!(batch.next().as_ref(), Some(&alone), "first in a batch");
    assert_eq!(batch.next(), Some(Found::Unknown), "a token that nobody has");
    assert_eq!(batch.next().as_ref(), Some(&alone), "in a batch again");
    alone
}

pub(super) async fn find_token(store: &Database, digest: Digest) -> TokenRecord {
    match find(store, digest).await {
        Found::Token(record) => (*record).clone(),
        other => panic!("a token, not {other:?}"),
    }
}
