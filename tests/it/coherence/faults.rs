//! Every row of the protocol's table of faults, for real.

use std::time::Duration;

use super::{
    cluster::{Cluster, Shape},
    run::LEASE,
    world::World,
};

mod database;
mod redis;
mod service;
mod topology;

pub(crate) use self::topology::TopologyFault;
pub(super) use self::{database::DatabaseFault, redis::RedisFault, service::ServiceFault};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing but fills that are late.
    None,
    Redis(RedisFault),
    /// Redis on several servers.
    Topology(TopologyFault),
    Database(DatabaseFault),
    Service(ServiceFault),
}

/// A grace that a run outlasts.
const SHORT_GRACE: Duration = Duration::from_secs(2);

// === impl Fault ===

impl Fault {
    pub(super) async fn inject(self, cluster: &mut Cluster, world: &World) {
        match self {
            Self::None => {}
            Self::Redis(fault) => fault.inject(cluster).await,
            Self::Topology(fault) => fault.inject(cluster).await,
            Self::Database(fault) => fault.inject(cluster, world).await,
            Self::Service(fault) => fault.inject(cluster, world).await,
        }
    }

    pub(super) async fn heal(self, cluster: &mut Cluster) {
        match self {
            Self::None => {}
            Self::Redis(fault) => fault.heal(cluster).await,
            Self::Topology(fault) => fault.heal(cluster).await,
            Self::Database(fault) => fault.heal(cluster).await,
            Self::Service(fault) => fault.heal(cluster),
        }
    }

    /// `coherence.outage_grace`: none, where the bound is to be the tightest.
    pub(super) fn grace(self) -> Duration {
        match self {
            Self::Database(_) | Self::Redis(RedisFault::KilledWithGrace) => SHORT_GRACE,
            Self::None | Self::Redis(_) | Self::Topology(_) | Self::Service(_) => Duration::ZERO,
        }
    }

    /// How many servers Redis is.
    pub(super) fn shape(self) -> Shape {
        match self {
            Self::Topology(fault) => fault.shape(),
            Self::None | Self::Redis(_) | Self::Database(_) | Self::Service(_) => Shape::Alone,
        }
    }

    /// Whether nobody has to do anything for the cache to come back.
    pub(super) fn heals_itself(self) -> bool {
        matches!(self, Self::Topology(_))
    }

    /// How long after COMPLETE an accept may begin when Redis is trusted with what it
    /// acknowledged: a Redis that loses it is noticed within the lease.
    pub(super) fn slack_of_trust(self) -> Duration {
        match self {
            Self::Redis(fault) if fault.forgets() => LEASE,
            Self::Topology(fault) if fault.forgets() => LEASE,
            Self::None | Self::Redis(_) | Self::Topology(_) | Self::Database(_) | Self::Service(_) => Duration::ZERO,
        }
    }

    /// Whether this replica's polls fail, so that the grace applies.
    pub(super) fn cuts(self, replica: usize) -> bool {
        match self {
            Self::Database(DatabaseFault::OneReplicaCut) => replica == 0,
            Self::Database(_) | Self::Redis(RedisFault::KilledWithGrace) => true,
            Self::None | Self::Redis(_) | Self::Topology(_) | Self::Service(_) => false,
        }
    }
}
