//! The shared backend: Redis, every command under a deadline and a breaker permit.
//!
//! No command is queued while there is no connection, and none is sent twice. Redis may
//! lose, delay or refuse whatever it is given: this file reports, and decides nothing.
//! What the bytes mean stands in `entry`, where they are kept in `key`.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fred::{
    clients::{Client, WithOptions},
    error::{Error as FredError, ErrorKind},
    interfaces::{ClientLike as _, KeysInterface as _, LuaInterface as _},
    types::{Expiration, Value},
};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::timeout,
};

mod client;
mod error;
mod link;
#[cfg(test)]
mod tests;

pub use self::{
    client::StartError,
    error::{CacheError, Code},
};
use self::{
    client::{Blueprint, MAX_IN_FLIGHT},
    link::Link,
};
use super::{
    breaker::Breaker,
    entry::{Fact, MAX_BYTES, NoFact, TOMBSTONE},
    key::Keys,
};
use crate::{
    config,
    domain::{Digest, TokenId},
    mutant::{self, Mutant},
};

/// Added to the deadline of a read: fred's own deadline comes first, and this one only if that should fail.
const READ_SLACK: Duration = Duration::from_millis(10);

/// Stores a fact unless a tombstone stands there. `pcall`: whatever else stands there,
/// a value of another type above all, is replaced.
const PUT: &str = r"if redis.pcall('GETRANGE', KEYS[1], 0, 0) == '\0' then return 0 end
return redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])";
/// SHA-1 of [`PUT`]; a test compares it with what Redis computes.
const PUT_SHA: &str = "4513be8590d80346069556207b40939746c0c757";

/// What only [`Mutant::PutGuard`] sends.
const UNGUARDED_PUT: &str = "return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])";

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

type Redis = WithOptions<Client>;
type Answer<T> = Result<T, FredError>;

#[derive(Debug)]
struct Inner {
    links: Vec<Arc<Link>>,
    turn: AtomicUsize,
    in_flight: Semaphore,
    keys: Keys,
    breaker: Arc<Breaker>,
    deadline: Duration,
    demoted: Arc<Notify>,
    /// Dropping them ends the connections.
    supervisors: Mutex<JoinSet<()>>,
}

// === impl SharedCache ===

impl SharedCache {
    /// Builds the client and starts connecting in the background; a Redis that is down is
    /// no error. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when `redis.url` is not a Redis URL.
    pub fn start(config: &config::Redis, breaker: &config::Breaker) -> Result<Self, StartError> {
        let blueprint = Blueprint::new(config)?;
        let links: Vec<_> = (0..config.connections.max(1)).map(|_| Arc::new(Link::new(blueprint.clone()))).collect();
        let (breaker, demoted) = (Arc::new(Breaker::new(breaker)), Arc::new(Notify::new()));
        let mut supervisors = JoinSet::new();
        for link in &links {
            supervisors.spawn(Arc::clone(link).keep_up(Arc::clone(&breaker), Arc::clone(&demoted)));
        }
        let inner = Inner {
            links,
            turn: AtomicUsize::new(0),
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            keys: Keys::new(&config.key_prefix),
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
        self.read(async |redis| redis.ping::<Value>(None).await).await.map(drop)
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
    pub(super) async fn get(&self, digest: Digest) -> Result<Result<Fact, NoFact>, CacheError> {
        let key = || self.inner.keys.of(digest.token_id());
        let value: Value = self.read(async |redis| redis.getrange(key(), 0, MAX_BYTES).await).await?;
        Ok(Fact::decode(value.as_bytes().unwrap_or_default(), digest))
    }

    /// Stores an entry for `life`, unless a tombstone stands there.
    pub(super) async fn put(&self, id: TokenId, entry: Vec<u8>, life: Duration) -> Result<Put, CacheError> {
        let (key, arguments) = (self.inner.keys.of(id), vec![Value::Bytes(entry.into()), millis(life).into()]);
        if mutant::is(Mutant::PutGuard) {
            self.write(async |redis| redis.eval::<Value, _, _, _>(UNGUARDED_PUT, key, arguments).await).await?;
            return Ok(Put::Stored);
        }
        let (same_key, same_arguments) = (key.clone(), arguments.clone());
        let known = self.write(async |redis| redis.evalsha(PUT_SHA, same_key, same_arguments).await).await;
        let answer: Value = match known {
            Err(error) if error.is("NOSCRIPT") => {
                self.write(async |redis| redis.eval(PUT, key, arguments).await).await?
            }
            known => known?,
        };
        Ok(if answer.is_integer() { Put::Tombstoned } else { Put::Stored })
    }

    /// Replaces an entry with a tombstone that keeps fills out for `life`.
    ///
    /// Where Redis refuses the write, the entry is at least deleted if it lets us: that
    /// takes no memory. The error stays, since a delete keeps no fill out.
    pub(super) async fn bury(&self, id: TokenId, life: Duration) -> Result<(), CacheError> {
        let key = || self.inner.keys.of(id);
        let (tombstone, expire) = (Value::Bytes(vec![TOMBSTONE].into()), Some(Expiration::PX(millis(life))));
        let set = async |redis: Redis| redis.set::<(), _, _>(key(), tombstone, expire, None, false).await;
        let buried = self.write(set).await;
        if matches!(buried, Err(CacheError::Refused(_))) {
            let _best_effort = self.write(async |redis| redis.del::<Value, _>(key()).await).await;
        }
        buried
    }

    /// Runs a command that changes nothing, so that giving up on it early loses nothing.
    async fn read<T>(&self, command: impl AsyncFnOnce(Redis) -> Answer<T>) -> Result<T, CacheError> {
        let bound = self.inner.deadline + READ_SLACK;
        let late = |_| FredError::new(ErrorKind::Timeout, "");
        self.run(async |redis| timeout(bound, command(redis)).await.map_err(late)?).await
    }

    /// Runs a write. Only fred's own deadline bounds it: that one also takes a command
    /// back that has not been sent yet, and an outer one would not.
    async fn write<T>(&self, command: impl AsyncFnOnce(Redis) -> Answer<T>) -> Result<T, CacheError> {
        let outcome = self.run(command).await;
        if outcome.as_ref().is_err_and(|error| error.is("READONLY")) {
            self.inner.demoted.notify_one();
        }
        outcome
    }

    /// Runs a command under a permit. It is boxed: a command of fred's would make the
    /// future of every call that leads here many kilobytes large, and those are moved about.
    async fn run<T>(&self, command: impl AsyncFnOnce(Redis) -> Answer<T>) -> Result<T, CacheError> {
        let _place = self.inner.in_flight.try_acquire().map_err(|_| CacheError::Busy)?;
        let permit = self.inner.breaker.admit()?;
        let answer = Box::pin(command(self.client())).await;
        let outcome = answer.map_err(|error| CacheError::of(error, self.inner.deadline));
        match outcome.as_ref().err().and_then(|error| error.fault().map(|fault| (fault, error))) {
            Some((fault, error)) => permit.failure(fault, error),
            None => permit.success(),
        }
        outcome
    }

    /// The client whose turn it is, of those that are connected.
    fn client(&self) -> Redis {
        let links = &self.inner.links;
        let first = self.inner.turn.fetch_add(1, Ordering::Relaxed);
        let mut clients = (0..links.len()).map(|next| links[(first.wrapping_add(next)) % links.len()].client());
        let client = clients.next().expect("there is a link at least");
        if client.is_connected() { client } else { clients.find(Redis::is_connected).unwrap_or(client) }
    }
}

/// Redis counts in whole milliseconds and refuses zero.
fn millis(life: Duration) -> i64 {
    i64::try_from(life.as_millis()).unwrap_or(i64::MAX).max(1)
}
