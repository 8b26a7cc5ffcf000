//! What is refused of the sections `cache` and `coherence`, which lean on each other.

use std::time::Duration;

use super::{
    super::{CacheBackend, Coherence, Config, MIN_MAC_KEY_BYTES, RevokeAck, SecretText},
    Judge,
};

/// A day, so that what Redis keeps is used or gone by then.
const MAX_ENTRY_TTL: Duration = Duration::from_hours(24);
/// An unknown token may have been issued since by another replica.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(2);
const MAKE_A_KEY: &str = "give every replica the same output of `openssl rand -hex 32`";

// === impl Judge ===

impl Judge<'_> {
    pub(super) fn cache(&mut self, config: &Config) {
        let cache = &config.cache;
        if cache.backend == CacheBackend::Redis && config.redis.url.is_empty() {
            self.refuse(
                &["cache.backend", "redis.url"],
                "is redis, and redis.url is not set",
                "set redis.url (--redis-url), or cache.backend = \"memory\"",
            );
        }
        self.more_than_none("cache.entry_ttl", cache.entry_ttl);
        self.at_most("cache.entry_ttl", cache.entry_ttl, MAX_ENTRY_TTL);
        self.at_least("cache.memory_entries", cache.memory_entries, 1);
        self.at_most("cache.negative_ttl", cache.negative_ttl, MAX_NEGATIVE_TTL);
        self.at_least("cache.negative_entries", cache.negative_entries, 1);
        self.near(config);
    }

    /// No tombstone reaches the memory of another replica.
    fn near(&mut self, config: &Config) {
        let coherence = &config.coherence;
        let waits = coherence.revoke_ack == RevokeAck::Lease || coherence.max_staleness.is_zero();
        if config.cache.near && config.uses_redis() && !waits {
            self.refuse(
                &["cache.near", "cache.backend", "redis.url", "coherence.revoke_ack", "coherence.max_staleness"],
                "would outlive a revocation that only waits for Redis",
                "set coherence.revoke_ack = \"lease\" on every replica, or coherence.max_staleness = \"0s\"",
            );
        }
    }

    /// Keys that are too short, and one that is missing where it would have to be shared.
    pub(super) fn mac_keys(&mut self, config: &Config) {
        let (current, previous) = (&config.cache.mac_key, &config.cache.mac_key_previous);
        self.mac_key("cache.mac_key", current);
        self.mac_key("cache.mac_key_previous", previous);
        if !current.is_empty() {
            return;
        }
        if !previous.is_empty() {
            let remedy = "set the key that entries are written with, or unset cache.mac_key_previous";
            self.refuse(&["cache.mac_key", "cache.mac_key_previous"], "is not set beside the previous one", remedy);
        } else if config.uses_redis() && !config.database.url.expose().starts_with("sqlite:") {
            let problem = "is not set, and without it Redis would have to be trusted";
            self.refuse(&["cache.mac_key", "cache.backend", "redis.url", "database.url"], problem, MAKE_A_KEY);
        }
    }

    fn mac_key(&mut self, key: &str, given: &SecretText) {
        if !given.is_empty() && given.expose().trim().len() < MIN_MAC_KEY_BYTES {
            self.refuse(&[key], format!("is shorter than {MIN_MAC_KEY_BYTES} bytes"), MAKE_A_KEY);
        }
    }

    pub(super) fn coherence(&mut self, coherence: &Coherence) {
        self.more_than_none("coherence.poll_interval", coherence.poll_interval);
        if !(0.0..=1.0).contains(&coherence.reproof_ratio) {
            self.refuse(&["coherence.reproof_ratio"], "is not a share", "give 0 to 1, such as 0.01");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Purpose,
        tests::{judged, keys},
    };

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const SHARED: &str = "database.url = \"postgres://db\"\nredis.url = \"redis://r\"\n";

    #[test]
    fn redis_beside_a_database_server_needs_a_key_and_the_remedy_makes_one() {
        let missing = judged(SHARED, Purpose::Serve);
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!(missing[0].key, "cache.mac_key");
        assert!(missing[0].remedy.contains("openssl rand -hex 32"), "{missing:?}");
        assert!(judged(SHARED, Purpose::Migrate).is_empty(), "the schema is changed without a cache");
        assert_eq!(keys(&format!("{SHARED}cache.mac_key = \"{KEY}\"")), [""; 0]);
        for without in ["cache.backend = \"memory\"", "cache.backend = \"off\"", "database.url = \"sqlite://t\""] {
            let toml = SHARED.replace("database.url = \"postgres://db\"", without);
            let toml = if without.starts_with("cache") { format!("{SHARED}{without}") } else { toml };
            assert_eq!(keys(&toml), [""; 0], "{without}");
        }
    }

    #[test]
    fn a_short_key_is_refused_whatever_stands_around_it() {
        for name in ["mac_key", "mac_key_previous"] {
            let padded = format!("{SHARED}cache.{name} = \"  {}  \"\n", &KEY[1..]);
            let rest = if name == "mac_key" { String::new() } else { format!("cache.mac_key = \"{KEY}\"") };
            assert_eq!(keys(&(padded + &rest)), [format!("cache.{name}")]);
        }
    }

    #[test]
    fn a_previous_key_alone_writes_nothing_and_is_refused() {
        assert_eq!(keys(&format!("cache.mac_key_previous = \"{KEY}\"")), ["cache.mac_key"]);
    }

    #[test]
    fn memory_in_front_of_redis_needs_a_revocation_that_waits() {
        let near = format!("{SHARED}cache.mac_key = \"{KEY}\"\ncache.near = true\n");
        assert_eq!(keys(&near), ["cache.near"]);
        assert_eq!(keys(&format!("{near}coherence.revoke_ack = \"lease\"")), [""; 0]);
        assert_eq!(keys(&format!("{near}coherence.max_staleness = \"0s\"")), [""; 0]);
        assert_eq!(keys("cache.near = true"), [""; 0], "there is nothing to stand in front of");
    }
}
