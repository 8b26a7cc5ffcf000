//! What the protocol has to live with: faults, other writers, and how many calls
//! the search follows.

use crate::protocol::Ticks;

/// The world around the protocol in one run.
#[derive(Clone, Debug)]
pub struct Environment {
    /// How far Redis can be trusted.
    pub redis: RedisKind,
    /// Whether a replica may lose its database.
    pub database: Reach,
    /// Whether the service may die during a revocation.
    pub service: Service,
    /// Who else writes to the database.
    pub writer: Writer,
    /// Whether old journal records are purged.
    pub purging: Purging,
}

/// How far Redis can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// Every command succeeds.
    Honest,
    /// Any command may fail, before it took effect or after; what was
    /// acknowledged is kept.
    Failing,
    /// A GET returns any fact that ever existed, or nothing: failover to a stale
    /// replica, an old RDB, eviction, a slow fill that met no tombstone.
    Adversary,
}

/// Whether a replica may lose its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A poll may be slow, but it is never seen to fail.
    Always,
    /// A poll of one replica may fail while the other replica, which revokes,
    /// reaches the database.
    CutOff,
}

/// Whether the service may die between a commit and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// It lives.
    Lives,
    /// It dies; the client retries, on any replica.
    Dies,
}

/// Who else writes to the database, without a thought for Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Nobody.
    Nobody,
    /// One change of an attribute that answers carry: a record for this user, and
    /// the token stays valid.
    Renames,
    /// One revocation of somebody else's token: the journal moves on.
    RevokesAnother,
    /// Django's admin page switches the user off, on, and off again. There is no
    /// Revoke in such a run.
    Switches,
}

/// Whether numbered records are removed from the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purging {
    /// They stay.
    Never,
    /// At any time.
    AnyTime,
}

/// How far one search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// How many Authenticate calls may begin on each replica.
    pub calls: [u8; 2],
    /// How many of them may be in progress at once on one replica: 1 or 2.
    pub at_once: usize,
    /// How many ticks make `L`, except in strict mode.
    pub lease: Ticks,
}

// === impl Environment ===

impl Environment {
    /// No fault, no other writer.
    #[must_use]
    pub fn healthy() -> Self {
        Self {
            redis: RedisKind::Honest,
            database: Reach::Always,
            service: Service::Lives,
            writer: Writer::Nobody,
            purging: Purging::Never,
        }
    }

    /// Redis fails at any command and the service dies in any Revoke.
    #[must_use]
    pub fn failing() -> Self {
        Self { redis: RedisKind::Failing, service: Service::Dies, ..Self::healthy() }
    }

    /// The worst Redis, and a service that dies.
    #[must_use]
    pub fn adversary() -> Self {
        Self { redis: RedisKind::Adversary, service: Service::Dies, ..Self::healthy() }
    }

    /// The worst Redis, and a writer that never calls the service.
    #[must_use]
    pub fn sql_writer() -> Self {
        Self { redis: RedisKind::Adversary, writer: Writer::Switches, ..Self::healthy() }
    }

    /// With a writer that renames the user.
    #[must_use]
    pub fn renaming(self) -> Self {
        Self { writer: Writer::Renames, ..self }
    }

    /// Whether the service revokes the token in this run.
    #[must_use]
    pub fn revokes(&self) -> bool {
        self.writer != Writer::Switches
    }

    /// Whether a Redis command may fail.
    #[must_use]
    pub fn redis_fails(&self) -> bool {
        self.redis != RedisKind::Honest
    }
}
