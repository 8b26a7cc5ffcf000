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
        ("tokens.format = \"checksummed\"\ntokens.prefix = \"ab\"", "tokens.format = \"knox\"\ntokens.prefix = \"ab\""),
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
    let loaded =
        Loaded { config: toml::from_str("tokens.ttl = \"2h\"\ntokens.max_ttl = \"1h\"").unwrap(), ..Loaded::default() };
    assert_eq!(validate(&loaded, Purpose::Serve, &BTreeSet::new()).len(), 1);
    for broken in ["tokens.ttl", "tokens.max_ttl"] {
        assert!(validate(&loaded, Purpose::Serve, &BTreeSet::from([broken.to_owned()])).is_empty());
    }
}
