//! What is refused although it has the right type. Every fault is found in one pass.

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use http::Uri;
use tracing_subscriber::EnvFilter;

use super::{
    Audit, Breaker, Database, Fault, Health, KnoxRedis, Loaded, Log, Prune, Purpose, Redis, SchemaNames, SecretText,
    Tokens, Traces,
};

mod adopted;
mod cache;
mod ext_authz;
mod introspection;
mod listeners;
mod peers;
mod sliding;
mod tokens;

const DATABASE_SCHEMES: [&str; 5] = ["sqlite:", "postgres://", "postgresql://", "mysql://", "mariadb://"];
const REDIS_SCHEMES: [&str; 7] = [
    "redis://",
    "rediss://",
    "redis-cluster://",
    "rediss-cluster://",
    "redis-sentinel://",
    "rediss-sentinel://",
    "redis+unix://",
];
/// The journal has no record of the deletion of a token that had expired for longer, so
/// that pruning does not flood it.
const MIN_KEEP_EXPIRED: Duration = Duration::from_hours(1);
/// A deletion is not made more often.
const MIN_AUDIT_RETENTION: Duration = Duration::from_hours(1);
/// PostgreSQL's trigger takes more rows of one statement for everything.
const MAX_PRUNE_BATCH: u32 = 1_000;
/// Collects the faults of one section after the other.
struct Judge<'a> {
    loaded: &'a Loaded,
    broken: &'a BTreeSet<String>,
    faults: Vec<Fault>,
}

/// The faults of settings whose types are right. Nothing is said about those that are
/// `broken` already, nor about how others relate to them.
pub(super) fn validate(loaded: &Loaded, purpose: Purpose, broken: &BTreeSet<String>) -> Vec<Fault> {
    let (config, mut judge) = (&loaded.config, Judge { loaded, broken, faults: Vec::new() });
    judge.server(&config.server);
    if purpose == Purpose::Serve {
        judge.exposure(&config.server, &config.callers);
        judge.introspection_exposure(config);
    }
    judge.http(&config.http);
    judge.database(&config.database);
    judge.schema(&config.schema);
    judge.adopted(&config.schema, &config.database);
    judge.redis(&config.redis);
    judge.tls_to_redis(&config.redis);
    judge.tls_to_database(&config.database);
    judge.cache(config);
    if purpose == Purpose::Serve {
        judge.mac_keys(config);
    }
    judge.coherence(&config.coherence);
    judge.breaker(&config.breaker);
    judge.tokens(&config.tokens);
    judge.sliding(&config.tokens);
    judge.digests(&config.tokens);
    judge.ext_authz(&config.ext_authz);
    judge.introspection(&config.introspection, &config.http);
    judge.health(&config.health);
    judge.prune(&config.prune, &config.tokens);
    judge.audit(&config.audit);
    judge.knox_redis(&config.knox_redis);
    judge.log(&config.log);
    judge.traces(&config.traces);
    judge.faults
}

// === impl Judge ===

impl Judge<'_> {
    fn database(&mut self, database: &Database) {
        self.scheme("database.url", &database.url, &DATABASE_SCHEMES);
        self.at_least("database.max_connections", database.max_connections, 1);
        self.more_than_none("database.acquire_timeout", database.acquire_timeout);
        self.more_than_none("database.statement_timeout", database.statement_timeout);
        self.at_least("database.max_concurrent_lookups", database.max_concurrent_lookups, 1);
    }

    fn schema(&mut self, names: &SchemaNames) {
        self.name("schema.token_table", names.token_table.as_deref());
        self.name("schema.token_digest", names.token_digest.as_deref());
        self.name("schema.token_key", names.token_key.as_deref());
        self.name("schema.token_user", names.token_user.as_deref());
        self.name("schema.token_created", names.token_created.as_deref());
        self.name("schema.token_expiry", names.token_expiry.as_deref());
        self.name("schema.user_table", names.user_table.as_deref());
        self.name("schema.user_id", names.user_id.as_deref());
        // Empty says that there is no such column.
        self.name("schema.user_active", names.user_active.as_deref().filter(|name| !name.is_empty()));
        names.user_attributes.iter().flatten().for_each(|name| self.name("schema.user_attributes", Some(name)));
    }

    fn redis(&mut self, redis: &Redis) {
        if !redis.url.is_empty() {
            self.scheme("redis.url", &redis.url, &REDIS_SCHEMES);
        }
        if redis.key_prefix.is_empty() || !redis.key_prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.refuse(&["redis.key_prefix"], "is empty or not visible ASCII", "give a short name such as tokenward");
        }
        self.more_than_none("redis.command_timeout", redis.command_timeout);
        self.more_than_none("redis.connect_timeout", redis.connect_timeout);
        self.at_least("redis.connections", redis.connections, 1);
    }

    fn breaker(&mut self, breaker: &Breaker) {
        self.more_than_none("breaker.window", breaker.window);
        if !(breaker.failure_ratio > 0.0 && breaker.failure_ratio <= 1.0) {
            self.refuse(&["breaker.failure_ratio"], "is not a share", "give more than 0 and at most 1, such as 0.5");
        }
        self.at_least("breaker.min_commands", breaker.min_commands, 1);
        self.at_least("breaker.consecutive_timeouts", breaker.consecutive_timeouts, 1);
        self.more_than_none("breaker.open_min", breaker.open_min);
        if breaker.open_min > breaker.open_max {
            let problem = format!("is longer than breaker.open_max, {}", text(breaker.open_max));
            self.refuse(&["breaker.open_min", "breaker.open_max"], problem, "give a time up to breaker.open_max");
        }
    }

    fn health(&mut self, health: &Health) {
        self.more_than_none("health.interval", health.interval);
    }

    fn prune(&mut self, prune: &Prune, tokens: &Tokens) {
        if prune.keep_expired < MIN_KEEP_EXPIRED {
            let remedy = "give at least 1h: the journal still records the deletion of younger ones";
            self.refuse(&["prune.keep_expired"], "is shorter than an hour", remedy);
        }
        if prune.keep_expired < tokens.request_id_retention {
            let problem = format!("is shorter than tokens.request_id_retention, {}", text(tokens.request_id_retention));
            let remedy = "give at least as long: a repeated request_id names its first token";
            self.refuse(&["prune.keep_expired", "tokens.request_id_retention"], problem, remedy);
        }
        if !(1..=MAX_PRUNE_BATCH).contains(&prune.batch) {
            let remedy = format!("give 1 to {MAX_PRUNE_BATCH}");
            self.refuse(&["prune.batch"], format!("is {}", prune.batch), remedy);
        }
    }

    fn audit(&mut self, audit: &Audit) {
        if !audit.retention.is_zero() && audit.retention < MIN_AUDIT_RETENTION {
            self.refuse(
                &["audit.retention"],
                "is shorter than an hour",
                "give at least 1h, or 0s to keep records for ever",
            );
        }
    }

    fn knox_redis(&mut self, knox_redis: &KnoxRedis) {
        if !knox_redis.url.is_empty() {
            self.scheme("knox_redis.url", &knox_redis.url, &REDIS_SCHEMES);
        }
        if knox_redis.prefix.is_empty() {
            self.refuse(&["knox_redis.prefix"], "is empty", "give the head of the keys, such as knox");
        }
    }

    fn log(&mut self, log: &Log) {
        if log.level.trim().is_empty() || EnvFilter::builder().parse(&log.level).is_err() {
            self.refuse(
                &["log.level"],
                "is not a log filter",
                "give error, warn, info, debug or trace, or a filter such as info,tokenward=debug",
            );
        }
    }

    fn traces(&mut self, traces: &Traces) {
        let is_endpoint = |url: &str| url.parse::<Uri>().is_ok_and(|url| url.scheme_str() == Some("http"));
        if !traces.endpoint.is_empty() && !is_endpoint(&traces.endpoint) {
            let remedy = "give one such as http://127.0.0.1:4317; a collector beside the service speaks TLS to others";
            self.refuse(&["traces.endpoint"], "is no http:// URL", remedy);
        }
        if !(0.0..=1.0).contains(&traces.ratio) {
            self.refuse(&["traces.ratio"], "is not a share", "give 0 to 1, such as 0.01");
        }
    }

    fn scheme(&mut self, key: &str, url: &SecretText, schemes: &[&str]) {
        if !schemes.iter().any(|scheme| url.expose().starts_with(scheme)) {
            self.refuse(&[key], "is not a URL of a known kind", format!("begin with one of {}", schemes.join(", ")));
        }
    }

    /// Names are quoted where they are used; what could end the quotes is refused.
    fn name(&mut self, key: &str, name: Option<&str>) {
        let is_name =
            |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_control() || matches!(c, '"' | '`'));
        if !name.is_none_or(is_name) {
            self.refuse(
                &[key],
                "is not a table or column name",
                "give the name as the database has it, without quotes",
            );
        }
    }

    fn more_than_none(&mut self, key: &str, value: Duration) {
        if value.is_zero() {
            self.refuse(&[key], "is no time at all", "give more than 0s");
        }
    }

    fn at_most(&mut self, key: &str, value: Duration, most: Duration) {
        if value > most {
            self.refuse(
                &[key],
                format!("is longer than {}s", most.as_secs()),
                format!("give at most {}s", most.as_secs()),
            );
        }
    }

    fn at_least(&mut self, key: &str, value: u32, least: u32) {
        if value < least {
            self.refuse(&[key], format!("is {value}"), format!("give at least {least}"));
        }
    }

    /// Reports the first of the keys; the others are what it was judged by.
    fn refuse(&mut self, keys: &[&str], problem: impl Into<String>, remedy: impl Display) {
        if keys.iter().any(|key| self.broken.contains(*key)) {
            return;
        }
        let from = self.loaded.origin(keys[0]);
        self.faults.push(Fault { key: keys[0].to_owned(), from, problem: problem.into(), remedy: remedy.to_string() });
    }
}

fn text(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}

#[cfg(test)]
mod tests;
