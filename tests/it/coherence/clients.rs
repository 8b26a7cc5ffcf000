//! Who asks: readers of whatever is on the stage, and a monitor on each replica.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};

use super::{
    history::Answer,
    world::{Known, Sight, World},
};

/// Readers over all replicas.
const READERS: usize = 6;
/// Between two checks of a reader, so that the machine is not what is measured.
const READERS_PAUSE: Duration = Duration::from_millis(3);
const MONITORS_PAUSE: Duration = Duration::from_millis(40);
/// After a failure, so that a replica that is gone costs no core.
const SETBACK: Duration = Duration::from_millis(10);

/// Starts all of them. `lasting` is a token that nobody ends.
pub(super) fn start(world: &Arc<World>, lasting: &Known, tasks: &mut JoinSet<()>) {
    for _ in 0..READERS {
        tasks.spawn(read(Arc::clone(world)));
    }
    for replica in 0..world.replicas() {
        tasks.spawn(monitor(Arc::clone(world), replica, lasting.clone()));
        tasks.spawn(watch_health(Arc::clone(world), replica));
    }
}

async fn read(world: Arc<World>) {
    while !world.is_over() {
        if let Some(known) = world.any_token() {
            let answer = world.check(rand::random_range(0..world.replicas()), &known).await;
            if matches!(answer, Answer::Lost | Answer::Unavailable) {
                sleep(SETBACK).await;
            }
        }
        sleep(READERS_PAUSE).await;
    }
}

async fn monitor(world: Arc<World>, replica: usize, lasting: Known) {
    while !world.is_over() {
        world.check_for_a_hit(replica, &lasting).await;
        world.check_at_the_database(replica, &lasting).await;
        sleep(MONITORS_PAUSE).await;
    }
}

async fn watch_health(world: Arc<World>, replica: usize) {
    while !world.is_over() {
        for name in ["redis", "database"] {
            let serving = world.client(replica).check(name).await;
            if serving.is_ok_and(|status| status == tonic_health::pb::health_check_response::ServingStatus::NotServing)
            {
                world.sighted(replica, Sight::Lost);
            }
        }
        sleep(MONITORS_PAUSE).await;
    }
}
