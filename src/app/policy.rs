//! What the settings come to: the terms of the journal's lease, how tokens are issued, written, hashed and slid, and
//! what health depends on.

use std::time::Duration;

use crate::{
    cache::Ack,
    config::{self, Config, DigestForm, SchemaPreset, TokenHash},
    domain::{HashFunction, Hashing, IssuePolicy, Knox4, NeverExpires, Sliding, TokenForm},
    journal::Terms,
    transport::{
        self,
        health::{self, RedisLoss},
    },
};

/// Facts in this process's memory are out of reach of another replica's tombstones. Unless
/// a revocation waits for the leases, they are proved by a poll each time (strict); and a
/// grace, which is for facts that a tombstone can end, needs facts in Redis.
pub(super) fn terms(config: &Config, ack: Ack) -> Terms {
    let coherence = &config.coherence;
    let max_staleness = if config.uses_redis() || ack == Ack::Lease { coherence.max_staleness } else { Duration::ZERO };
    let graced = config.uses_redis() && !max_staleness.is_zero();
    let outage_grace = if graced { coherence.outage_grace } else { Duration::ZERO };
    // A poll that fails can be made good before the lease lapses.
    let longest = if max_staleness.is_zero() { Duration::MAX } else { max_staleness / 4 };
    Terms { max_staleness, outage_grace, poll_interval: coherence.poll_interval.min(longest) }
}

pub(super) fn health_policy(config: &Config) -> health::Policy {
    let redis = if config.health.redis_required { RedisLoss::Fatal } else { RedisLoss::Tolerated };
    let others = if config.ext_authz.enabled { &[transport::EXT_AUTHZ][..] } else { &[] };
    health::Policy { database_grace: config.health.database_grace, redis, others }
}

pub(super) fn issue_policy(config: &Config) -> IssuePolicy {
    let tokens = &config.tokens;
    IssuePolicy {
        ttl: tokens.ttl,
        max_ttl: Some(tokens.max_ttl).filter(|limit| !limit.is_zero()),
        never_expires: if tokens.allow_never_expires { NeverExpires::Allowed } else { NeverExpires::Refused },
        sliding: sliding(tokens),
        form: form(tokens),
        hashing: hashing(config),
    }
}

pub(super) fn form(tokens: &config::Tokens) -> TokenForm {
    tokens.form().expect("the configuration was validated")
}

pub(super) fn sliding(tokens: &config::Tokens) -> Option<Sliding> {
    let max_ttl = Some(tokens.refresh_max_ttl).filter(|limit| !limit.is_zero());
    tokens.auto_refresh.then_some(Sliding { ttl: tokens.ttl, interval: tokens.refresh_interval, max_ttl })
}

pub(super) fn hashing(config: &Config) -> Hashing {
    let function = match config.tokens.hash {
        TokenHash::Sha512 => HashFunction::Sha512,
        TokenHash::Sha256 => HashFunction::Sha256,
        TokenHash::Sha3 => HashFunction::Sha3,
        TokenHash::Blake2b => HashFunction::Blake2b,
    };
    let accepts_knox4 = match &config.tokens.accept_digests {
        Some(forms) => forms.contains(&DigestForm::Knox4),
        None => config.database.schema == SchemaPreset::Knox,
    };
    Hashing { function, knox4: if accepts_knox4 { Knox4::Accepted } else { Knox4::Unknown } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RevokeAck;

    fn of(toml: &str) -> (Duration, Duration) {
        let config: Config = toml::from_str(toml).expect("settings");
        let ack = if config.coherence.revoke_ack == RevokeAck::Lease { Ack::Lease } else { Ack::Cache };
        let terms = terms(&config, ack);
        (terms.max_staleness, terms.outage_grace)
    }

    #[test]
    fn a_poll_that_fails_can_be_made_good_before_the_lease_lapses() {
        let interval = |bound: &str| {
            let toml = format!("redis.url = \"redis://r\"\ncoherence.max_staleness = \"{bound}\"");
            terms(&toml::from_str(&toml).expect("settings"), Ack::Cache).poll_interval
        };
        let [usual, short, strict] = ["1s", "400ms", "0s"].map(interval);
        assert_eq!((usual, short, strict), (strict, Duration::from_millis(100), usual));
    }

    #[test]
    fn memory_alone_is_strict_unless_a_revocation_waits_and_never_has_a_grace() {
        const LEASE: &str = "coherence.revoke_ack = \"lease\"\n";
        const REDIS: &str = "redis.url = \"redis://r\"\n";
        let (second, grace) = (Duration::from_secs(1), Duration::from_secs(30));
        assert_eq!(of(""), (Duration::ZERO, Duration::ZERO));
        assert_eq!(of(LEASE), (second, Duration::ZERO));
        assert_eq!(of(REDIS), (second, grace));
        assert_eq!(of(&format!("{REDIS}{LEASE}cache.near = true")), (second, grace));
        assert_eq!(of(&format!("{REDIS}coherence.max_staleness = \"0s\"")), (Duration::ZERO, Duration::ZERO));
    }
}
