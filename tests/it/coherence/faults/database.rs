//! The database dies, hangs, refuses, moves; or one replica alone is cut from it.

use super::{super::cluster::Database, Cluster, World};
use crate::harness::relay::Fault as Network;

/// What is wrong with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum DatabaseFault {
    Killed,
    Hung,
    Restarted,
    OutOfConnections,
    ReadOnly,
    OneReplicaCut,
    /// To a standby that has every commit.
    FailedOver,
    TriggersDisabled,
}

// === impl DatabaseFault ===

impl DatabaseFault {
    pub(super) async fn inject(self, cluster: &mut Cluster, world: &World) {
        match self {
            Self::Killed => kill(&mut cluster.database),
            Self::Hung => match &cluster.database {
                Database::Sqlite(_) => panic!("SQLite is no process"),
                Database::Postgres(postgres) => postgres.pause(),
                Database::MariaDb(mariadb) => mariadb.pause(),
            },
            Self::Restarted => {
                kill(&mut cluster.database);
                restart(&mut cluster.database).await;
            }
            Self::OutOfConnections => exhaust(cluster).await,
            Self::ReadOnly => read_only(cluster, true).await,
            Self::OneReplicaCut => cluster.replicas[0].to_database.as_ref().expect("a server").inject(Network::Stall),
            Self::FailedOver => fail_over(cluster, world).await,
            Self::TriggersDisabled => disable_triggers(cluster, world).await,
        }
    }

    pub(super) async fn heal(self, cluster: &mut Cluster) {
        match self {
            Self::Killed => restart(&mut cluster.database).await,
            Self::Hung => match &cluster.database {
                Database::Sqlite(_) => {}
                Database::Postgres(postgres) => postgres.resume(),
                Database::MariaDb(mariadb) => mariadb.resume(),
            },
            Self::Restarted | Self::FailedOver => {}
            Self::OutOfConnections => cluster.spare.connections.clear(),
            Self::ReadOnly => read_only(cluster, false).await,
            Self::OneReplicaCut => cluster.replicas[0].to_database.as_ref().expect("a server").inject(Network::None),
            Self::TriggersDisabled => cluster.sql().must(&cluster.sql().triggers(true)).await,
        }
    }
}

fn kill(database: &mut Database) {
    match database {
        Database::Sqlite(_) => panic!("SQLite is no process"),
        Database::Postgres(postgres) => postgres.kill(),
        Database::MariaDb(mariadb) => mariadb.kill(),
    }
}

async fn restart(database: &mut Database) {
    match database {
        Database::Sqlite(_) => {}
        Database::Postgres(postgres) => postgres.restart().await,
        Database::MariaDb(mariadb) => mariadb.restart().await,
    }
}

/// One replica loses its connections, others take them all, and then it may try.
async fn exhaust(cluster: &mut Cluster) {
    let way = |cluster: &Cluster, network| cluster.replicas[0].to_database.as_ref().expect("a server").inject(network);
    way(cluster, Network::Refuse);
    cluster.spare.connections = cluster.postgres().exhaust().await;
    way(cluster, Network::None);
}

async fn read_only(cluster: &mut Cluster, only: bool) {
    let verb = if only { "SET default_transaction_read_only = on" } else { "RESET default_transaction_read_only" };
    let postgres = cluster.postgres();
    postgres.execute(&format!("ALTER SYSTEM {verb}")).await;
    postgres.execute("SELECT pg_reload_conf()").await;
}

/// The standby follows first; then the primary ends and every way leads to the other.
async fn fail_over(cluster: &mut Cluster, world: &World) {
    let standby = cluster.postgres().standby().await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    cluster.postgres().kill();
    standby.promote().await;
    let old = std::mem::replace(cluster.postgres(), standby);
    cluster.spare.postgres = Some(old);
    let socket = cluster.postgres().socket();
    cluster.ways_to_database().for_each(|relay| relay.lead_to(socket.clone()));
    world.reconnect(cluster);
}

/// Nobody writes past the service until every replica has noticed: what another program
/// ends meanwhile goes unrecorded, and the alarm may take a minute.
async fn disable_triggers(cluster: &mut Cluster, world: &World) {
    let _nobody_writes = world.past_the_service.write().await;
    cluster.sql().must(&cluster.sql().triggers(false)).await;
    for replica in &cluster.replicas {
        let alarmed = async || replica.server.output().contains("triggers of the journal").then_some(());
        crate::harness::eventually::eventually("the replica has noticed", alarmed).await;
    }
}
