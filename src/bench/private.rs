//! Servers of our own: a Redis, a PostgreSQL, and the service in front of them.

use std::time::Duration;

use tempfile::TempDir;

mod postgres;
mod process;
mod redis;
mod service;

pub(super) use self::process::own_cpu;
pub use self::{process::Cpus, service::Contender};

use self::{
    postgres::Postgres,
    process::Account,
    redis::{Redis, Spent},
    service::Service,
};
use super::{Error, tokens, wire::Address};

/// A key of no use to anybody outside these servers.
const MAC_KEY: &str = "of no use to anybody outside a benchmark";
/// Rows that one statement inserts.
const ROWS_AT_ONCE: u64 = 100_000;

/// What goes wrong while a load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// Redis is killed, and started again, empty.
    RedisKill,
    /// Redis is stopped with its sockets open, and goes on.
    RedisHang,
    /// The database is killed, and started again.
    DatabaseKill,
}

/// Redis and a migrated database.
#[derive(Debug)]
pub(super) struct Ground {
    // Before the directory that they live in.
    redis: Redis,
    postgres: Postgres,
    dir: TempDir,
    /// Rows in the token table.
    rows: u64,
    users: u64,
}

/// The service on this ground.
#[derive(Debug)]
pub(super) struct Stand(Service);

/// What has been used up to a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    cpu: Option<Duration>,
    sql: Option<u64>,
    redis: Spent,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// The service's processor time.
    pub(super) cpu: Option<Duration>,
    /// SQL statements.
    pub(super) sql: Option<u64>,
    /// Redis commands.
    pub(super) redis: Option<u64>,
    /// Redis's processor time.
    pub(super) redis_cpu: Option<Duration>,
}

// === impl Ground ===

impl Ground {
    /// Starts the servers, and migrates the database.
    pub(super) async fn start(users: u64) -> Result<Self, Error> {
        let failed = |source| Error::Start { program: "a temporary directory".to_owned(), source };
        let dir = tempfile::Builder::new().prefix("tokenward-bench-").tempdir().map_err(failed)?;
        if let Some(account) = Account::unprivileged() {
            account.give(dir.path()).map_err(failed)?;
        }
        let (database, cache) = (dir.path().join("postgres"), dir.path().join("redis"));
        std::fs::create_dir(&database).and_then(|()| std::fs::create_dir(&cache)).map_err(failed)?;
        let postgres = Postgres::start(&database).await?;
        let redis = Redis::start(&cache).await?;
        let ground = Self { redis, postgres, dir, rows: 0, users };
        let program = Contender::tokenward().map_err(failed)?;
        program.run(&["migrate", "up"], ground.dir.path(), &ground.settings(&[]))?;
        Ok(ground)
    }

    /// Puts tokens into the table until it has so many rows.
    pub(super) async fn seed(&mut self, rows: u64, mut progress: impl FnMut(u64)) -> Result<(), Error> {
        while self.rows < rows {
            let next = rows.min(self.rows + ROWS_AT_ONCE);
            self.postgres.execute(tokens::sql(self.rows, next, self.users)).await?;
            self.rows = next;
            progress(next);
        }
        // Autovacuum is off, so that it falls into nobody's measurement.
        let tables = ["tokenward_user", "tokenward_token", "tokenward_token_detail"];
        self.postgres.execute(tables.map(|table| format!("VACUUM ANALYZE {table}"))).await
    }

    /// Rows in the token table.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Starts the service, or what takes its place.
    pub(super) async fn stand(
        &self,
        contender: &Contender,
        extra: &[(String, String)],
        cpus: Option<&Cpus>,
    ) -> Result<Stand, Error> {
        Service::start(contender, self.dir.path(), &self.settings(extra), cpus).await.map(Stand)
    }

    /// Empties Redis.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        self.redis.flush().await
    }

    /// Breaks something.
    pub(super) async fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::RedisKill => self.redis.kill().await,
            Fault::RedisHang => self.redis.pause(),
            Fault::DatabaseKill => self.postgres.kill(),
        }
    }

    /// Brings it back; returns when it answers.
    pub(super) async fn heal(&mut self, fault: Fault) -> Result<(), Error> {
        match fault {
            Fault::RedisKill => self.redis.restart(&self.dir.path().join("redis")).await,
            Fault::RedisHang => {
                self.redis.resume();
                Ok(())
            }
            Fault::DatabaseKill => self.postgres.restart().await,
        }
    }

    /// What has been used until now, when the measurement begins: what takes the longest to read comes first.
    pub(super) async fn before(&self, stand: &Stand) -> Meter {
        let (sql, redis) = (self.postgres.statements().await, self.redis.spent().await);
        Meter { cpu: stand.0.process().cpu(), sql, redis }
    }

    /// The same when it has ended: in the other order.
    pub(super) async fn after(&self, stand: &Stand) -> Meter {
        let cpu = stand.0.process().cpu();
        let redis = self.redis.spent().await;
        Meter { cpu, redis, sql: self.postgres.statements().await }
    }

    fn settings(&self, extra: &[(String, String)]) -> Vec<(String, String)> {
        let ours = [
            ("TOKENWARD_DATABASE__URL", self.postgres.url()),
            ("TOKENWARD_REDIS__URL", self.redis.url()),
            ("TOKENWARD_CACHE__MAC_KEY", MAC_KEY.to_owned()),
            ("TOKENWARD_LOG__LEVEL", "warn".to_owned()),
        ];
        let mut settings: Vec<_> = ours.map(|(key, value)| (key.to_owned(), value)).to_vec();
        settings.extend_from_slice(extra);
        settings
    }
}

// === impl Stand ===

impl Stand {
    pub(super) fn address(&self) -> &Address {
        self.0.address()
    }

    /// Time from its start until it listened.
    pub(super) fn startup(&self) -> Duration {
        self.0.startup()
    }

    /// Its memory that is in RAM, in bytes.
    pub(super) fn resident(&self) -> Option<u64> {
        self.0.process().resident()
    }

    pub(super) fn end(self) {
        self.0.end();
    }
}

// === impl Meter ===

impl Meter {
    /// What was used since `before`.
    pub(super) fn since(self, before: Self) -> Usage {
        let grown = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        let spent = |now: Option<Duration>, then: Option<Duration>| now?.checked_sub(then?);
        Usage {
            cpu: spent(self.cpu, before.cpu),
            sql: grown(self.sql, before.sql),
            redis: grown(self.redis.commands, before.redis.commands),
            redis_cpu: spent(self.redis.cpu, before.redis.cpu),
        }
    }
}

/// A setting as an environment variable: `cache.near=true` is `TOKENWARD_CACHE__NEAR`.
///
/// # Errors
/// When it is not of the form SECTION.NAME=VALUE.
pub fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("is not of the form SECTION.NAME=VALUE")?;
    let (section, name) = key.split_once('.').ok_or("is not of the form SECTION.NAME=VALUE")?;
    Ok((format!("TOKENWARD_{}__{}", section.to_uppercase(), name.to_uppercase()), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_becomes_a_variable() {
        let near = ("TOKENWARD_CACHE__NEAR".to_owned(), "true".to_owned());
        assert_eq!(setting("cache.near=true"), Ok(near));
        assert!(setting("cache.near").is_err() && setting("near=true").is_err());
    }

    #[test]
    fn what_was_used_is_unknown_where_a_counter_began_anew() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let before = Meter { cpu: seconds(1), sql: Some(10), redis: Spent { commands: None, cpu: seconds(1) } };
        let after = Meter { cpu: seconds(3), sql: Some(4), redis: Spent { commands: Some(5), cpu: seconds(2) } };
        let usage = after.since(before);
        assert_eq!((usage.cpu, usage.sql), (seconds(2), None));
        assert_eq!((usage.redis, usage.redis_cpu), (None, seconds(1)));
    }
}
