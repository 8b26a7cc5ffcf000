//! What clients, writers and probes share while a run lasts.

use std::{
    error::Error as _,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokenward::proto::{AnswerSource, AuthenticateRequest, Consistency};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::{
    cluster::Cluster,
    ending::Done,
    history::{Answer, Change, Check, History, Holds, State, TokenNo, locked},
    sql::Sql,
};
use crate::harness::client::{Client, Issued, about};

/// A token that takes part.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) no: TokenNo,
    pub(super) token: Issued,
}

/// Everything that is shared.
pub(super) struct World {
    pub(super) history: History,
    clients: Vec<RwLock<Client>>,
    sql: RwLock<Sql>,
    /// The last tokens that were issued: what readers ask about.
    stage: Mutex<Vec<Known>>,
    stopped: AtomicBool,
    /// Other programs write under it, together; a fault that must have no such writes takes it alone.
    pub(super) past_the_service: tokio::sync::RwLock<()>,
    pub(super) seen: Seen,
}

/// Figures for the report.
#[derive(Default)]
pub(super) struct Seen {
    /// From a revocation's answer to the first check on a replica that does not accept.
    pub(super) revoked: Mutex<Vec<Duration>>,
    /// The same from another program's commit.
    pub(super) committed: Mutex<Vec<Duration>>,
    /// What answered the monitor's checks, and when.
    pub(super) sightings: Mutex<Vec<Sighting>>,
    /// Checks that asked for the database's own answer and got it.
    pub(super) consistent: AtomicUsize,
    /// Ends by call, by how far they had come.
    pub(super) complete: AtomicUsize,
    pub(super) pending: AtomicUsize,
    pub(super) unanswered: AtomicUsize,
    /// Statuses that no fault excuses.
    pub(super) odd: Mutex<Vec<String>>,
}

/// A monitor's check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub(super) at: Instant,
    pub(super) replica: usize,
    pub(super) what: Sight,
}

/// What a monitor may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// An answer from a cache.
    Cache,
    /// The database's own answer, when that was asked for.
    Database,
    /// Health says that Redis or the database is lost.
    Lost,
}

/// A reader waits no longer for a replica that hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// Tokens on the stage: those of the last ten seconds or so, most of which have ended.
const STAGE: usize = 80;
/// Texts of odd statuses that are kept.
const ODD: usize = 10;

// === impl Seen ===

impl Seen {
    /// Counts the end of a token by call.
    pub(super) fn answered(&self, done: Done) {
        let counter = match done {
            Done::Promised(Duration::ZERO) | Done::Committed => &self.complete,
            Done::Promised(_) => &self.pending,
            Done::Unknown => &self.unanswered,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

// === impl World ===

impl World {
    pub(super) fn of(cluster: &Cluster) -> Self {
        Self {
            history: History::default(),
            clients: cluster.replicas.iter().map(|replica| RwLock::new(replica.server.client())).collect(),
            sql: RwLock::new(cluster.sql()),
            stage: Mutex::default(),
            stopped: AtomicBool::new(false),
            past_the_service: tokio::sync::RwLock::default(),
            seen: Seen::default(),
        }
    }

    pub(super) fn replicas(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn client(&self, replica: usize) -> Client {
        self.clients[replica].read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A replica was started again, or the database is another one.
    pub(super) fn reconnect(&self, cluster: &Cluster) {
        for (slot, replica) in self.clients.iter().zip(&cluster.replicas) {
            *slot.write().unwrap_or_else(PoisonError::into_inner) = replica.server.client();
        }
        *self.sql.write().unwrap_or_else(PoisonError::into_inner) = cluster.sql();
    }

    pub(super) fn sql(&self) -> Sql {
        self.sql.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// A token that was issued from `invoked` until now, on the stage from now on.
    pub(super) fn introduce(&self, token: Issued, invoked: Instant) -> Known {
        let returned = Instant::now();
        let no = self.history.token(Change { to: State::Live, invoked, returned, holds: Holds::Promised(returned) });
        let known = Known { no, token };
        let mut stage = locked(&self.stage);
        if stage.len() >= STAGE {
            stage.remove(0);
        }
        stage.push(known.clone());
        known
    }

    /// One of the tokens on the stage.
    pub(super) fn any_token(&self) -> Option<Known> {
        let stage = locked(&self.stage);
        (!stage.is_empty()).then(|| stage[rand::random_range(0..stage.len())].clone())
    }

    /// Authenticates, and puts the answer down.
    pub(super) async fn check(&self, replica: usize, known: &Known) -> Answer {
        self.ask(replica, known, about(&known.token.secret)).await.0
    }

    /// The same by the database.
    pub(super) async fn check_at_the_database(&self, replica: usize, known: &Known) -> Answer {
        let request =
            AuthenticateRequest { consistency: Consistency::FullyConsistent.into(), ..about(&known.token.secret) };
        let invoked = Instant::now();
        let (answer, _) = self.ask(replica, known, request).await;
        if matches!(answer, Answer::Accepted | Answer::Refused) {
            self.seen.consistent.fetch_add(1, Ordering::Relaxed);
            self.sighted_at(invoked, replica, Sight::Database);
        }
        answer
    }

    /// The same, and whether a cache answered.
    pub(super) async fn check_for_a_hit(&self, replica: usize, known: &Known) -> Answer {
        let invoked = Instant::now();
        let (answer, source) = self.ask(replica, known, about(&known.token.secret)).await;
        if matches!(source, AnswerSource::SharedCache | AnswerSource::LocalCache) {
            self.sighted_at(invoked, replica, Sight::Cache);
        }
        answer
    }

    pub(super) fn sighted(&self, replica: usize, what: Sight) {
        self.sighted_at(Instant::now(), replica, what);
    }

    /// What an answer shows was so, at the earliest, when it was asked for.
    fn sighted_at(&self, at: Instant, replica: usize, what: Sight) {
        locked(&self.seen.sightings).push(Sighting { at, replica, what });
    }

    async fn ask(&self, replica: usize, known: &Known, request: AuthenticateRequest) -> (Answer, AnswerSource) {
        let (client, invoked) = (self.client(replica), Instant::now());
        let outcome = timeout(PATIENCE, client.try_authenticate(request)).await;
        let returned = Instant::now();
        let Ok(outcome) = outcome else {
            self.history.check(Check { token: known.no, replica, invoked, returned, answer: Answer::Lost });
            return (Answer::Lost, AnswerSource::Unspecified);
        };
        let (answer, source) = match outcome {
            Ok(answer) if answer.active => (Answer::Accepted, answer.source()),
            Ok(answer) => (Answer::Refused, answer.source()),
            Err(status) => (self.failure(&status), AnswerSource::Unspecified),
        };
        self.history.check(Check { token: known.no, replica, invoked, returned, answer });
        (answer, source)
    }

    /// What a status says; one that the client made itself says that there was no answer.
    pub(super) fn failure(&self, status: &Status) -> Answer {
        if status.source().is_some() {
            return Answer::Lost;
        }
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => Answer::Unavailable,
            _ => {
                let mut odd = locked(&self.seen.odd);
                if odd.len() < ODD {
                    odd.push(format!("{status:?}"));
                }
                Answer::Broken
            }
        }
    }
}
