//! A client that caches answers and follows `WatchRevocations`, by the rules that the contract states.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokenward::proto::{
    AuthenticateRequest, WatchRevocationsRequest, WatchRevocationsResponse, watch_revocations_response::Subject,
};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::harness::client::{Client, Refusal, about};

/// How old its latest message may be while it uses what it has cached: the limit that the contract has it choose.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// The client.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// Where a check was answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The client's own cache.
    Cache,
    /// The service.
    Service,
}

struct Shared {
    /// The replicas that it knows.
    replicas: Mutex<Vec<Client>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Secret to its `token_id` and its user.
    active: HashMap<String, (String, String)>,
    /// When the latest message came; `None` while it may cache nothing.
    heard: Option<Instant>,
    revision: String,
    /// Events that have come.
    events: u64,
    /// Why streams ended.
    ends: Vec<(Code, String)>,
}

// === impl Follower ===

impl Follower {
    /// Follows one of these replicas, and the next one when that is lost.
    pub(crate) fn of(replicas: Vec<Client>) -> Self {
        let shared = Arc::new(Shared { replicas: Mutex::new(replicas), state: Mutex::default() });
        Self { task: tokio::spawn(Arc::clone(&shared).follow()), shared }
    }

    /// Whether it takes a token for active, and who said so.
    pub(crate) async fn accepts(&self, secret: &str) -> Option<From> {
        if self.shared.lock().knows(secret) {
            return Some(From::Cache);
        }
        let (events, min_revision) = {
            let state = self.shared.lock();
            (state.heard.map(|_| state.events), state.revision.clone())
        };
        let request = AuthenticateRequest { min_revision, ..about(secret) };
        let client = self.shared.replicas.lock().expect("not poisoned").first().cloned()?;
        let answer = client.try_authenticate(request).await.ok().filter(|answer| answer.active)?;
        let mut state = self.shared.lock();
        // An event that came while the call was under way may be about this token.
        if state.heard.is_some() && events == Some(state.events) {
            let names = (answer.token.expect("a record").token_id, answer.user.expect("a user").user_id);
            state.active.insert(secret.to_owned(), names);
        }
        Some(From::Service)
    }

    /// How many tokens it has cached.
    pub(crate) fn cached(&self) -> usize {
        self.shared.lock().active.len()
    }

    /// The latest revision that it has read.
    pub(crate) fn revision(&self) -> String {
        self.shared.lock().revision.clone()
    }

    /// Why its streams ended so far.
    pub(crate) fn ends(&self) -> Vec<(Code, String)> {
        self.shared.lock().ends.clone()
    }

    /// From now on it knows these replicas.
    pub(crate) fn know(&self, replicas: Vec<Client>) {
        *self.shared.replicas.lock().expect("not poisoned") = replicas;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    async fn follow(self: Arc<Self>) {
        loop {
            let client = self.replicas.lock().expect("not poisoned").first().cloned();
            if let Some(client) = client {
                let status = self.stream(client).await;
                self.ended(&status);
            }
            // The next replica, after a pause.
            if let Some((first, others)) = self.replicas.lock().expect("not poisoned").split_first_mut()
                && let Some(next) = others.first_mut()
            {
                std::mem::swap(first, next);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stream(&self, client: Client) -> Status {
        let request = WatchRevocationsRequest { start_revision: self.lock().revision.clone() };
        let mut stream = match client.admin.clone().watch_revocations(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => return status,
        };
        loop {
            match stream.message().await {
                Ok(Some(message)) => self.lock().take(message),
                Ok(None) => panic!("a stream ends with a status"),
                Err(status) => return status,
            }
        }
    }

    fn ended(&self, status: &Status) {
        let reason = if status.details().is_empty() { String::new() } else { Refusal::of(status).reason };
        let mut state = self.lock();
        if reason == "START_OVER" {
            state.active.clear();
            state.heard = None;
            state.revision.clear();
        }
        state.ends.push((status.code(), reason));
    }
}

// === impl State ===

impl State {
    fn knows(&self, secret: &str) -> bool {
        self.heard.is_some_and(|heard| heard.elapsed() < LIMIT) && self.active.contains_key(secret)
    }

    fn take(&mut self, message: WatchRevocationsResponse) {
        self.heard = Some(Instant::now());
        self.revision = message.revision;
        let Some(subject) = message.subject else { return };
        self.events += 1;
        self.active.retain(|_, (token, user)| match &subject {
            Subject::TokenId(ended) => token != ended,
            Subject::UserId(ended) => user != ended,
        });
    }
}
