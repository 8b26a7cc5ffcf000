//! The runs that must hold: the protocol with every part in place, in one world
//! after another.

use super::{Expect, FULL, PAIR, Run, SMALL};
use crate::environment::{Bound, Environment, Purging, Reach, RedisKind, Service, Writer};
use crate::properties::{AFTER_COMPLETE, BOUND, COMPLETE, GRACE, HIT, RECOVERY, REFUSAL};
use crate::protocol::{Ack, Flights, Memory, Protocol, Publication, Retry};

/// Two calls at a time on one replica, as sharing a read needs.
const CROWD: Bound = Bound { calls: [2, 0], at_once: 2, lease: 1 };
const LARGER_CROWD: Bound = Bound { calls: [3, 0], at_once: 2, lease: 2 };

/// The runs, each with the part of the promise that it shows.
#[must_use]
pub fn holds() -> Vec<Run> {
    [default_settings(), lease_ack(), writers(), strict(), grace(), flights()].into_iter().flatten().collect()
}

/// `revoke_ack = cache`, no grace.
fn default_settings() -> Vec<Run> {
    let ours = Protocol::ours;
    vec![
        run("healthy", "no fault", ours(), Environment::healthy().renaming()),
        run(
            "redis-down",
            "Redis fails at any command, the service dies, the client retries",
            ours(),
            Environment::failing(),
        ),
        run(
            "revoke-all-retry",
            "the same, when the retry no longer finds digests to mark and only waits",
            Protocol { retry: Retry::Waits, ..ours() },
            Environment::failing(),
        ),
        run("lost-writes", "Redis loses acknowledged writes: only the bound holds", ours(), Environment::adversary())
            .expecting(AFTER_COMPLETE, Expect::Violated),
    ]
}

/// `revoke_ack = lease`: Redis is trusted for nothing.
fn lease_ack() -> Vec<Run> {
    let lease = || Protocol { ack: Ack::Lease, ..Protocol::ours() };
    let other = Environment { writer: Writer::RevokesAnother, ..Environment::adversary() };
    vec![
        run("adversary", "the worst Redis, revoke_ack = lease", lease(), Environment::adversary().renaming()),
        run(
            "publication",
            "the same when a poll publishes in two steps",
            Protocol { publication: Publication::ViewThenLease, ..lease() },
            Environment::adversary(),
        ),
        run(
            "in-process",
            "the same with facts in the replica's own memory",
            Protocol { memory: Memory::Facts, ..lease() },
            Environment { service: Service::Lives, ..Environment::adversary() },
        )
        .recalling(),
        run("other-revocation", "another token is revoked at the same time", lease(), other),
    ]
}

/// Writers that never call the service, with the worst Redis.
fn writers() -> Vec<Run> {
    let purged = Environment { purging: Purging::AnyTime, ..Environment::sql_writer() };
    vec![
        run("sql-writer", "SQL switches the user off, on and off", Protocol::ours(), Environment::sql_writer())
            .without_revoke(),
        run("purge", "the same while the journal is purged", Protocol::ours(), purged).without_revoke(),
    ]
}

/// `max_staleness` = 0: nothing is accepted after the commit.
fn strict() -> Vec<Run> {
    let remembering = Protocol { memory: Memory::Facts, ..Protocol::strict() };
    vec![
        run(
            "strict",
            "strict: linearizable with Revoke, worst Redis",
            Protocol::strict(),
            Environment::adversary().renaming(),
        ),
        run("strict-sql", "strict: linearizable with SQL, facts in memory", remembering, Environment::sql_writer())
            .without_revoke()
            .recalling(),
    ]
}

/// Facts stay usable while the database cannot be reached.
fn grace() -> Vec<Run> {
    let world = |redis| Environment { redis, database: Reach::CutOff, ..Environment::healthy() };
    let lease = Protocol { ack: Ack::Lease, ..Protocol::with_grace(1) };
    vec![
        run(
            "grace",
            "outage grace: Redis fails, a replica is cut off",
            Protocol::with_grace(1),
            world(RedisKind::Failing),
        )
        .expecting(GRACE, Expect::Reached)
        .paired(),
        run(
            "grace-adversary",
            "outage grace, the worst Redis: PENDING, and L + G holds",
            lease,
            world(RedisKind::Adversary),
        )
        .expecting(GRACE, Expect::Reached)
        .expecting(COMPLETE, Expect::NeverReached)
        .paired(),
    ]
}

/// Calls of one replica share reads of the database.
fn flights() -> Vec<Run> {
    let shared = || Protocol { flights: Flights::Shared, ..Protocol::ours() };
    vec![
        run("flight", "calls share a read that was sent after they began", shared(), Environment::healthy().renaming())
            .crowded(),
        run("flight-sql", "the same with an SQL writer: no false refusal", shared(), Environment::sql_writer())
            .crowded()
            .without_revoke(),
    ]
}

/// A run that claims everything.
fn run(name: &'static str, shows: &'static str, protocol: Protocol, environment: Environment) -> Run {
    let expects = vec![
        (AFTER_COMPLETE, Expect::Holds),
        (BOUND, Expect::Holds),
        (REFUSAL, Expect::Holds),
        (HIT, Expect::Reached),
        (RECOVERY, Expect::Reached),
        (COMPLETE, Expect::Reached),
    ];
    Run { name, shows, protocol, environment, expects, small: SMALL, full: FULL }
}

// === impl Run ===

impl Run {
    fn expecting(mut self, property: &'static str, expect: Expect) -> Self {
        self.expects.retain(|(name, _)| *name != property);
        self.expects.push((property, expect));
        self
    }

    /// COMPLETE is never answered, so nothing is claimed of it.
    fn without_revoke(self) -> Self {
        self.expecting(COMPLETE, Expect::NeverReached)
    }

    /// A replica's memory matters only from its second call on.
    fn recalling(self) -> Self {
        Self { small: Bound { lease: 1, ..FULL }, ..self }
    }

    /// Ages go up to `L + G`, and a poll may fail at any time: with a second call the states
    /// would fill more memory than most machines have.
    fn paired(self) -> Self {
        Self { full: PAIR, ..self }
    }

    fn crowded(self) -> Self {
        Self { small: CROWD, full: LARGER_CROWD, ..self }
    }
}
