//! A store in memory whose reads can be held back, so that interleavings can be told exactly.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::fixture::{NOWHERE, TestClock, digest, eventually, noon, record};
use crate::{
    cache::{Backend, Cached},
    config,
    domain::{
        Digest, Digests, Ending, Error, Found, Freshness, Inserted, NewToken, Propagation, Reading, Revocation,
        RevocationCause, Source, Target, TokenId, TokenQuery, TokenRecord, TokenStore, User, UserChange, UserId,
    },
};

pub(super) const ENDING: fn() -> Ending = || Ending { at: noon(), cause: RevocationCause::Unspecified };

/// The store behind the cache under test.
pub(super) struct TestStore {
    tokens: Mutex<HashMap<Digest, Found>>,
    sent: AtomicUsize,
    gate: watch::Sender<Gate>,
}

/// What happens to a read after it has been sent and has seen the tokens as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Held,
    Failing,
    Panicking,
}

pub(super) type Tested = Cached<TestStore, TestClock>;

impl TestStore {
    /// A store with these live tokens.
    pub(super) fn of(tokens: &[&str]) -> Arc<Self> {
        let live = |token: &&str| (digest(token), Found::Token(Arc::new(record(token))));
        let tokens = Mutex::new(tokens.iter().map(live).collect());
        Arc::new(Self { tokens, sent: AtomicUsize::new(0), gate: watch::Sender::new(Gate::Open) })
    }

    /// A cache in front of this store, with a clock that stands at noon.
    pub(super) fn behind(self: &Arc<Self>, backend: Backend) -> Arc<Tested> {
        self.behind_at(backend, &TestClock::at_noon())
    }

    pub(super) fn behind_at(self: &Arc<Self>, backend: Backend, clock: &TestClock) -> Arc<Tested> {
        Arc::new(Cached::with_clock(Arc::clone(self), backend, &config::Cache::default(), clock.clone()))
    }

    pub(super) fn put(&self, token: &TokenRecord) {
        self.tokens.lock().expect("not poisoned").insert(token.digest, Found::Token(Arc::new(token.clone())));
    }

    /// How many reads were sent.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    pub(super) async fn until_sent(&self, reads: usize) {
        eventually(async || self.sent() >= reads).await;
    }

    pub(super) fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    fn end(&self, ids: &[TokenId]) -> Revocation {
        let mut tokens = self.tokens.lock().expect("not poisoned");
        let mut ended = Vec::new();
        for (digest, found) in tokens.iter_mut() {
            if ids.contains(&digest.token_id()) && matches!(found, Found::Token(_)) {
                *found = Found::Revoked;
                ended.push(digest.token_id());
            }
        }
        revocation(ended)
    }

    fn ids(&self) -> Vec<TokenId> {
        self.tokens.lock().expect("not poisoned").keys().map(|digest| digest.token_id()).collect()
    }
}

fn revocation(ended: Vec<TokenId>) -> Revocation {
    Revocation { count: ended.len() as u64, ended, position: NOWHERE, propagation: Propagation::Complete }
}

fn down() -> Error {
    Error::Unavailable("the database is down".into())
}

impl TokenStore for TestStore {
    async fn find(&self, digests: impl Into<Digests> + Send, _: Freshness) -> Result<Reading, Error> {
        let digests = digests.into();
        let stored = |digest| self.tokens.lock().expect("not poisoned").get(&digest).cloned();
        let found = digests.all().find_map(stored).unwrap_or(Found::Unknown);
        self.sent.fetch_add(1, Ordering::SeqCst);
        let gate = *self.gate.subscribe().wait_for(|gate| *gate != Gate::Held).await.expect("the store lives");
        match gate {
            Gate::Open | Gate::Held => {
                Ok(Reading { found, position: NOWHERE, source: Source::Database, age: Duration::ZERO })
            }
            Gate::Failing => Err(down()),
            Gate::Panicking => panic!("as the test wants it"),
        }
    }

    async fn insert(&self, token: NewToken) -> Result<Inserted, Error> {
        let user = User { id: token.user, active: true, attributes: std::collections::BTreeMap::new() };
        let stored = TokenRecord {
            digest: token.digest,
            user,
            created: token.created,
            expiry: token.expiry,
            revoked: None,
            last_used: None,
            label: token.label,
        };
        self.put(&stored);
        Ok(Inserted::New(stored))
    }

    async fn revoke(&self, target: Target, _: Ending) -> Result<Revocation, Error> {
        tokio::task::yield_now().await;
        Ok(self.end(&target.token_ids()))
    }

    async fn revoke_all(&self, _: UserId, _: Option<Target>, _: Ending) -> Result<Revocation, Error> {
        Ok(self.end(&self.ids()))
    }

    async fn get(&self, _: TokenId) -> Result<TokenRecord, Error> {
        Err(down())
    }

    async fn list(&self, _: TokenQuery) -> Result<Vec<TokenRecord>, Error> {
        Err(down())
    }

    async fn user(&self, _: UserId) -> Result<User, Error> {
        Err(down())
    }

    /// Changes the attributes of the owner of every token.
    async fn upsert_user(&self, change: UserChange) -> Result<(User, Revocation), Error> {
        let attributes = change.attributes.unwrap_or_default();
        for found in self.tokens.lock().expect("not poisoned").values_mut() {
            if let Found::Token(record) = found {
                Arc::make_mut(record).user.attributes.clone_from(&attributes);
            }
        }
        Ok((User { id: change.id, active: true, attributes }, revocation(self.ids())))
    }

    async fn delete_user(&self, _: UserId, _: Ending) -> Result<Revocation, Error> {
        Ok(self.end(&self.ids()))
    }
}
