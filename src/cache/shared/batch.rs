//! Many entries at once.

use fred::{
    interfaces::{ClientLike as _, LuaInterface as _},
    types::{ClusterHash, CustomCommand, Value},
};
use futures::future::try_join_all;

use super::{
    CacheError, SharedCache,
    script::{GET_ALL, Script},
};
use crate::{
    cache::entry::{Fact, MAX_BYTES, NoFact, Refusal},
    domain::Digest,
};

// === impl SharedCache ===

impl SharedCache {
    /// The facts of several tokens, in their order, with one command where one server has all keys.
    pub(in crate::cache) async fn get_all(&self, digests: &[Digest]) -> Result<Vec<Result<Fact, NoFact>>, CacheError> {
        match digests {
            [] => Ok(Vec::new()),
            [one] => Ok(vec![self.get(*one).await?]),
            _ if self.inner.clustered => try_join_all(digests.iter().map(|one| self.get(*one))).await,
            _ => match self.get_by_script(digests).await {
                // It came with Redis 7.
                Err(error) if error.is("ERR") => try_join_all(digests.iter().map(|one| self.get(*one))).await,
                known => known,
            },
        }
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

    async fn load(&self, script: Script) -> Result<(), CacheError> {
        self.read("SCRIPT LOAD", |redis| async move { redis.script_load::<Value, _>(script.text).await })
            .await
            .map(drop)
    }
}
