//! Calls go to those replicas that say that they serve. tonic reads no service config, so this is by hand.

use std::time::Duration;

use tokio::{sync::mpsc::Sender, time::sleep};
use tonic::transport::{Channel, Endpoint, Uri, channel::Change};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

const SERVICE: &str = "tokenward.v1.TokenService";
/// Pause before a replica that was lost is looked at again.
const PAUSE: Duration = Duration::from_millis(250);

const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A channel over the replicas that serve, the less busy of two at each call.
pub(crate) fn balanced(replicas: Vec<Endpoint>) -> Channel {
    let (channel, changes) = Channel::balance_channel(replicas.len().max(1));
    for replica in replicas {
        // A connection that is dead without a word is noticed, too.
        let replica = replica.connect_timeout(Duration::from_secs(1)).http2_keep_alive_interval(KEEP_ALIVE);
        tokio::spawn(follow(replica.keep_alive_timeout(Duration::from_secs(3)), changes.clone()));
    }
    channel
}

/// Takes the replica in and out as it says itself, for as long as the channel is used.
async fn follow(replica: Endpoint, changes: Sender<Change<Uri, Endpoint>>) {
    loop {
        let ended = watch(&replica, &changes).await;
        if ended.is_none() || changes.send(Change::Remove(replica.uri().clone())).await.is_err() {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Until the replica is lost; `None` when nobody uses the channel any more.
async fn watch(replica: &Endpoint, changes: &Sender<Change<Uri, Endpoint>>) -> Option<()> {
    let Ok(connection) = replica.connect().await else { return Some(()) };
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let Ok(statuses) = HealthClient::new(connection).watch(request).await else { return Some(()) };
    let mut statuses = statuses.into_inner();
    while let Ok(Some(answer)) = statuses.message().await {
        let change = match answer.status() {
            ServingStatus::Serving => Change::Insert(replica.uri().clone(), replica.clone()),
            ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown => {
                Change::Remove(replica.uri().clone())
            }
        };
        changes.send(change).await.ok()?;
    }
    Some(())
}
