//! What is refused although it has the right type. Every fault is found in one pass.

use std::{collections::BTreeSet, fmt::Display, net::SocketAddr, time::Duration};

use http::Uri;
use tracing_subscriber::EnvFilter;

use super::{
    Audit, Breaker, Callers, Database, Fault, Health, Http, KnoxRedis, Loaded, Log, Prune, Purpose, Redis, SchemaNames,
    SecretText, Server, Tokens, Traces,
};

mod adopted;
mod cache;
mod ext_authz;
mod introspection;
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
/// Head of the address of a unix socket.
const UNIX: &str = "unix:";
/// An authentication of the longest token with the most scopes must fit.
const MIN_MESSAGE_BYTES: u32 = 64 * 1024;

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
    fn server(&mut self, server: &Server) {
        self.address("server.listen", &server.listen);
        self.more_than_none("server.request_timeout", server.request_timeout);
        self.at_least("server.max_concurrent_requests", server.max_concurrent_requests, 1);
        self.at_least("server.max_connections", server.max_connections, 1);
        self.at_least("server.max_concurrent_streams", server.max_concurrent_streams, 1);
        self.at_least("server.max_message_bytes", server.max_message_bytes, MIN_MESSAGE_BYTES);
        self.more_than_none("server.keepalive_interval", server.keepalive_interval);
        self.more_than_none("server.keepalive_timeout", server.keepalive_timeout);
        self.more_than_none("server.max_connection_age", server.max_connection_age);
        self.more_than_none("server.max_connection_age_grace", server.max_connection_age_grace);
        self.more_than_none("server.max_connection_idle", server.max_connection_idle);
        self.more_than_none("server.delivery_timeout", server.delivery_timeout);
        self.more_than_none("server.drain_timeout", server.drain_timeout);
        self.tls(server);
    }

    fn http(&mut self, http: &Http) {
        if !http.listen.is_empty() {
            self.address("http.listen", &http.listen);
        }
        self.at_least("http.max_connections", http.max_connections, 1);
    }

    fn tls(&mut self, server: &Server) {
        let (cert, key) = ("server.tls_cert", "server.tls_key");
        match (&server.tls_cert, &server.tls_key) {
            (Some(_), None) => self.refuse(&[cert, key], "stands without server.tls_key", "set both or none"),
            (None, Some(_)) => self.refuse(&[key, cert], "stands without server.tls_cert", "set both or none"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        if server.tls_client_ca.is_some() && server.tls_cert.is_none() {
            self.refuse(&["server.tls_client_ca", cert], "needs TLS", "set server.tls_cert and server.tls_key too");
        }
    }

    /// Who can be reached by others must know them, and must not have them send keys in clear.
    fn exposure(&mut self, server: &Server, callers: &Callers) {
        if server.tls_client_ca.is_some() && callers.file.is_none() {
            let remedy = "set callers.file, which says what the bearer of each certificate may do";
            self.refuse(
                &["server.tls_client_ca", "callers.file"],
                "names an authority, and no callers are known",
                remedy,
            );
        }
        let Ok(address) = server.listen.parse::<SocketAddr>() else { return };
        if server.insecure || address.ip().to_canonical().is_loopback() {
            return;
        }
        let here = "listen on 127.0.0.1, [::1] or unix:PATH";
        let insecure = "say --insecure (server.insecure = true) where only trusted callers reach it";
        if callers.file.is_none() {
            self.refuse(
                &["server.listen", "server.insecure", "callers.file"],
                format!("refuses to listen on {address} without caller authentication"),
                format!("set callers.file, and TLS; {here}; or {insecure}"),
            );
        } else if server.tls_cert.is_none() {
            self.refuse(
                &["server.listen", "server.insecure", "server.tls_cert"],
                format!("refuses to listen on {address} without TLS, since callers' keys would travel in clear"),
                format!("set server.tls_cert and server.tls_key; {here}, behind a proxy with TLS; or {insecure}"),
            );
        }
    }

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

    fn address(&mut self, key: &str, address: &str) {
        let is_address = match address.strip_prefix(UNIX) {
            Some(path) => !path.is_empty() && !path.contains('\0'),
            None => address.parse::<SocketAddr>().is_ok(),
        };
        if !is_address {
            self.refuse(
                &[key],
                "is neither ADDRESS:PORT nor unix:PATH",
                "give an address such as 127.0.0.1:50051, [::1]:50051 or unix:/run/tokenward.sock",
            );
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
mod tests {
    use super::*;

    pub(super) fn judged(toml: &str, purpose: Purpose) -> Vec<Fault> {
        let loaded = Loaded { config: toml::from_str(toml).unwrap(), ..Loaded::default() };
        validate(&loaded, purpose, &BTreeSet::new())
    }

    pub(super) fn keys(toml: &str) -> Vec<String> {
        judged(toml, Purpose::Serve).into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn the_defaults_are_accepted() {
        assert_eq!(keys(""), [""; 0]);
    }

    #[test]
    fn an_address_that_others_reach_needs_the_word_insecure() {
        for address in ["127.0.0.1:0", "127.1.2.3:1", "[::1]:50051", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(keys(&format!("server.listen = \"{address}\"")), [""; 0], "{address}");
        }
        for address in ["0.0.0.0:50051", "[::]:50051", "192.0.2.1:1"] {
            let toml = format!("server.listen = \"{address}\"");
            let faults = judged(&toml, Purpose::Serve);
            assert_eq!(faults[0].problem, format!("refuses to listen on {address} without caller authentication"));
            assert!(faults[0].remedy.contains("--insecure"));
            assert_eq!(keys(&format!("{toml}\nserver.insecure = true")), [""; 0]);
            assert!(judged(&toml, Purpose::Migrate).is_empty(), "migrate does not listen");
        }
        for address in ["localhost", "unix:", "unix:a\\u0000b"] {
            assert_eq!(keys(&format!("server.listen = \"{address}\"")), ["server.listen"]);
        }
        assert_eq!(keys("server.listen = \"unix:/run/tokenward.sock\""), [""; 0]);
    }

    #[test]
    fn an_address_that_others_reach_needs_callers_and_tls() {
        let callers = "server.listen = \"0.0.0.0:1\"\ncallers.file = \"c\"";
        let clear = judged(callers, Purpose::Serve);
        assert!(clear[0].problem.ends_with("keys would travel in clear"), "{clear:?}");
        assert_eq!(keys(&format!("{callers}\nserver.insecure = true")), [""; 0]);
        let tls = "server.tls_cert = \"c\"\nserver.tls_key = \"k\"";
        assert_eq!(keys(&format!("{callers}\n{tls}")), [""; 0]);
        assert_eq!(keys(&format!("server.listen = \"0.0.0.0:1\"\n{tls}")), ["server.listen"]);
    }

    #[test]
    fn the_files_of_tls_belong_together() {
        for (file, alone) in [("tls_cert", "tls_cert"), ("tls_key", "tls_key")] {
            assert_eq!(keys(&format!("server.{file} = \"f\"")), [format!("server.{alone}")]);
        }
        assert_eq!(keys("callers.file = \"c\"\nserver.tls_client_ca = \"ca\""), ["server.tls_client_ca"]);
        let tls = "server.tls_cert = \"c\"\nserver.tls_key = \"k\"\nserver.tls_client_ca = \"ca\"";
        assert_eq!(keys(tls), ["server.tls_client_ca"], "a certificate that says nothing");
        assert_eq!(keys(&format!("{tls}\ncallers.file = \"c\"")), [""; 0]);
    }

    #[test]
    fn every_bound_is_kept() {
        for (refused, accepted) in [
            ("server.request_timeout = \"0s\"", "server.request_timeout = \"1ms\""),
            ("server.max_concurrent_requests = 0", "server.max_concurrent_requests = 1"),
            ("server.max_concurrent_streams = 0", "server.max_concurrent_streams = 1"),
            ("server.max_connections = 0", "server.max_connections = 1"),
            ("server.max_connection_idle = \"0s\"", "server.max_connection_idle = \"1s\""),
            ("server.delivery_timeout = \"0s\"", "server.delivery_timeout = \"1s\""),
            ("server.max_message_bytes = 65535", "server.max_message_bytes = 65536"),
            ("server.keepalive_interval = \"0s\"", "server.drain_delay = \"0s\""),
            ("server.keepalive_timeout = \"0s\"", "server.keepalive_timeout = \"1s\""),
            ("server.max_connection_age = \"0s\"", "server.max_connection_age = \"1s\""),
            ("server.max_connection_age_grace = \"0s\"", "server.max_connection_age_grace = \"1s\""),
            ("http.listen = \"localhost\"", "http.listen = \"0.0.0.0:9464\""),
            ("http.max_connections = 0", "http.listen = \"\""),
            ("server.drain_timeout = \"0s\"", "server.drain_timeout = \"1s\""),
            ("database.max_connections = 0", "database.max_connections = 1"),
            ("database.acquire_timeout = \"0s\"", "database.acquire_timeout = \"1s\""),
            ("database.statement_timeout = \"0s\"", "database.statement_timeout = \"1s\""),
            ("database.max_concurrent_lookups = 0", "database.max_concurrent_lookups = 1"),
            ("schema.token_table = \"\"", "schema.user_active = \"\""),
            ("schema.token_digest = 'a\"b'", "schema.token_digest = 'app.tokens'"),
            ("schema.user_attributes = [\"a\", \"\"]", "schema.user_attributes = []"),
            ("redis.key_prefix = \"\"", "redis.key_prefix = \"app:\""),
            ("redis.key_prefix = \"a b\"", "redis.key_prefix = \"a\""),
            ("redis.command_timeout = \"0s\"", "redis.command_timeout = \"1ms\""),
            ("redis.connect_timeout = \"0s\"", "redis.connect_timeout = \"1ms\""),
            ("redis.connections = 0", "redis.connections = 1"),
            ("cache.backend = \"redis\"", "cache.backend = \"redis\"\nredis.url = \"redis://r\""),
            ("cache.entry_ttl = \"86401s\"", "cache.entry_ttl = \"24h\""),
            ("cache.entry_ttl = \"0s\"", "cache.backend = \"memory\"\nredis.url = \"redis://r\""),
            ("cache.negative_ttl = \"2001ms\"", "cache.negative_ttl = \"0s\""),
            ("cache.memory_entries = 0", "cache.memory_entries = 1"),
            ("cache.negative_entries = 0", "cache.negative_entries = 1"),
            ("coherence.reproof_ratio = 1.01", "coherence.reproof_ratio = 1"),
            ("coherence.reproof_ratio = -0.1", "coherence.reproof_ratio = 0"),
            ("breaker.window = \"0s\"", "breaker.window = \"1s\""),
            ("breaker.failure_ratio = 0", "breaker.failure_ratio = 1"),
            ("breaker.failure_ratio = 1.01", "breaker.failure_ratio = 0.01"),
            ("breaker.min_commands = 0", "breaker.min_commands = 1"),
            ("breaker.consecutive_timeouts = 0", "breaker.consecutive_timeouts = 1"),
            ("breaker.open_min = \"0s\"", "breaker.open_min = \"5s\""),
            ("breaker.open_min = \"6s\"", "breaker.open_max = \"250ms\""),
            ("tokens.ttl = \"0s\"", "tokens.max_ttl = \"0s\""),
            ("tokens.max_ttl = \"9h\"", "tokens.max_ttl = \"10h\""),
            ("tokens.refresh_interval = \"0s\"", "tokens.refresh_interval = \"11h\""),
            (
                "tokens.auto_refresh = true\ntokens.refresh_interval = \"10h\"",
                "tokens.auto_refresh = true\ntokens.refresh_interval = \"9h\"",
            ),
            ("tokens.refresh_max_ttl = \"24h\"", "tokens.refresh_max_ttl = \"24h\"\ntokens.auto_refresh = true"),
            (
                "tokens.auto_refresh = true\ntokens.refresh_max_ttl = \"10h\"",
                "tokens.auto_refresh = true\ntokens.refresh_max_ttl = \"11h\"",
            ),
            ("tokens.prefix = \"12345678901\"", "tokens.prefix = \"knx_\""),
            ("tokens.format = \"checksummed\"", "tokens.format = \"checksummed\"\ntokens.prefix = \"knx_\""),
            (
                "tokens.format = \"checksummed\"\ntokens.prefix = \"ab\"",
                "tokens.format = \"knox\"\ntokens.prefix = \"ab\"",
            ),
            ("tokens.accept_digests = [\"knox4\"]", "tokens.accept_digests = [\"knox4\", \"knox5\"]"),
            (
                "tokens.accept_digests = [\"knox5\"]\ntokens.upgrade_digests = true",
                "tokens.accept_digests = [\"knox5\", \"knox4\"]\ntokens.upgrade_digests = true",
            ),
            ("schema.search_path = [\"app\"]", "schema.search_path = [\"app\"]\ndatabase.url = \"postgres://h/d\""),
            ("schema.time_zone = \"UTC\"", "schema.time_zone = \"Europe/Berlin\"\ndatabase.schema = \"knox\""),
            ("schema.time_zone = \"CEST+2\"\ndatabase.schema = \"knox\"", "database.schema = \"knox\""),
            ("schema.token_extra = [\"a=1\"]", "schema.token_extra = [\"a=\", \"b=c=d\"]\ndatabase.schema = \"knox\""),
            ("schema.token_extra = [\"a\"]\ndatabase.schema = \"knox\"", "schema.token_extra = []"),
            ("schema.token_extra = [\"=1\"]\ndatabase.schema = \"knox\"", ""),
            ("tokens.client_cache_ttl = \"301s\"", "tokens.client_cache_ttl = \"5m\""),
            ("tokens.request_id_retention = \"0s\"", "tokens.request_id_retention = \"1s\""),
            ("health.interval = \"0s\"", "health.database_grace = \"0s\""),
            ("prune.keep_expired = \"3599s\"\ntokens.request_id_retention = \"1s\"", "prune.keep_expired = \"1h\""),
            ("tokens.request_id_retention = \"31d\"", "tokens.request_id_retention = \"30d\""),
            ("prune.batch = 0", "prune.batch = 1"),
            ("prune.batch = 1001", "prune.batch = 1000\nprune.interval = \"0s\""),
            ("audit.retention = \"59m\"", "audit.retention = \"1h\""),
            ("audit.retention = \"1s\"", "audit.retention = \"0s\"\naudit.table = true"),
            ("knox_redis.url = \"cache:6379\"", "knox_redis.url = \"redis://r\""),
            ("knox_redis.prefix = \"\"", "knox_redis.prefix = \"kx\""),
            ("log.level = \"tokenward=loud\"", "log.level = \"info,tokenward=debug\""),
            ("traces.endpoint = \"collector:4317\"", "traces.endpoint = \"http://collector:4317\""),
            ("traces.endpoint = \"https://c:4317\"", "traces.endpoint = \"\""),
            ("traces.ratio = 1.5", "traces.ratio = 1"),
            ("log.level = \"\"", "log.level = \"error\""),
        ] {
            assert_eq!(keys(refused).len(), 1, "{refused}");
            assert_eq!(keys(accepted), [""; 0], "{accepted}");
        }
    }

    #[test]
    fn urls_are_told_by_their_scheme() {
        for scheme in DATABASE_SCHEMES {
            assert_eq!(keys(&format!("database.url = \"{scheme}x\"")), [""; 0]);
        }
        for scheme in REDIS_SCHEMES {
            assert_eq!(keys(&format!("redis.url = \"{scheme}x\"")), [""; 0]);
        }
        for url in ["", "redis://r", "postgres:db", "tokenward.db"] {
            assert_eq!(keys(&format!("database.url = \"{url}\"")), ["database.url"]);
        }
        assert_eq!(keys("redis.url = \"cache:6379\""), ["redis.url"]);
    }

    #[test]
    fn nothing_is_said_about_a_setting_that_is_broken_already() {
        let loaded = Loaded {
            config: toml::from_str("tokens.ttl = \"2h\"\ntokens.max_ttl = \"1h\"").unwrap(),
            ..Loaded::default()
        };
        assert_eq!(validate(&loaded, Purpose::Serve, &BTreeSet::new()).len(), 1);
        for broken in ["tokens.ttl", "tokens.max_ttl"] {
            assert!(validate(&loaded, Purpose::Serve, &BTreeSet::from([broken.to_owned()])).is_empty());
        }
    }
}
