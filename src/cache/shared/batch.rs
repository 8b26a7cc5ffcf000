//! Many entries at once.

use std::{sync::atomic::Ordering, time::Duration};

use fred::{
    interfaces::{ClientLike as _, LuaInterface as _},
    types::{ClusterHash, CustomCommand, Value},
};
use futures::future::{join_all, try_join_all};

use super::{
    CacheError, Put, SharedCache, millis,
    script::{GET_ALL, PUT_ALL, Script},
};
use crate::{
    cache::entry::{Fact, MAX_BYTES, NoFact, Refusal},
    domain::{Digest, TokenId},
    mutant::{self, Mutant},
};

// === impl SharedCache ===

impl SharedCache {
    /// The facts of several tokens, in their order, with one command where one server has all keys.
    pub(in crate::cache) async fn get_all(&self, digests: &[Digest]) -> Result<Vec<Result<Fact, NoFact>>, CacheError> {
        match digests {
            [] => Ok(Vec::new()),
            [one] => Ok(vec![self.get_alone(*one).await?]),
            _ if !self.gathers() => self.get_each(digests).await,
            _ => match self.get_by_script(digests).await {
                // It came with Redis 7, and a user needs leave for it.
                Err(error) if error.is("ERR") || error.is("NOPERM") => {
                    self.inner.one_by_one.store(true, Ordering::Relaxed);
                    self.get_each(digests).await
                }
                known => known,
            },
        }
    }

    /// Whether one command can read many keys.
    pub(super) fn gathers(&self) -> bool {
        !self.inner.clustered && !self.inner.one_by_one.load(Ordering::Relaxed)
    }

    async fn get_each(&self, digests: &[Digest]) -> Result<Vec<Result<Fact, NoFact>>, CacheError> {
        try_join_all(digests.iter().map(|one| self.get_alone(*one))).await
    }

    async fn get_by_script(&self, digests: &[Digest]) -> Result<Vec<Result<Fact, NoFact>>, CacheError> {
        let keys = digests.iter().map(|digest| self.inner.keys.of(digest.token_id()).into());
        let count = |count: usize| Value::from(i64::try_from(count).unwrap_or(i64::MAX));
        let head = [GET_ALL.sha.into(), count(digests.len())];
        let arguments: Vec<Value> = head.into_iter().chain(keys).chain([count(MAX_BYTES)]).collect();
        let values = match self.run_get_all(&arguments).await {
            Err(error) if error.is("NOSCRIPT") => {
                self.load(GET_ALL).await?;
                self.run_get_all(&arguments).await?
            }
            known => known?,
        };
        let decoded = |(value, digest): (Value, &Digest)| match value.as_bytes() {
            Some(bytes) => Fact::decode(bytes, *digest, &self.inner.mac_keys),
            None => Err(Refusal::Type.into()),
        };
        Ok(values.into_iter().zip(digests).map(decoded).collect())
    }

    /// A script that only reads runs while writes are paused, too.
    async fn run_get_all(&self, arguments: &[Value]) -> Result<Vec<Value>, CacheError> {
        let command = || CustomCommand::new_static("EVALSHA_RO", ClusterHash::FirstKey, false);
        self.read("EVALSHA_RO", async |redis| redis.custom(command(), arguments.to_vec()).await).await
    }

    /// Stores entries as [`Self::put`] does, with one command where one server has all keys.
    pub(in crate::cache) async fn put_all(
        &self,
        fills: Vec<(TokenId, Vec<u8>, Duration)>,
    ) -> Vec<Result<Put, CacheError>> {
        if fills.len() < 2 || self.inner.clustered || mutant::is(Mutant::PutGuard) {
            return join_all(fills.into_iter().map(|(id, entry, life)| self.put(id, entry, life))).await;
        }
        let count = fills.len();
        let (mut keys, mut arguments) = (Vec::with_capacity(count), Vec::with_capacity(2 * count));
        for (id, entry, life) in fills {
            keys.push(self.inner.keys.of(id));
            arguments.extend([Value::Bytes(entry.into()), millis(life).into()]);
        }
        match self.evaluate(PUT_ALL, keys, arguments).await {
            Ok(Value::Array(stored)) => stored.iter().map(|one| Ok(Put::from(one))).collect(),
            Ok(_) => Vec::new(),
            Err(error) => vec![Err(error); count],
        }
    }

    async fn load(&self, script: Script) -> Result<(), CacheError> {
        self.read("SCRIPT LOAD", |redis| async move { redis.script_load::<Value, _>(script.text).await })
            .await
            .map(drop)
    }
}
