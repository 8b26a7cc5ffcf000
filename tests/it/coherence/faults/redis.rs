//! Redis dies, hangs, forgets, refuses, lies.

use super::Cluster;
use crate::harness::{
    redis::{Redis, Reply},
    relay::Relay,
};

/// What is wrong with Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum RedisFault {
    Killed,
    KilledWithGrace,
    Hung,
    Loading,
    WrongPassword,
    RestartedEmpty,
    /// From what it saved before; facts that were revoked since are back.
    RestartedFromOldRdb,
    /// Every replica of the service is led to a replica of Redis that had stopped following.
    FailoverToStale,
    /// An adversary writes old entries over whatever stands there, tombstones among it, again and again.
    Replayed,
    /// Two replicas of the service see one Redis, the third another.
    SplitBrain,
    ClientPause,
    OutOfMemory,
    ReadOnly,
    Misconf,
    NoReplicas,
    Evicting,
    /// Entries cut short, with changed bytes, oversized, of another type, and swapped.
    Corrupt,
}

/// Damages every fact there is, each in another way.
const DAMAGE: &str = r"
    local keys = redis.call('KEYS', '*')
    for i, key in ipairs(keys) do
        local value = redis.call('TYPE', key).ok == 'string' and redis.call('GET', key) or ''
        if #value > 64 then
            local way, ttl = i % 5, redis.call('PTTL', key)
            if way == 0 then redis.call('SETRANGE', key, #value - 30, 'damaged')
            elseif way == 1 then redis.call('SET', key, string.sub(value, 1, #value - 9), 'PX', ttl)
            elseif way == 2 then redis.call('SET', key, string.rep(value, 200), 'PX', ttl)
            elseif way == 3 then redis.call('DEL', key); redis.call('LPUSH', key, value)
            elseif i > 1 then redis.call('COPY', key, keys[i - 1], 'REPLACE') end
        end
    end
    return #keys";

/// Keeps a copy of every fact that has none, and writes the copies back.
const REPLAY: &str = r"
    for _, key in ipairs(redis.call('KEYS', 'tokenward*')) do
        local copy = 'copy:' .. key
        if redis.call('EXISTS', copy) == 0 then
            if redis.call('STRLEN', key) > 64 then redis.call('COPY', key, copy) end
        else
            redis.call('COPY', copy, key, 'REPLACE')
        end
    end";

// === impl RedisFault ===

impl RedisFault {
    /// Whether it loses what it has acknowledged.
    pub(super) fn forgets(self) -> bool {
        matches!(self, Self::RestartedFromOldRdb | Self::FailoverToStale | Self::SplitBrain | Self::Replayed)
    }

    pub(super) async fn inject(self, cluster: &mut Cluster) {
        match self {
            Self::Killed | Self::KilledWithGrace => cluster.redis().kill(),
            Self::Hung => cluster.redis().pause(),
            Self::Loading => cluster.redis().restart_loading().await,
            Self::WrongPassword => cluster.redis().set_password("another").await,
            Self::RestartedEmpty => restart(cluster.redis()).await,
            Self::RestartedFromOldRdb => come_back_old(cluster.redis()).await,
            Self::FailoverToStale => fail_over(cluster, 0).await,
            Self::SplitBrain => fail_over(cluster, 2).await,
            Self::Replayed => replay(cluster.redis()).await,
            Self::ClientPause => drop(cluster.redis().command(&["CLIENT", "PAUSE", "600000", "WRITE"]).await),
            Self::OutOfMemory => memory(cluster.redis(), "noeviction", "1").await,
            Self::ReadOnly => drop(cluster.redis().command(&["REPLICAOF", "127.0.0.1", "1"]).await),
            Self::Misconf => misconfigure(cluster.redis()).await,
            Self::NoReplicas => set(cluster.redis(), "min-replicas-to-write", "1").await,
            Self::Evicting => evict(cluster.redis()).await,
            Self::Corrupt => corrupt(cluster.redis()).await,
        }
    }

    pub(super) async fn heal(self, cluster: &mut Cluster) {
        match self {
            Self::Killed | Self::KilledWithGrace => cluster.redis().restart().await,
            Self::Hung => cluster.redis().resume(),
            Self::Loading => cluster.redis().finish_loading().await,
            Self::WrongPassword => cluster.redis().set_password("").await,
            Self::RestartedEmpty | Self::Replayed | Self::RestartedFromOldRdb | Self::FailoverToStale => {}
            Self::SplitBrain => {
                let socket = cluster.redis().socket();
                cluster.ways_to_redis().for_each(|relay| relay.lead_to(socket.clone()));
            }
            Self::ClientPause => drop(cluster.redis().command(&["CLIENT", "UNPAUSE"]).await),
            Self::OutOfMemory | Self::Evicting => memory(cluster.redis(), "noeviction", "0").await,
            Self::ReadOnly => drop(cluster.redis().command(&["REPLICAOF", "NO", "ONE"]).await),
            Self::Misconf => set(cluster.redis(), "stop-writes-on-bgsave-error", "no").await,
            Self::NoReplicas => set(cluster.redis(), "min-replicas-to-write", "0").await,
            Self::Corrupt => corrupt(cluster.redis()).await,
        }
    }
}

async fn set(redis: &Redis, name: &str, value: &str) {
    redis.command(&["CONFIG", "SET", name, value]).await;
}

async fn memory(redis: &Redis, policy: &str, bytes: &str) {
    set(redis, "maxmemory-policy", policy).await;
    set(redis, "maxmemory", bytes).await;
}

async fn restart(redis: &mut Redis) {
    redis.kill();
    redis.restart().await;
}

/// Saves, lets two seconds of revocations pass, and comes back with what was saved.
async fn come_back_old(redis: &mut Redis) {
    redis.save().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    restart(redis).await;
}

/// Lets a replica follow, cuts it off, and two seconds later leads the service's replicas
/// from this one on to it.
async fn fail_over(cluster: &mut Cluster, from: usize) {
    let link = Relay::to(cluster.redis().socket()).await;
    let stale = Redis::start().await;
    let address = link.address();
    stale.command(&["REPLICAOF", &address.ip().to_string(), &address.port().to_string()]).await;
    let synced = async || match stale.try_command(&["INFO", "replication"]).await? {
        Reply::Text(info) => info.contains("master_link_status:up").then_some(()),
        _ => None,
    };
    crate::harness::eventually::eventually("the replica of Redis follows", synced).await;
    stale.command(&["REPLICAOF", "NO", "ONE"]).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let socket = stale.socket();
    cluster.ways_to_redis().skip(from).for_each(|relay| relay.lead_to(socket.clone()));
    if from == 0 {
        cluster.redis().kill();
    }
    cluster.spare.redis = Some(stale);
}

/// A directory that is none makes the next save fail, and a failed save refuses writes.
async fn misconfigure(redis: &Redis) {
    set(redis, "stop-writes-on-bgsave-error", "yes").await;
    set(redis, "save", "3600 1").await;
    // A directory where the file should be.
    std::fs::remove_file(redis.directory().join("dump.rdb")).ok();
    std::fs::create_dir_all(redis.directory().join("dump.rdb/in-the-way")).expect("it is writable");
    redis.command(&["BGSAVE"]).await;
    let refused = async || {
        matches!(redis.try_command(&["SET", "probe", "1"]).await?, Reply::Error(text) if text.starts_with("MISCONF"))
            .then_some(())
    };
    crate::harness::eventually::eventually("Redis refuses writes", refused).await;
}

/// Half of what it holds has no place any more, and so on for what comes.
async fn evict(redis: &Redis) {
    let Reply::Text(info) = redis.command(&["INFO", "memory"]).await else { panic!("INFO answers with text") };
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it says so");
    let used: usize = used.trim().parse().expect("a number");
    memory(redis, "allkeys-random", &(used - 8 * 1024).to_string()).await;
}

async fn replay(redis: &Redis) {
    for _ in 0..200 {
        redis.command(&["EVAL", REPLAY, "0"]).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn corrupt(redis: &Redis) {
    redis.command(&["EVAL", DAMAGE, "0"]).await;
}
