//! A store in memory whose reads can be held back, so that interleavings can be told exactly.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::{sync::watch, task::JoinHandle};

use super::fixture::{NOWHERE, TestClock, digest, eventually, noon, record};
use crate::{
    cache::{Ack, Cached, Proof, ReproofShare, Tiers},
    config,
    domain::{
        Digest, Digests, Ended, Ending, Error, Extended, Extension, Found, Freshness, Inserted, Journal, Look,
        NewToken, Poll, Position, Propagation, Reading, Record, Revocation, RevocationCause, Role, Source, Target,
        TokenId, TokenQuery, TokenRecord, TokenStore, Triggers, User, UserChange, UserId,
    },
    journal::{self, Terms},
};

pub(super) const ENDING: fn() -> Ending = || Ending { at: noon(), cause: RevocationCause::Unspecified };

/// The store behind the cache under test.
pub(super) struct TestStore {
    tokens: Mutex<HashMap<Digest, Found>>,
    /// Changed under the lock of `tokens` only, as a trigger would.
    records: Mutex<Vec<Record>>,
    sent: AtomicUsize,
    /// Reads of several tokens together.
    batches: AtomicUsize,
    extended: AtomicUsize,
    gate: watch::Sender<Gate>,
}

/// A replica's way to the journal, which can be cut.
pub(super) struct Wire {
    store: Arc<TestStore>,
    flowing: watch::Sender<bool>,
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

/// One of several processes on the same store.
pub(super) struct Replica {
    pub(super) cached: Arc<Tested>,
    pub(super) clock: TestClock,
    wire: Arc<Wire>,
    reader: JoinHandle<()>,
}

impl TestStore {
    /// A store with these live tokens.
    pub(super) fn of(tokens: &[&str]) -> Arc<Self> {
        let live = |token: &&str| (digest(token), Found::Token(Arc::new(record(token))));
        let tokens = Mutex::new(tokens.iter().map(live).collect());
        let [sent, batches, extended] = [0; 3].map(AtomicUsize::new);
        let gate = watch::Sender::new(Gate::Open);
        Arc::new(Self { tokens, records: Mutex::default(), sent, batches, extended, gate })
    }

    /// A cache in front of this store, with a clock that stands at noon.
    pub(super) fn behind(self: &Arc<Self>, backend: Tiers) -> Arc<Tested> {
        self.behind_at(backend, &TestClock::at_noon())
    }

    pub(super) fn behind_at(self: &Arc<Self>, backend: Tiers, clock: &TestClock) -> Arc<Tested> {
        let config = config::Cache { entry_ttl: Duration::from_mins(1), ..config::Cache::default() };
        Arc::new(Cached::with_clock(Arc::clone(self), backend, &config, clock.clone()))
    }

    /// A replica with default settings that reads this store's journal.
    pub(super) async fn proven(self: &Arc<Self>, tiers: Tiers, terms: Terms, ack: Ack, reproof_ratio: f64) -> Replica {
        let wire = Arc::new(Wire { store: Arc::clone(self), flowing: watch::Sender::new(true) });
        let (reader, journal) = journal::reader(Arc::clone(&wire), terms);
        let reproofs = ReproofShare { ratio: reproof_ratio, interval: Duration::ZERO };
        let (proof, clock) = (Proof { journal, terms, ack, reproofs }, TestClock::at_noon());
        let cached = Cached::assemble(Arc::clone(self), tiers, Some(proof), &config::Cache::default(), clock.clone());
        let replica = Replica { cached: Arc::new(cached), clock, wire, reader: tokio::spawn(reader.run()) };
        replica.cached.prime().await.expect("the store answers");
        replica
    }

    pub(super) fn put(&self, token: &TokenRecord) {
        self.tokens.lock().expect("not poisoned").insert(token.digest, Found::Token(Arc::new(token.clone())));
    }

    /// How many reads were sent.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// How often several tokens were read together.
    pub(super) fn batches(&self) -> usize {
        self.batches.load(Ordering::SeqCst)
    }

    /// How many extensions were asked for.
    pub(super) fn extended(&self) -> usize {
        self.extended.load(Ordering::SeqCst)
    }

    pub(super) async fn until_sent(&self, reads: usize) {
        eventually(async || self.sent() >= reads).await;
    }

    pub(super) fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    /// The gate, once it holds nothing back.
    async fn passed(&self) -> Gate {
        *self.gate.subscribe().wait_for(|gate| *gate != Gate::Held).await.expect("the store lives")
    }

    /// Whether the token ended at the time that was read, and so ends at the later one now.
    fn moved(&self, extension: &Extension) -> bool {
        match self.tokens.lock().expect("not poisoned").get_mut(&extension.digest) {
            Some(Found::Token(record)) if record.expiry == Some(extension.from) => {
                Arc::make_mut(record).expiry = Some(extension.to);
                true
            }
            Some(_) | None => false,
        }
    }

    fn end(&self, ids: &[TokenId]) -> Revocation {
        self.end_in(&mut self.tokens.lock().expect("not poisoned"), ids, true)
    }

    /// Ends a token as a writer does that goes around the triggers.
    pub(super) fn end_unrecorded(&self, token: &str) {
        self.end_in(&mut self.tokens.lock().expect("not poisoned"), &[digest(token).token_id()], false);
    }

    fn end_in(&self, tokens: &mut HashMap<Digest, Found>, ids: &[TokenId], recorded: bool) -> Revocation {
        let mut ended = Vec::new();
        for (digest, found) in tokens.iter_mut() {
            if ids.contains(&digest.token_id()) && matches!(found, Found::Token(_)) {
                *found = Found::Revoked;
                ended.push(digest.token_id());
            }
        }
        let mut records = self.records.lock().expect("not poisoned");
        for id in ended.iter().filter(|_| recorded) {
            let seq = Some(records.len() as u64 + 1);
            records.push(Record { seq, ended: Ended::Token(*id) });
        }
        revocation(ended)
    }

    fn position(&self) -> Position {
        Position { seq: self.records.lock().expect("not poisoned").len() as u64, ..NOWHERE }
    }

    fn ids(&self) -> Vec<TokenId> {
        self.tokens.lock().expect("not poisoned").keys().map(|digest| digest.token_id()).collect()
    }
}

fn revocation(ended: Vec<TokenId>) -> Revocation {
    Revocation { count: ended.len() as u64, ended, owner: None, position: NOWHERE, propagation: Propagation::Complete }
}

fn down() -> Error {
    Error::Unavailable("the database is down".into())
}

// === impl Replica ===

impl Replica {
    pub(super) async fn find(&self, token: &str) -> (Found, Source) {
        let reading = self.cached.find(digest(token), Freshness::Any).await.expect("the store answers");
        (reading.found, reading.source)
    }

    /// Looks up until the answer comes from there.
    pub(super) async fn until_hit(&self, token: &str, tier: Source) {
        eventually(async || self.find(token).await.1 == tier).await;
    }

    pub(super) async fn revoke(&self, token: &str) -> Propagation {
        self.cached.revoke(Target::Digest(digest(token)), ENDING()).await.expect("committed").propagation
    }

    /// Re-proofs under way.
    pub(super) fn reproving(&self) -> usize {
        self.cached.inner.reproofs.under_way()
    }

    /// Holds back every answer of the journal from now on.
    pub(super) fn cut(&self) {
        self.wire.flowing.send_replace(false);
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

// === impl Wire ===

impl Wire {
    async fn flows(&self) {
        self.flowing.subscribe().wait_for(|flowing| *flowing).await.expect("the replica lives");
    }
}

impl Journal for Wire {
    async fn poll(&self, after: Option<Position>) -> Result<Poll, Error> {
        self.flows().await;
        let known = after.map_or(0, |after| after.seq);
        let (position, records) = {
            let _transaction = self.store.tokens.lock().expect("not poisoned");
            (self.store.position(), self.store.records.lock().expect("not poisoned").clone())
        };
        let records = records.into_iter().filter(|record| record.seq > Some(known)).collect();
        Ok(Poll { position, floor: 0, now: noon(), role: Role::Primary, records })
    }

    async fn sequence(&self) -> Result<u64, Error> {
        Ok(0)
    }

    async fn purge(&self, _: u64) -> Result<u64, Error> {
        Ok(0)
    }

    async fn intact(&self) -> Result<Triggers, Error> {
        Ok(Triggers::Enabled)
    }

    async fn canary(&self) -> Result<Option<TokenId>, Error> {
        Ok(None)
    }

    async fn note_everything(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

impl TokenStore for TestStore {
    async fn find(&self, digests: impl Into<Digests> + Send, _: impl Into<Look> + Send) -> Result<Reading, Error> {
        let digests = digests.into();
        let (found, position) = {
            let tokens = self.tokens.lock().expect("not poisoned");
            let stored = |digest| tokens.get(&digest).cloned();
            (digests.all().find_map(stored).unwrap_or(Found::Unknown), self.position())
        };
        self.sent.fetch_add(1, Ordering::SeqCst);
        match self.passed().await {
            Gate::Open | Gate::Held => Ok(Reading { found, position, source: Source::Database, age: Duration::ZERO }),
            Gate::Failing => Err(down()),
            Gate::Panicking => panic!("as the test wants it"),
        }
    }

    async fn find_all(&self, batch: Vec<(Digests, Look)>) -> Vec<Result<Reading, Error>> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        join_all(batch.into_iter().map(|(digests, look)| self.find(digests, look))).await
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

    async fn extend(&self, extension: Extension) -> Result<Extended, Error> {
        self.extended.fetch_add(1, Ordering::SeqCst);
        match self.passed().await {
            Gate::Failing => Err(down()),
            _ if self.moved(&extension) => Ok(Extended::Moved),
            _ => Ok(Extended::Unmoved),
        }
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
