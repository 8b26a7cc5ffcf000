//! The scenarios: what is asked, and what goes wrong meanwhile.

use std::time::Duration;

use clap::ValueEnum;

use super::{deck::Mix, private::Fault, tally::Kind};

/// Tokens that pass through the service at the end of [`Scenario::Growth`], where the table has as many.
pub(super) const PASSING: u64 = 1_000_000;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Scenario {
    /// Tokens that Redis knows.
    Hit,
    /// Tokens that only the database knows.
    Miss,
    /// 95 % hits, 4 % misses, 1 % revocations; each revoked token is asked about once more.
    Mixed,
    /// `BatchAuthenticate` of tokens that Redis knows.
    Batch,
    /// Half of the calls' places ask about tokens that were never issued; the latencies are those of the others.
    UnknownFlood,
    /// Hits; Redis is killed after a third of the time and started again, empty, after two thirds.
    RedisKill,
    /// Hits; Redis is stopped with its sockets open after a third, and goes on after two thirds.
    RedisHang,
    /// Hits; the database is killed after a third and started again after two thirds.
    DbKill,
    /// Half of the calls' places revoke tokens and ask about each once more, the others make hits; the latencies are those
    /// of all that is asked, and not of the revocations.
    RevokeStorm,
    /// Hits from the moment that the service listens, with an empty Redis.
    ColdStart,
    /// Hits of one token.
    HotToken,
    /// Hits in the service's own memory (`cache.near`).
    NearHit,
    /// Hits with ever more rows in the token table, and the service's memory while up to a million tokens pass through it.
    Growth,
}

// === impl Scenario ===

impl Scenario {
    /// As the command line spells it.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it needs servers of its own: it breaks them, or needs tokens that nobody has asked about.
    #[must_use]
    pub fn is_private(self) -> bool {
        match self {
            Self::Hit | Self::Batch | Self::UnknownFlood | Self::HotToken => false,
            Self::Miss
            | Self::Mixed
            | Self::RedisKill
            | Self::RedisHang
            | Self::DbKill
            | Self::RevokeStorm
            | Self::ColdStart
            | Self::NearHit
            | Self::Growth => true,
        }
    }

    pub(super) fn mix(self) -> Mix {
        match self {
            Self::Miss => Mix::All(Kind::Fresh),
            Self::Batch => Mix::All(Kind::Batch),
            Self::Mixed => Mix::Shares { fresh: 0.04, revoke: 0.01 },
            Self::UnknownFlood => Mix::Half(Kind::Unknown),
            Self::RevokeStorm => Mix::Half(Kind::Revoke),
            Self::Hit
            | Self::RedisKill
            | Self::RedisHang
            | Self::DbKill
            | Self::ColdStart
            | Self::HotToken
            | Self::NearHit
            | Self::Growth => Mix::All(Kind::Known),
        }
    }

    pub(super) fn fault(self) -> Option<Fault> {
        match self {
            Self::RedisKill => Some(Fault::RedisKill),
            Self::RedisHang => Some(Fault::RedisHang),
            Self::DbKill => Some(Fault::DatabaseKill),
            Self::Hit
            | Self::Miss
            | Self::Mixed
            | Self::Batch
            | Self::UnknownFlood
            | Self::RevokeStorm
            | Self::ColdStart
            | Self::HotToken
            | Self::NearHit
            | Self::Growth => None,
        }
    }

    /// What the service is told beyond where its servers are.
    pub(super) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // The memory of one replica is out of reach of the tombstones of another.
            Self::NearHit => &[("TOKENWARD_CACHE__NEAR", "true"), ("TOKENWARD_COHERENCE__REVOKE_ACK", "lease")],
            _ => &[],
        }
    }

    /// Fresh tokens that it needs for so long, on a machine that is faster than any of today.
    pub(super) fn fresh_tokens(self, time: Duration) -> u64 {
        let a_second = match self {
            Self::Miss => 30_000,
            Self::Mixed => 10_000,
            Self::RevokeStorm => 8_000,
            Self::Hit
            | Self::Batch
            | Self::UnknownFlood
            | Self::RedisKill
            | Self::RedisHang
            | Self::DbKill
            | Self::ColdStart
            | Self::HotToken
            | Self::NearHit
            | Self::Growth => 0,
        };
        a_second * (time.as_secs() + 1)
    }

    /// Whether it ends tokens.
    pub(super) fn revokes(self) -> bool {
        matches!(self, Self::Mixed | Self::RevokeStorm)
    }

    /// Whether there is a load before anything is measured.
    pub(super) fn has_warmup(self) -> bool {
        self != Self::ColdStart
    }

    /// Whether every known token is asked about once before anything is measured.
    pub(super) fn is_warm(self) -> bool {
        self != Self::ColdStart && self != Self::Miss
    }
}
