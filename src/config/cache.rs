//! What is kept in front of the database, and for how long it is believed.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretText, settings};

/// Least length of a key for cache entries, in bytes; white space around it does not count.
pub const MIN_MAC_KEY_BYTES: usize = 32;

/// What is kept in front of the database.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Cache {
    /// `auto` (Redis when `redis.url` is set, else memory), `redis`, `memory` (this process's) or `off`.
    pub backend: CacheBackend,
    /// Keep entries in this process's memory too, in front of Redis. Needs `coherence.revoke_ack =
    /// "lease"`, on every replica before this is set on one, or `coherence.max_staleness = "0s"`.
    pub near: bool,
    /// Key that entries in Redis are authenticated with: the same text of at least 32 bytes on every
    /// replica, such as the output of `openssl rand -hex 32`. Needed for Redis, except that with SQLite
    /// one is made and kept beside the database file. To replace it without a gap: set the new key as
    /// `mac_key_previous` on every replica; then the new one as `mac_key` and the old one as
    /// `mac_key_previous`; after `entry_ttl`, unset `mac_key_previous`.
    pub mac_key: SecretText,
    /// A file that holds the key, instead of `mac_key`.
    pub mac_key_file: Option<PathBuf>,
    /// A second key, which entries are accepted with and none is written with.
    pub mac_key_previous: SecretText,
    /// A file that holds the second key, instead of `mac_key_previous`.
    pub mac_key_previous_file: Option<PathBuf>,
    /// Longest life of an entry, at most `24h`. How soon a change is noticed does not depend on it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub entry_ttl: Duration,
    /// Entries of the in-process cache at most.
    pub memory_entries: u32,
    /// How long an unknown token is remembered in this process, at most `2s`; `0s` for not at all.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub negative_ttl: Duration,
    /// Unknown tokens that are remembered at most.
    pub negative_entries: u32,
}

/// Where entries are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheBackend {
    /// Redis when there is a URL, else memory.
    #[default]
    Auto,
    /// Redis.
    Redis,
    /// This process's memory.
    Memory,
    /// Nowhere.
    Off,
}

/// How soon a change takes effect that another program, or another replica, made in the database.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Coherence {
    /// How long a committed change may go unnoticed by a cached answer; `0s` asks the database's
    /// journal, in batches, before each cached answer. With the in-process cache alone it is taken
    /// for `0s`, unless `revoke_ack` is `lease`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub max_staleness: Duration,
    /// How much longer answers from Redis are given when the database cannot be reached; `0s` for not
    /// at all. Those from the in-process cache never are.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub outage_grace: Duration,
    /// Time between two looks into the database's journal; a quarter of `max_staleness` where that is less.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub poll_interval: Duration,
    /// Look sooner when PostgreSQL says that the journal has grown (LISTEN, on a connection of its own). Useless on other
    /// databases, and behind a PgBouncer that pools transactions; nothing depends on it.
    pub listen: bool,
    /// What Revoke waits for before it answers COMPLETE: `cache` (Redis has taken the
    /// tombstones) or `lease` (`max_staleness` has passed; Redis is trusted for nothing). `lease`
    /// with an `outage_grace` answers PENDING, since a replica that is cut off may go on for the grace.
    pub revoke_ack: RevokeAck,
    /// Share of the cached answers that are compared with the database afterwards, in the background,
    /// 0 to 1. What the database has ended without a record in its journal is logged as an error,
    /// counted, and dropped from Redis and this process.
    pub reproof_ratio: f64,
    /// The least time between two of these comparisons, which are left out meanwhile.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub reproof_interval: Duration,
}

/// What Revoke waits for before it answers COMPLETE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RevokeAck {
    /// Redis has taken the tombstones.
    #[default]
    Cache,
    /// `max_staleness` has passed.
    Lease,
}
