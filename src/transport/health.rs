//! `grpc.health.v1.Health`: what the components' conditions mean for each service.
//!
//! Probes do no I/O: a background task turns conditions into statuses, and Check,
//! Watch (both tonic-health's) and List read them. Watch streams end when the server
//! drains, since a stream without end would hold its connection to the drain's deadline.
//! They need no credential, so there are at most 1,024 of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt as _, future::OptionFuture};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tonic_health::{
    ServingStatus,
    pb::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus as Wire,
        health_server::Health as _,
    },
    server::{HealthReporter, HealthService},
};

use crate::{
    component::Condition,
    proto::health::{HealthListRequest, HealthListResponse, health_server},
};

use super::crowd::Crowd;

mod watches;

use watches::WatchStream;

/// Streams of Watch at once; one more ends the oldest.
const MAX_WATCHES: usize = 1024;
/// The component name of the database.
pub const DATABASE: &str = "database";
/// The component name of Redis.
pub const REDIS: &str = "redis";
/// What always answers requests: the server as a whole, and each service.
pub const SERVICES: [&str; 6] = [
    "",
    "tokenward.v1.CacheService",
    "tokenward.v1.StatusService",
    "tokenward.v1.TokenAdminService",
    "tokenward.v1.TokenService",
    "tokenward.v1.UserService",
];

/// The conditions that statuses follow from.
#[derive(Clone, Debug)]
pub struct Components {
    /// The database's.
    pub database: watch::Receiver<Condition>,
    /// Redis's; `None` where there is none.
    pub redis: Option<watch::Receiver<Condition>>,
}

/// What the loss of a component means.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long the database may be lost before the services are.
    pub database_grace: Duration,
    /// What the loss of Redis means.
    pub redis: RedisLoss,
    /// The services beside those that are always there.
    pub others: &'static [&'static str],
}

/// What the loss of Redis means for the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisLoss {
    /// They go on, from the database.
    Tolerated,
    /// They are lost too.
    Fatal,
}

/// Answers probes.
#[derive(Debug)]
pub struct Probes {
    statuses: watch::Receiver<Statuses>,
    check: HealthService,
    watches: Arc<Crowd>,
    draining: CancellationToken,
}

/// Whether the replica may be sent requests, and the components behind that.
#[derive(Clone, Debug)]
pub struct Readiness {
    statuses: watch::Receiver<Statuses>,
    draining: CancellationToken,
}

/// Turns conditions into statuses.
#[derive(Debug)]
pub struct Reporter {
    components: Components,
    policy: Policy,
    tonic: HealthReporter,
    statuses: watch::Sender<Statuses>,
    draining: CancellationToken,
}

type Statuses = HashMap<String, ServingStatus>;

// === impl Reporter ===

impl Reporter {
    /// A reporter, and the probes that read from it. Both follow `draining`.
    pub async fn new(components: Components, policy: Policy, draining: CancellationToken) -> (Self, Probes) {
        let (statuses, receiver) = watch::channel(Statuses::new());
        let tonic = HealthReporter::new();
        let check = HealthService::from_health_reporter(tonic.clone());
        let watches = Crowd::new(MAX_WATCHES);
        let probes = Probes { statuses: receiver, check, watches, draining: draining.clone() };
        let reporter = Self { components, policy, tonic, statuses, draining };
        reporter.publish().await;
        (reporter, probes)
    }

    /// Follows the conditions until the server drains, says NOT_SERVING once, and ends.
    pub async fn run(mut self) {
        while !self.draining.is_cancelled() {
            self.changed().await;
            self.publish().await;
        }
    }

    /// Waits until something may have changed: a condition, the end of the grace, the drain.
    async fn changed(&mut self) {
        let lost = self.components.database.borrow().lost_since();
        let grace = lost.map(|since| since + self.policy.database_grace).filter(|end| *end > Instant::now());
        let redis = self.components.redis.as_mut().map(watch::Receiver::changed);
        // A watchman that ended has taken the process with it: nothing to handle here.
        tokio::select! {
            _ = self.components.database.changed() => {}
            Some(_) = OptionFuture::from(redis) => {}
            Some(()) = OptionFuture::from(grace.map(sleep_until)) => {}
            () = self.draining.cancelled() => {}
        }
    }

    async fn publish(&self) {
        let mut statuses = self.components.statuses(self.policy);
        if self.draining.is_cancelled() {
            for status in statuses.values_mut() {
                *status = ServingStatus::NotServing;
            }
        }
        let before = self.statuses.send_replace(statuses.clone());
        for (name, status) in statuses {
            // Watch streams repeat what is set, so only changes are.
            if before.get(&name) != Some(&status) {
                self.tonic.set_service_status(name, status).await;
            }
        }
    }
}

// === impl Components ===

impl Components {
    fn statuses(&self, policy: Policy) -> Statuses {
        let lost = self.database.borrow().lost_since();
        let database_gone = lost.is_some_and(|since| since.elapsed() >= policy.database_grace);
        let redis_gone = self.redis.as_ref().is_some_and(|redis| !redis.borrow().is_serving());
        let redis_missed = redis_gone && policy.redis == RedisLoss::Fatal;
        let services = SERVICES.iter().chain(policy.others);
        let mut statuses: Statuses =
            services.map(|name| ((*name).to_owned(), status(!database_gone && !redis_missed))).collect();
        statuses.insert(DATABASE.to_owned(), status(lost.is_none()));
        if self.redis.is_some() {
            statuses.insert(REDIS.to_owned(), status(!redis_gone));
        }
        statuses
    }
}

fn status(serves: bool) -> ServingStatus {
    if serves { ServingStatus::Serving } else { ServingStatus::NotServing }
}

// === impl Probes ===

impl Probes {
    /// What the probes answer from.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness { statuses: self.statuses.clone(), draining: self.draining.clone() }
    }
}

#[tonic::async_trait]
impl health_server::Health for Probes {
    type WatchStream = WatchStream;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.check.check(request).await
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let statuses = self.statuses.borrow();
        let statuses = statuses.iter().map(|(name, status)| (name.clone(), wire(*status))).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let draining = self.draining.clone().cancelled_owned();
        let stream = match self.check.watch(request).await {
            Ok(stream) => until_drained(stream.into_inner(), draining),
            // The protocol answers an unknown name with a status and keeps the stream.
            Err(error) if error.code() == Code::NotFound => {
                let unknown = HealthCheckResponse { status: Wire::ServiceUnknown.into() };
                let stream = futures::stream::iter([Ok(unknown)]).chain(futures::stream::pending());
                Box::pin(stream.take_until(draining))
            }
            Err(error) => return Err(error),
        };
        Ok(Response::new(self.watches.admit().keep(stream)))
    }
}

// === impl Readiness ===

impl Readiness {
    /// Whether a probe of `name` says SERVING; `""` is the server as a whole. An unknown name is not serving.
    #[must_use]
    pub fn is_serving(&self, name: &str) -> bool {
        self.statuses.borrow().get(name) == Some(&ServingStatus::Serving)
    }

    /// Every name but `""`, and whether it is serving, in the order of the names.
    #[must_use]
    pub fn names(&self) -> BTreeMap<String, bool> {
        let statuses = self.statuses.borrow();
        let named = statuses.iter().filter(|(name, _)| !name.is_empty());
        named.map(|(name, status)| (name.clone(), *status == ServingStatus::Serving)).collect()
    }

    /// Whether the replica is about to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}

/// The stream, ended by the first status after the drain began.
fn until_drained<S>(stream: S, draining: impl Future<Output = ()> + Send + 'static) -> WatchStream
where
    S: Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static,
{
    let last = futures::stream::iter([Ok(wire(ServingStatus::NotServing))]);
    Box::pin(stream.take_until(draining).chain(last))
}

fn wire(status: ServingStatus) -> HealthCheckResponse {
    let status = match status {
        ServingStatus::Unknown => Wire::Unknown,
        ServingStatus::Serving => Wire::Serving,
        ServingStatus::NotServing => Wire::NotServing,
    };
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::sleep;

    use super::*;
    use crate::{component::Watchman, config::Config};

    const POLICY: Policy = Policy { database_grace: Duration::from_secs(30), redis: RedisLoss::Tolerated, others: &[] };

    fn components() -> (Components, watch::Sender<Condition>, watch::Sender<Condition>) {
        let (database_sender, database) = watch::channel(Condition::serving());
        let (redis_sender, redis) = watch::channel(Condition::serving());
        (Components { database, redis: Some(redis) }, database_sender, redis_sender)
    }

    fn lost() -> Condition {
        Condition { lost: Some("gone".to_owned()), since: Instant::now() }
    }

    fn names(statuses: &Statuses, wanted: ServingStatus) -> Vec<&str> {
        let mut names: Vec<_> =
            statuses.iter().filter(|(_, status)| **status == wanted).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_redis_is_told_and_the_services_go_on() {
        let (components, _database, redis) = components();
        redis.send_replace(lost());
        assert_eq!(names(&components.statuses(POLICY), ServingStatus::NotServing), ["redis"]);
        let required = Policy { redis: RedisLoss::Fatal, ..POLICY };
        assert_eq!(names(&components.statuses(required), ServingStatus::Serving), ["database"]);
        let more = Policy { others: &["a.Door"], ..required };
        assert!(names(&components.statuses(more), ServingStatus::NotServing).contains(&"a.Door"));
    }

    /// A hung database is noticed late, and the replica must be out by the time it has no answers left.
    #[tokio::test(start_paused = true)]
    async fn by_default_a_replica_is_out_when_the_last_fact_of_a_hung_database_may_be_answered() {
        let config = Config::default();
        let policy = Policy { database_grace: config.health.database_grace, ..POLICY };
        let (watchman, database) = Watchman::new(DATABASE, Condition::serving());
        let (reporter, probes) =
            Reporter::new(Components { database, redis: None }, policy, CancellationToken::new()).await;
        let mut statuses = probes.statuses.clone();
        let hung = Arc::new(AtomicBool::new(false));
        let hangs = Arc::clone(&hung);
        let look = move || {
            let (hangs, limit) = (hangs.load(Ordering::Relaxed), config.database.statement_timeout);
            async move {
                if !hangs {
                    return Ok(());
                }
                sleep(limit).await;
                Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
            }
        };
        tokio::spawn(watchman.run(config.health.interval, look));
        tokio::spawn(reporter.run());
        sleep(Duration::from_secs(5)).await;
        hung.store(true, Ordering::Relaxed);
        let cut = Instant::now();
        let out = |statuses: &Statuses| statuses.get("") == Some(&ServingStatus::NotServing);
        statuses.wait_for(out).await.expect("the reporter runs");
        let (lease, grace) = (config.coherence.max_staleness, config.coherence.outage_grace);
        assert!((grace..=lease + grace).contains(&cut.elapsed()), "{:?}", cut.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_database_is_told_at_once_and_the_services_follow_after_the_grace() {
        let (components, database, _redis) = components();
        let draining = CancellationToken::new();
        let (reporter, probes) = Reporter::new(components, POLICY, draining.clone()).await;
        let mut statuses = probes.statuses.clone();
        statuses.mark_unchanged();
        tokio::spawn(reporter.run());

        let start = Instant::now();
        database.send_replace(lost());
        statuses.changed().await.expect("the reporter runs");
        assert_eq!(names(&statuses.borrow_and_update(), ServingStatus::NotServing), ["database"]);
        statuses.changed().await.expect("the reporter runs");
        assert_eq!(start.elapsed().as_secs(), 30);
        assert_eq!(names(&statuses.borrow_and_update(), ServingStatus::Serving), ["redis"]);

        database.send_replace(Condition::serving());
        statuses.changed().await.expect("the reporter runs");
        assert!(names(&statuses.borrow_and_update(), ServingStatus::NotServing).is_empty());

        draining.cancel();
        statuses.changed().await.expect("the reporter says it once more");
        assert!(names(&statuses.borrow_and_update(), ServingStatus::Serving).is_empty());
    }
}
