//! Three replicas, concurrent clients and writers, a history of everything, faults: no
//! token is accepted after its end was promised, none is refused while it is valid.
//!
//! `history` is what happened, `judge` the test on it, `run` the load around a fault;
//! `mutants` shows that the test can fail. What is here belongs to the suite; `matrix` is
//! every fault (`make faults`).

mod clients;
mod cluster;
mod ending;
mod faults;
mod history;
mod judge;
mod matrix;
mod mutants;
mod report;
mod run;
mod soak;
mod sql;
mod world;
mod writers;

pub(crate) use self::faults::TopologyFault;
use self::{
    faults::{DatabaseFault, Fault, RedisFault, ServiceFault},
    run::{Pace, Plan, run},
};
use crate::harness::eventually::report as print;

/// The protocol while Redis on several servers changes its shape; `trustless`: no accept at all after COMPLETE.
pub(crate) async fn holds_in_a_topology(fault: TopologyFault, trust: Trust) {
    let plan = Plan::new(Fault::Topology(fault), Pace::BRIEF);
    holds(match trust {
        Trust::Redis => plan,
        Trust::Nobody => plan.trustless(),
    })
    .await;
}

/// Whom Revoke trusts when it answers COMPLETE.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust {
    /// Redis, which may lose in a failover what it has acknowledged.
    Redis,
    /// Nobody: `revoke_ack = lease`.
    Nobody,
}

async fn holds(plan: Plan) {
    let row = run(plan).await;
    print(&report::table(std::slice::from_ref(&row)));
    assert_eq!(row.fault(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_refused_while_fills_are_late() {
    holds(Plan::new(Fault::None, Pace::SHORT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_on_one_sqlite_file_see_each_others_changes_at_once() {
    holds(Plan::new(Fault::None, Pace::SHORT).embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_refused_while_redis_hangs() {
    holds(Plan::new(Fault::Redis(RedisFault::Hung), Pace::SHORT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_had_forgotten_of_is_refused_when_it_comes_back_old() {
    holds(Plan::new(Fault::Redis(RedisFault::RestartedFromOldRdb), Pace::SHORT).trustless()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_from_the_database_accepts_nothing_past_its_grace() {
    holds(Plan::new(Fault::Database(DatabaseFault::OneReplicaCut), Pace::SHORT)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_refused_by_memory_in_front_of_redis_too() {
    holds(Plan::new(Fault::Database(DatabaseFault::OneReplicaCut), Pace::SHORT).near()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_its_replica_did_not_survive_is_ended_by_a_retry_elsewhere() {
    holds(Plan::new(Fault::Service(ServiceFault::Killed), Pace::SHORT)).await;
}
