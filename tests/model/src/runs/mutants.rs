//! The mutants: the protocol with one part taken out, in a world where the whole
//! of it holds. Each must be caught, or its part would not be needed.

use super::{Expect, FULL, PAIR, Run, SMALL};
use crate::environment::{Bound, Environment, Purging, Reach, RedisKind, Service, Writer};
use crate::properties::{AFTER_COMPLETE, BOUND, REFUSAL};
use crate::protocol::{
    Ack, Barrier, Fallback, Flights, Hit, LeaseStart, Mark, Memory, Protocol, Publication, Purge, Put, Retry, Stamp,
};

/// A replica's memory matters only from its second call on.
const TWICE: Bound = Bound { calls: [0, 2], ..FULL };

/// Two calls at a time on one replica.
const CROWD: Bound = Bound { calls: [3, 0], at_once: 2, lease: 2 };

/// The mutants, in the order in which the design lists the parts.
#[must_use]
pub fn mutants() -> Vec<Run> {
    [usual_cache(), redis_parts(), wait_parts(), journal_parts(), test_parts(), grace_parts(), sharing_parts()]
        .into_iter()
        .flatten()
        .collect()
}

fn usual_cache() -> Vec<Run> {
    vec![mutant("naive", "GET, SET and DEL, no fault at all", Protocol::naive(), calm(), &[AFTER_COMPLETE, BOUND])]
}

/// What Redis has to do.
fn redis_parts() -> Vec<Run> {
    let ours = Protocol::ours;
    let short = Protocol { mark: Mark::Tombstone(1), ..ours() };
    let late_delete = Protocol { fallback: Fallback::Delete, ..ours() };
    vec![
        slip("no-put-guard", "put replaces a tombstone", Protocol { put: Put::Overwrites, ..ours() }, calm()),
        slip("no-tombstone", "DEL instead of a tombstone", Protocol { mark: Mark::Delete, ..ours() }, calm()),
        slip("short-tombstone", "a tombstone lives less than L", short, calm()),
        slip(
            "plain-delete",
            "the fallback delete removes the tombstone of a retry",
            late_delete,
            Environment::failing(),
        ),
    ]
}

/// What COMPLETE has to wait for.
fn wait_parts() -> Vec<Run> {
    let ours = Protocol::ours;
    let hasty = Protocol { retry: Retry::AnswersAtOnce, ..ours() };
    let remembering = Protocol { memory: Memory::Facts, ..ours() };
    let down = Environment { redis: RedisKind::Failing, ..calm() };
    let dying = Environment { service: Service::Dies, ..calm() };
    vec![
        slip(
            "no-barrier",
            "COMPLETE at once although Redis failed",
            Protocol { barrier: Barrier::Skipped, ..ours() },
            down,
        ),
        slip("no-retry", "a retry that finds 0 rows answers COMPLETE at once", hasty, dying),
        Run {
            small: TWICE,
            ..slip("memory-cache-ack", "in-process facts with revoke_ack = cache", remembering, calm())
        },
    ]
}

/// What a stamp and a record have to be.
fn journal_parts() -> Vec<Run> {
    let ids = Protocol { stamp: Stamp::InsertOrder, ..Protocol::ours() };
    let other = Environment { writer: Writer::RevokesAnother, ..calm() };
    let forgetful = Protocol { purge: Purge::Forgets, ..Protocol::ours() };
    let purged = Environment { purging: Purging::AnyTime, ..Environment::sql_writer() };
    vec![
        mutant("insert-order", "stamps are auto-increment ids, not commit order", ids, other, &[AFTER_COMPLETE, BOUND]),
        mutant("no-floor", "the journal is purged and no floor raised", forgetful, purged, &[BOUND]),
    ]
}

/// How a hit has to be tested, and a poll published.
fn test_parts() -> Vec<Run> {
    let lease = || Protocol { ack: Ack::Lease, ..Protocol::ours() };
    let adversary = || Environment { redis: RedisKind::Adversary, ..calm() };
    let both = &[AFTER_COMPLETE, BOUND];
    let no_lease = Protocol { hit: Hit::ViewOnly, ..lease() };
    let swapped = Protocol { hit: Hit::ViewThenLease, ..lease() };
    let published = Protocol { publication: Publication::LeaseThenView, ..lease() };
    let generous = Protocol { lease_start: LeaseStart::AtAnswer, ..lease() };
    let joining = Protocol { hit: Hit::StrictJoinsPoll, ..Protocol::strict() };
    vec![
        mutant("no-lease", "the journal is polled, but no lease is required", no_lease, adversary(), both),
        mutant("view-then-lease", "a hit reads the view before the lease", swapped, adversary(), both),
        mutant("lease-then-view", "a poll publishes the lease before the view", published, adversary(), both),
        mutant("lease-at-answer", "a lease counts from the poll's answer", generous, adversary(), both),
        Run {
            small: FULL,
            ..mutant("strict-joins-poll", "strict: a hit joins a poll under way", joining, adversary(), both)
        },
    ]
}

/// What outage grace asks for in addition.
fn grace_parts() -> Vec<Run> {
    let cut = Environment { database: Reach::CutOff, ..calm() };
    let down = Environment { redis: RedisKind::Failing, ..cut.clone() };
    let short = Protocol { mark: Mark::Tombstone(2), ..Protocol::with_grace(1) };
    let hasty = Protocol { barrier: Barrier::ForgetsGrace, ..Protocol::with_grace(1) };
    vec![
        Run {
            small: SMALL,
            full: PAIR,
            ..slip("grace-short-tombstone", "outage grace: a tombstone lives only L", short, cut)
        },
        Run {
            small: SMALL,
            full: PAIR,
            ..slip("grace-complete", "outage grace: COMPLETE after the wait, not PENDING", hasty, down)
        },
    ]
}

/// What sharing a read asks for.
fn sharing_parts() -> Vec<Run> {
    let late = || Protocol { flights: Flights::LateJoin, ..Protocol::ours() };
    let crowd = |run: Run| Run { small: Bound { calls: [2, 0], ..CROWD }, full: CROWD, ..run };
    vec![
        crowd(mutant("late-join", "a call uses a read sent before it began", late(), calm(), &[AFTER_COMPLETE, BOUND])),
        crowd(mutant(
            "late-join-sql",
            "the same with an SQL writer: a valid token is refused",
            late(),
            Environment::sql_writer(),
            &[BOUND, REFUSAL],
        )),
    ]
}

fn calm() -> Environment {
    Environment::healthy()
}

/// A mutant that breaks COMPLETE, and keeps the bound.
fn slip(name: &'static str, shows: &'static str, protocol: Protocol, environment: Environment) -> Run {
    mutant(name, shows, protocol, environment, &[AFTER_COMPLETE])
}

/// A mutant that breaks these properties, and no other.
fn mutant(
    name: &'static str,
    shows: &'static str,
    protocol: Protocol,
    environment: Environment,
    breaks: &[&'static str],
) -> Run {
    let expect = |property| if breaks.contains(&property) { Expect::Violated } else { Expect::Holds };
    let expects = [AFTER_COMPLETE, BOUND, REFUSAL].map(|property| (property, expect(property))).to_vec();
    Run { name, shows, protocol, environment, expects, small: PAIR, full: FULL }
}
