//! The service where each part is several machines: Redis behind Sentinels, Redis Cluster, replicas behind a
//! load balancer. One is lost or replaced under load; no answer is wrong, and every replica has answers from Redis again.

mod acl;
mod balanced;
mod encrypted;
mod fleet;
mod upgrade;

use crate::coherence::{TopologyFault, Trust, holds_in_a_topology};

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_holds_while_sentinels_replace_a_master_that_died() {
    holds_in_a_topology(TopologyFault::SentinelMasterKilled, Trust::Nobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_wrong_while_sentinels_replace_a_sound_master() {
    holds_in_a_topology(TopologyFault::SentinelFailover, Trust::Nobody).await;
}

/// Redis may lose what it has acknowledged; what the new master never heard of is noticed within the lease.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_wrong_by_more_than_the_lease_while_sentinels_replace_a_master_that_is_trusted() {
    holds_in_a_topology(TopologyFault::SentinelFailover, Trust::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_wrong_while_the_slots_of_a_cluster_move() {
    holds_in_a_topology(TopologyFault::SlotsMoved, Trust::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_holds_while_a_replica_takes_the_place_of_a_master_of_a_cluster() {
    holds_in_a_topology(TopologyFault::ClusterMasterKilled, Trust::Nobody).await;
}
