//! The defaults of the sections; all of them stand here.

use std::time::Duration;

use super::{
    Audit, Breaker, Cache, CacheBackend, Callers, Coherence, Database, Health, Http, KnoxRedis, Log, LogFormat, Prune,
    Redis, RevokeAck, SchemaPreset, SecretText, Server, TokenFormat, TokenHash, Tokens, Traces, Users,
};

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".to_owned(),
            insecure: false,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            request_timeout: Duration::from_secs(5),
            max_concurrent_requests: 8192,
            max_connections: 10_000,
            max_concurrent_streams: 256,
            threads: 0,
            max_message_bytes: 256 * 1024,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_connection_age: Duration::from_mins(30),
            max_connection_age_grace: Duration::from_secs(30),
            max_connection_idle: Duration::from_mins(5),
            delivery_timeout: Duration::from_secs(10),
            drain_delay: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(15),
            max_watchers: 1_000,
            reflection: false,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: String::new(), max_connections: 256 }
    }
}

impl Default for Callers {
    fn default() -> Self {
        Self { file: None, max_inactive_per_second: 1_000 }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: SecretText::new("sqlite://tokenward.db"),
            url_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            schema: SchemaPreset::Native,
            max_connections: 10,
            acquire_timeout: Duration::from_millis(250),
            statement_timeout: Duration::from_secs(1),
            max_concurrent_lookups: 256,
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: SecretText::default(),
            url_file: None,
            username: None,
            password: SecretText::default(),
            password_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            key_prefix: "tokenward".to_owned(),
            command_timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_millis(250),
            connections: 1,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            backend: CacheBackend::Auto,
            near: false,
            mac_key: SecretText::default(),
            mac_key_file: None,
            mac_key_previous: SecretText::default(),
            mac_key_previous_file: None,
            entry_ttl: Duration::from_mins(15),
            memory_entries: 100_000,
            negative_ttl: Duration::from_secs(2),
            negative_entries: 100_000,
        }
    }
}

impl Default for Coherence {
    fn default() -> Self {
        Self {
            max_staleness: Duration::from_secs(1),
            outage_grace: Duration::from_secs(30),
            poll_interval: Duration::from_millis(250),
            listen: true,
            revoke_ack: RevokeAck::Cache,
            reproof_ratio: 0.01,
            reproof_interval: Duration::from_secs(2),
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            failure_ratio: 0.5,
            min_commands: 20,
            consecutive_timeouts: 3,
            open_min: Duration::from_millis(250),
            open_max: Duration::from_secs(5),
        }
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            ttl: Duration::from_hours(10),
            max_ttl: Duration::ZERO,
            auto_refresh: false,
            refresh_interval: Duration::from_mins(1),
            refresh_max_ttl: Duration::ZERO,
            allow_never_expires: false,
            prefix: String::new(),
            format: TokenFormat::Knox,
            limit_per_user: 0,
            hash: TokenHash::Sha512,
            accept_digests: None,
            upgrade_digests: false,
            client_cache_ttl: Duration::ZERO,
            track_last_used: true,
            request_id_retention: Duration::from_hours(1),
        }
    }
}

impl Default for Users {
    fn default() -> Self {
        Self { create_on_issue: true }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { redis_required: false, database_grace: Duration::from_secs(30), interval: Duration::from_millis(250) }
    }
}

impl Default for Prune {
    fn default() -> Self {
        Self { keep_expired: Duration::from_hours(30 * 24), batch: 500, interval: Duration::from_hours(1) }
    }
}

impl Default for Audit {
    fn default() -> Self {
        // A year, as humantime writes one.
        Self { table: false, retention: Duration::from_hours(8_766) }
    }
}

impl Default for KnoxRedis {
    fn default() -> Self {
        Self {
            url: SecretText::default(),
            url_file: None,
            password: SecretText::default(),
            password_file: None,
            prefix: "knox".to_owned(),
        }
    }
}

impl Default for Traces {
    fn default() -> Self {
        Self { endpoint: String::new(), ratio: 0.01, service_name: "tokenward".to_owned() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".to_owned() }
    }
}
