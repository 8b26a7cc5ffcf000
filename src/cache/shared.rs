//! The shared backend: Redis, every command under a deadline and a breaker permit.
//!
//! No command is queued while there is no connection, and none is sent twice. Redis may
//! lose, delay or refuse whatever it is given: this file reports, and decides nothing.
//! What the bytes mean stands in `entry`, where they are kept in `key`.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use fred::{
    clients::{Client, WithOptions},
    error::{Error as FredError, ErrorKind},
    interfaces::{ClientLike as _, KeysInterface as _, LuaInterface as _, ServerInterface as _},
    types::{Expiration, Value},
};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tracing::Instrument as _;

mod batch;
mod client;
mod error;
mod gather;
mod link;
mod script;
#[cfg(test)]
mod tests;

pub use self::{
    client::StartError,
    error::{CacheError, Code},
};
use self::{
    client::{Blueprint, MAX_IN_FLIGHT, patient, pem},
    error::is_redirect,
    gather::Read,
    link::Link,
    script::{DROP, PUT, Script},
};
use super::{
    breaker::Breaker,
    entry::{Fact, MAX_BYTES, NoFact, Refusal, TOMBSTONE},
    gathering::Gathering,
    key::Keys,
    mac::MacKeys,
};
use crate::{
    config,
    domain::{Digest, TokenId},
    mutant::{self, Mutant},
    reload::{Counters, Files, Reload},
    spans,
    threads::Threads,
};

/// Added to the deadline of a read: fred's own deadline comes first, and this one only if that should fail.
const READ_SLACK: Duration = Duration::from_millis(10);

/// A Redis that replicas share. A clone is the same client.
#[derive(Clone, Debug)]
pub struct SharedCache {
    inner: Arc<Inner>,
}

/// What became of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Stored,
    Tombstoned,
}

impl From<&Value> for Put {
    /// What [`PUT`] answers, and [`script::PUT_ALL`] of each.
    fn from(answer: &Value) -> Self {
        if matches!(answer, Value::Integer(0)) { Self::Tombstoned } else { Self::Stored }
    }
}

type Redis = WithOptions<Client>;
type Answer<T> = Result<T, FredError>;

#[derive(Debug)]
struct Inner {
    /// Those of one serving thread after those of another, as many for each.
    links: Vec<Arc<Link>>,
    threads: Vec<ThreadId>,
    turn: AtomicUsize,
    /// Of each serving thread, and of all others together.
    gatherings: Vec<Arc<Gathering<Read>>>,
    /// Redis has refused the command that reads many keys.
    one_by_one: AtomicBool,
    /// Whether a command may name one key only.
    clustered: bool,
    in_flight: Semaphore,
    keys: Keys,
    mac_keys: MacKeys,
    breaker: Arc<Breaker>,
    deadline: Duration,
    demoted: Arc<Notify>,
    /// Dropping them ends the connections.
    supervisors: Mutex<JoinSet<()>>,
}

// === impl SharedCache ===

impl SharedCache {
    /// Builds a client for each of the threads and starts connecting in the background; a Redis that
    /// is down is no error.
    ///
    /// # Errors
    /// [`StartError`] when `redis.url` is not a Redis URL, or the files for TLS cannot be used.
    pub fn start(
        config: &config::Redis,
        breaker: &config::Breaker,
        mac_keys: MacKeys,
        threads: &Threads,
        reloads: &Counters,
    ) -> Result<Self, StartError> {
        let (trusted, follow) = match pem(config) {
            Some(pem) => {
                let load = move |files: &mut Files| pem.load(files);
                let (trusted, reload) =
                    Reload::start("certificates for Redis", reloads, load).map_err(|_| StartError::Files)?;
                (Some(trusted), Some(reload))
            }
            None => (None, None),
        };
        let blueprint = Blueprint::new(config, trusted.as_ref())?;
        let (breaker, demoted) = (Arc::new(Breaker::new(breaker)), Arc::new(Notify::new()));
        let (mut links, mut supervisors) = (Vec::new(), JoinSet::new());
        for seat in threads.seats() {
            for _ in 0..config.connections.max(1) {
                let link = Arc::new(Link::new(blueprint.clone()));
                let kept_up = Arc::clone(&link).keep_up(Arc::clone(&breaker), Arc::clone(&demoted));
                supervisors.spawn_on(kept_up, &seat.runtime);
                links.push(link);
            }
        }
        if let (Some(reload), Some(seat)) = (follow, threads.seats().first()) {
            supervisors.spawn_on(reload.run(), &seat.runtime);
        }
        let inner = Inner {
            clustered: blueprint.is_clustered(),
            links,
            threads: threads.seats().iter().map(|seat| seat.thread).collect(),
            turn: AtomicUsize::new(0),
            gatherings: (0..=threads.seats().len()).map(|_| Gathering::of(gather::MOST)).collect(),
            one_by_one: AtomicBool::new(false),
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            keys: Keys::new(&config.key_prefix),
            mac_keys,
            breaker,
            deadline: config.command_timeout,
            demoted,
            supervisors: Mutex::new(supervisors),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// One PING, with the deadline of a command and under the breaker: called at intervals,
    /// it notices a Redis that is lost or back while nobody asks for anything.
    ///
    /// # Errors
    /// [`CacheError`]; `Refused` (MISCONF) when Redis only refuses writes.
    pub async fn ping(&self) -> Result<(), CacheError> {
        self.read("PING", |redis| async move { redis.ping::<Value>(None).await }).await.map(drop)
    }

    /// The breaker that every command passes.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.inner.breaker
    }

    /// Closes the connections. Commands fail afterwards.
    pub async fn close(&self) {
        let mut supervisors = mem::take(&mut *self.inner.supervisors.lock().unwrap_or_else(PoisonError::into_inner));
        supervisors.shutdown().await;
    }

    /// Reads the fact of a token, at most [`MAX_BYTES`] of it and one more to tell that there are more.
    async fn get_alone(&self, digest: Digest) -> Result<Result<Fact, NoFact>, CacheError> {
        let entry = |redis: Redis| {
            let key = self.inner.keys.of(digest.token_id());
            async move { redis.getrange::<Value, _>(key, 0, MAX_BYTES).await }
        };
        match self.read("GETRANGE", entry).await {
            Ok(value) => Ok(Fact::decode(value.as_bytes().unwrap_or_default(), digest, &self.inner.mac_keys)),
            Err(error) if error.is("WRONGTYPE") => Ok(Err(Refusal::Type.into())),
            Err(error) => Err(error),
        }
    }

    /// What stands at a token's key whose digest is not known, so that no fact can be told from a forged one.
    pub(super) async fn kind(&self, id: TokenId) -> Result<NoFact, CacheError> {
        let first = |redis: Redis| {
            let key = self.inner.keys.of(id);
            async move { redis.getrange::<Value, _>(key, 0, 0).await }
        };
        match self.read("GETRANGE", first).await {
            Ok(value) => Ok(match value.as_bytes().unwrap_or_default() {
                [] => NoFact::Absent,
                [TOMBSTONE, ..] => NoFact::Tombstone,
                _ => Refusal::Mac.into(),
            }),
            Err(error) if error.is("WRONGTYPE") => Ok(Refusal::Type.into()),
            Err(error) => Err(error),
        }
    }

    /// How long what stands at a token's key is kept; `None` when that is not known.
    pub(super) async fn remaining(&self, id: TokenId) -> Option<Duration> {
        let pttl = |redis: Redis| {
            let key = self.inner.keys.of(id);
            async move { redis.pttl(key).await }
        };
        let left: i64 = self.read("PTTL", pttl).await.ok()?;
        u64::try_from(left).ok().map(Duration::from_millis)
    }

    /// How many keys there are, other programs' too; `None` in a cluster, of whose servers each knows its own only.
    pub(super) async fn keys_in_all(&self) -> Option<u64> {
        if self.client().is_clustered() {
            return None;
        }
        self.read("DBSIZE", |redis| async move { redis.dbsize().await }).await.ok()
    }

    /// The bytes of a fact, as [`Self::put`] takes them; `None` when it is too large to be stored.
    pub(super) fn encode(&self, fact: &Fact) -> Option<Vec<u8>> {
        fact.encode(&self.inner.mac_keys)
    }

    /// Stores an entry for `life`, unless a tombstone stands there.
    pub(super) async fn put(&self, id: TokenId, entry: Vec<u8>, life: Duration) -> Result<Put, CacheError> {
        let arguments = vec![Value::Bytes(entry.into()), millis(life).into()];
        if mutant::is(Mutant::PutGuard) {
            let key = self.inner.keys.of(id);
            let unguarded = |redis: Redis| {
                let (key, arguments) = (key.clone(), arguments.clone());
                async move { redis.eval::<Value, _, _, _>(script::UNGUARDED_PUT, key, arguments).await }
            };
            self.write("EVAL", unguarded).await?;
            return Ok(Put::Stored);
        }
        let stored = self.evaluate(PUT, vec![self.inner.keys.of(id)], arguments).await?;
        Ok(Put::from(&stored))
    }

    /// Replaces an entry with a tombstone that keeps fills out for `life`.
    ///
    /// Where Redis refuses the write, the entry is at least deleted if it lets us: that
    /// takes no memory. The error stays, since a delete keeps no fill out.
    pub(super) async fn bury(&self, id: TokenId, life: Duration) -> Result<(), CacheError> {
        let (tombstone, expire) = (Value::Bytes(vec![TOMBSTONE].into()), Some(Expiration::PX(millis(life))));
        let key = self.inner.keys.of(id);
        let set = |redis: Redis| {
            let (key, tombstone, expire) = (key.clone(), tombstone.clone(), expire.clone());
            async move { patient(&redis).set::<(), _, _>(key, tombstone, expire, None, false).await }
        };
        let buried = self.write("SET", set).await;
        if matches!(buried, Err(CacheError::Refused(_))) {
            let _best_effort = self.drop_fact(id).await;
        }
        buried
    }

    /// Deletes an entry, unless a tombstone stands there.
    pub(super) async fn drop_fact(&self, id: TokenId) -> Result<(), CacheError> {
        self.evaluate(DROP, vec![self.inner.keys.of(id)], Vec::new()).await.map(drop)
    }

    /// Runs a script on tokens' keys, by its hash where Redis has it.
    async fn evaluate(&self, script: Script, keys: Vec<String>, arguments: Vec<Value>) -> Result<Value, CacheError> {
        let by_hash = |redis: Redis| {
            let (keys, arguments) = (keys.clone(), arguments.clone());
            async move { redis.evalsha::<Value, _, _, _>(script.sha, keys, arguments).await }
        };
        let whole = |redis: Redis| {
            let (keys, arguments) = (keys.clone(), arguments.clone());
            async move { redis.eval::<Value, _, _, _>(script.text, keys, arguments).await }
        };
        match self.write("EVALSHA", by_hash).await {
            Err(error) if error.is("NOSCRIPT") => self.write("EVAL", whole).await,
            known => known,
        }
    }

    /// Runs a command that changes nothing, so that giving up on it early loses nothing.
    async fn read<T, F>(&self, name: &'static str, command: impl Fn(Redis) -> F) -> Result<T, CacheError>
    where
        F: Future<Output = Answer<T>>,
    {
        let bound = self.inner.deadline + READ_SLACK;
        let late = |_| FredError::new(ErrorKind::Timeout, "");
        let bounded = |redis| {
            let answer = timeout(bound, command(redis));
            async move { answer.await.map_err(late)? }
        };
        self.run(name, bounded).await
    }

    /// Runs a write. Only fred's own deadline bounds it: that one also takes a command
    /// back that has not been sent yet, and an outer one would not.
    async fn write<T, F>(&self, name: &'static str, command: impl Fn(Redis) -> F) -> Result<T, CacheError>
    where
        F: Future<Output = Answer<T>>,
    {
        let outcome = self.run(name, command).await;
        if outcome.as_ref().is_err_and(|error| error.is("READONLY")) {
            self.inner.demoted.notify_one();
        }
        outcome
    }

    /// Runs a command under a permit. It is boxed: a command of fred's would make the
    /// future of every call that leads here many kilobytes large, and those are moved about.
    ///
    /// A redirect of a cluster says that the command was not carried out. Once it has come, fred knows
    /// where the slot is, and the command is given once more.
    async fn run<T, F>(&self, name: &'static str, command: impl Fn(Redis) -> F) -> Result<T, CacheError>
    where
        F: Future<Output = Answer<T>>,
    {
        let _place = self.inner.in_flight.try_acquire().map_err(|_| CacheError::Busy)?;
        let permit = self.inner.breaker.admit()?;
        let mut answer = Box::pin(command(self.client())).instrument(spans::redis(name)).await;
        if answer.as_ref().is_err_and(is_redirect) {
            answer = Box::pin(command(self.client())).instrument(spans::redis(name)).await;
        }
        let outcome = answer.map_err(|error| CacheError::of(error, self.inner.deadline));
        match outcome.as_ref().err().and_then(|error| error.fault().map(|fault| (fault, error))) {
            Some((fault, error)) => permit.failure(fault, error),
            None => permit.success(),
        }
        outcome
    }

    /// The client of this thread whose turn it is, or another one that is connected.
    fn client(&self) -> Redis {
        let links = &self.inner.links;
        let first = self.first();
        let mut clients = (0..links.len()).map(|next| links[(first.wrapping_add(next)) % links.len()].client());
        let client = clients.next().expect("there is a link at least");
        if client.is_connected() { client } else { clients.find(Redis::is_connected).unwrap_or(client) }
    }

    /// Where among the links those of this thread begin, moved on by its turn; any where it has none.
    fn first(&self) -> usize {
        let (threads, each) = (self.inner.threads.len(), self.inner.links.len() / self.inner.threads.len());
        let turn = if each == 1 { 0 } else { self.inner.turn.fetch_add(1, Ordering::Relaxed) };
        let seat = self.seat();
        if seat < threads { seat * each + turn % each } else { turn }
    }

    /// The number of this thread among those that serve; theirs in all for any other.
    fn seat(&self) -> usize {
        let (threads, here) = (&self.inner.threads, thread::current().id());
        threads.iter().position(|thread| *thread == here).unwrap_or(threads.len())
    }
}

/// Redis counts in whole milliseconds and refuses zero.
fn millis(life: Duration) -> i64 {
    i64::try_from(life.as_millis()).unwrap_or(i64::MAX).max(1)
}
