//! Redis on several servers loses one of them, or changes which of them has what.

use std::time::Duration;

use super::super::cluster::{Cluster, Shape};

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopologyFault {
    /// The master dies; the Sentinels make another.
    SentinelMasterKilled,
    /// An administrator asks the Sentinels for another master.
    SentinelFailover,
    /// Slots with keys in them go from one master of a cluster to another, and are on their way for a while.
    SlotsMoved,
    /// A master of a cluster dies; its replica takes over.
    ClusterMasterKilled,
}

/// How long slots are on their way.
const ON_THE_WAY: Duration = Duration::from_millis(1_500);

// === impl TopologyFault ===

impl TopologyFault {
    /// Where it can happen.
    pub(in super::super) fn shape(self) -> Shape {
        match self {
            Self::SentinelMasterKilled | Self::SentinelFailover => Shape::Sentinel,
            Self::SlotsMoved | Self::ClusterMasterKilled => Shape::Cluster,
        }
    }

    /// Whether acknowledged writes are lost: replicas follow a moment later.
    pub(super) fn forgets(self) -> bool {
        match self {
            Self::SentinelMasterKilled | Self::SentinelFailover | Self::ClusterMasterKilled => true,
            Self::SlotsMoved => false,
        }
    }

    pub(super) async fn inject(self, cluster: &mut Cluster) {
        match self {
            Self::SentinelMasterKilled => cluster.sentinel().servers[0].kill(),
            Self::SentinelFailover => {
                cluster.sentinel().fail_over().await;
                cluster.sentinel().another_master(0).await;
            }
            Self::SlotsMoved => {
                let redis = cluster.redis_cluster();
                let slots = redis.used_slots(0).await;
                assert!(!slots.is_empty(), "the load has filled the cache");
                for slot in &slots {
                    redis.open(slot, 0, 1).await;
                }
                tokio::time::sleep(ON_THE_WAY).await;
                for slot in &slots {
                    redis.hand_over(slot, 0, 1).await;
                }
            }
            Self::ClusterMasterKilled => cluster.redis_cluster().nodes[0].kill(),
        }
    }

    /// Waits until the others have made good for it, and brings back what was lost.
    pub(super) async fn heal(self, cluster: &mut Cluster) {
        match self {
            Self::SentinelMasterKilled => {
                cluster.sentinel().another_master(0).await;
                cluster.sentinel().servers[0].restart().await;
            }
            Self::ClusterMasterKilled => {
                cluster.redis_cluster().replica_in_the_place_of(0).await;
                cluster.redis_cluster().nodes[0].restart().await;
            }
            Self::SentinelFailover | Self::SlotsMoved => {}
        }
    }
}
