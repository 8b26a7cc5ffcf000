//! The whole matrix of faults: `make faults`.

use super::{
    faults::{DatabaseFault, Fault, RedisFault, ServiceFault, TopologyFault},
    report::{Row, table},
    run::{Pace, Plan, run},
};
use crate::harness::{eventually::report, stack::On};

const REDIS: [RedisFault; 17] = [
    RedisFault::Killed,
    RedisFault::KilledWithGrace,
    RedisFault::Hung,
    RedisFault::Loading,
    RedisFault::WrongPassword,
    RedisFault::RestartedEmpty,
    RedisFault::RestartedFromOldRdb,
    RedisFault::FailoverToStale,
    RedisFault::SplitBrain,
    RedisFault::Replayed,
    RedisFault::ClientPause,
    RedisFault::OutOfMemory,
    RedisFault::ReadOnly,
    RedisFault::Misconf,
    RedisFault::NoReplicas,
    RedisFault::Evicting,
    RedisFault::Corrupt,
];
const TOPOLOGY: [TopologyFault; 4] = [
    TopologyFault::SentinelMasterKilled,
    TopologyFault::SentinelFailover,
    TopologyFault::SlotsMoved,
    TopologyFault::ClusterMasterKilled,
];
const DATABASE: [DatabaseFault; 8] = [
    DatabaseFault::Killed,
    DatabaseFault::Hung,
    DatabaseFault::Restarted,
    DatabaseFault::OutOfConnections,
    DatabaseFault::ReadOnly,
    DatabaseFault::OneReplicaCut,
    DatabaseFault::FailedOver,
    DatabaseFault::TriggersDisabled,
];
const SERVICE: [ServiceFault; 4] =
    [ServiceFault::Killed, ServiceFault::Stopped, ServiceFault::ClockAhead, ServiceFault::ClockBehind];
/// What makes Redis lose acknowledged writes: with `revoke_ack = lease` no accept is excused by it.
const FORGETFUL: [RedisFault; 4] =
    [RedisFault::RestartedFromOldRdb, RedisFault::FailoverToStale, RedisFault::SplitBrain, RedisFault::Replayed];
/// What the memory of each process in front of Redis has to withstand by itself.
const NEAR: [Fault; 6] = [
    Fault::None,
    Fault::Redis(RedisFault::Killed),
    Fault::Redis(RedisFault::RestartedFromOldRdb),
    Fault::Database(DatabaseFault::Killed),
    Fault::Database(DatabaseFault::OneReplicaCut),
    Fault::Service(ServiceFault::Killed),
];
/// What applies to MariaDB in another way than to PostgreSQL.
const MARIADB: [Fault; 8] = [
    Fault::None,
    Fault::Redis(RedisFault::Killed),
    Fault::Redis(RedisFault::RestartedFromOldRdb),
    Fault::Database(DatabaseFault::Killed),
    Fault::Database(DatabaseFault::Hung),
    Fault::Database(DatabaseFault::Restarted),
    Fault::Database(DatabaseFault::OneReplicaCut),
    Fault::Service(ServiceFault::Killed),
];
const SQLITE: [Fault; 3] = [Fault::None, Fault::Service(ServiceFault::Killed), Fault::Service(ServiceFault::Stopped)];

fn plans() -> Vec<Plan> {
    let full = |fault| Plan::new(fault, Pace::FULL);
    let mut plans =
        vec![full(Fault::None), full(Fault::None).strict(), full(Fault::None).trustless(), full(Fault::None).knox()];
    plans.extend(REDIS.map(|fault| full(Fault::Redis(fault))));
    plans.extend(FORGETFUL.map(|fault| full(Fault::Redis(fault)).trustless()));
    plans.extend(TOPOLOGY.map(|fault| full(Fault::Topology(fault))));
    plans.extend(TOPOLOGY.map(|fault| full(Fault::Topology(fault)).trustless()));
    plans.extend(DATABASE.map(|fault| full(Fault::Database(fault))));
    plans.extend(SERVICE.map(|fault| full(Fault::Service(fault))));
    plans.extend(NEAR.map(|fault| full(fault).near()));
    plans.extend(MARIADB.map(|fault| full(fault).on(On::MariaDb)));
    plans.extend(SQLITE.map(|fault| full(fault).embedded()));
    plans
}

/// All of them, or those whose name on their database contains `FAULTS`.
fn wanted() -> Vec<Plan> {
    let part = std::env::var("FAULTS").unwrap_or_default();
    plans().into_iter().filter(|plan| format!("{} on {:?}", plan.name(), plan.on).contains(&part)).collect()
}

fn in_a_runtime(plan: Plan) -> Row {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a process may have threads").block_on(run(plan))
}

#[ignore = "takes a quarter of an hour: make faults"]
#[test]
fn the_protocol_holds_under_every_fault() {
    let (mut rows, mut failures): (Vec<Row>, _) = (vec![], vec![]);
    for plan in wanted() {
        let name = format!("{} on {:?}", plan.name(), plan.on);
        report(&name);
        match std::thread::spawn(move || in_a_runtime(plan)).join() {
            Ok(row) => {
                report(&table(std::slice::from_ref(&row)));
                failures.extend(row.fault());
                rows.push(row);
            }
            // What it says is on the screen.
            Err(_) => failures.push(format!("{name} did not come to its end")),
        }
    }
    report(&format!("\n{}\n{} rows, {} failed", table(&rows), rows.len(), failures.len()));
    assert!(failures.is_empty(), "{failures:#?}");
}
