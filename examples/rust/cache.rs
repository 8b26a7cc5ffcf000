//! Answers for as long as the server allows, and no longer than their token is heard to live.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use tokenward::proto::{
    AuthenticateResponse, Token, WatchRevocationsRequest, WatchRevocationsResponse,
    token_admin_service_client::TokenAdminServiceClient, watch_revocations_response::Subject,
};
use tokio::time::sleep;
use tonic::{Code, Status, transport::Channel};

use super::client::Key;

/// A revoked token is accepted for no longer, whatever happens to the stream of revocations. Where the server
/// has no such stream (`UNIMPLEMENTED`), it is for as long as `cacheable_for` says.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);
const MAX_ENTRIES: usize = 10_000;
const PAUSE: Duration = Duration::from_millis(200);

/// What stands for a token and the scopes that were required of it.
pub(crate) type Name = [u8; 32];

pub(crate) struct Cache(Arc<Mutex<State>>);

/// What was known before a call, and when that was.
pub(crate) struct Mark {
    time: Instant,
    pub(crate) revision: String,
    events: u64,
    following: bool,
}

#[derive(Default)]
struct State {
    answers: HashMap<Name, (Instant, Arc<AuthenticateResponse>)>,
    revision: String,
    events: u64,
    heard: Heard,
}

/// Until when answers can be kept.
#[derive(Default)]
enum Heard {
    /// No message has come yet.
    #[default]
    Nothing,
    /// The latest message came then.
    At(Instant),
    /// An older server has no such stream: what it allows in `cacheable_for` is all that there is.
    NoStream,
}

impl Cache {
    /// A cache that follows the stream for as long as it lives.
    pub(crate) fn following(admin: TokenAdminServiceClient<Channel>, key: Key) -> Self {
        let state = Arc::default();
        tokio::spawn(follow(Arc::downgrade(&state), admin, key));
        Self(state)
    }

    pub(crate) fn name(token: &str, scopes: &[&str]) -> Name {
        let hash = Sha256::new_with_prefix(token);
        // No token and no scope has a NUL.
        scopes.iter().fold(hash, |hash, scope| hash.chain_update("\0").chain_update(scope)).finalize().into()
    }

    pub(crate) fn get(&self, name: &Name) -> Option<Arc<AuthenticateResponse>> {
        let state = lock(&self.0);
        let (until, answer) = state.answers.get(name)?;
        (state.is_following() && Instant::now() < *until).then(|| Arc::clone(answer))
    }

    pub(crate) fn mark(&self) -> Mark {
        let state = lock(&self.0);
        let (time, following) = (Instant::now(), state.is_following());
        Mark { time, revision: state.revision.clone(), events: state.events, following }
    }

    pub(crate) fn put(&self, name: Name, answer: &Arc<AuthenticateResponse>, mark: &Mark) {
        let Some(time) = answer.cacheable_for.and_then(|time| Duration::try_from(time).ok()) else { return };
        let mut state = lock(&self.0);
        // What came while the call was under way may be about this very token.
        if mark.following && mark.events == state.events {
            if state.answers.len() >= MAX_ENTRIES {
                state.answers.clear();
            }
            // From before the call: counted from its receipt, a slow answer would outlive its token.
            state.answers.insert(name, (mark.time + time, Arc::clone(answer)));
        }
    }

    /// Whether answers can be kept.
    pub(crate) fn is_following(&self) -> bool {
        lock(&self.0).is_following()
    }
}

impl State {
    fn is_following(&self) -> bool {
        match self.heard {
            Heard::Nothing => false,
            Heard::At(time) => time.elapsed() < LONGEST_SILENCE,
            Heard::NoStream => true,
        }
    }

    fn hear(&mut self, event: WatchRevocationsResponse) {
        (self.heard, self.revision) = (Heard::At(Instant::now()), event.revision);
        let Some(subject) = event.subject else { return };
        self.events += 1;
        let ended = |token: &Token| match &subject {
            Subject::TokenId(id) => token.token_id == *id,
            Subject::UserId(id) => token.user_id == *id,
        };
        self.answers.retain(|_, (_, answer)| !answer.token.as_ref().is_some_and(ended));
    }

    /// The stream ended, or did not begin.
    fn lose(&mut self, status: &Status) {
        match status.code() {
            Code::Unimplemented => self.heard = Heard::NoStream,
            // The server no longer knows what ended since our revision.
            Code::OutOfRange => *self = Self { events: self.events + 1, ..Self::default() },
            _ => {}
        }
    }
}

async fn follow(state: Weak<Mutex<State>>, mut admin: TokenAdminServiceClient<Channel>, key: Key) {
    while let Some(start_revision) = state.upgrade().map(|state| lock(&state).revision.clone()) {
        let request = key.request(WatchRevocationsRequest { start_revision });
        let ended = match admin.watch_revocations(request).await {
            Ok(stream) => hear(&state, stream.into_inner()).await,
            Err(status) => Some(status),
        };
        match (ended, state.upgrade()) {
            (Some(status), Some(state)) => lock(&state).lose(&status),
            (None, Some(_)) => {}
            (_, None) => return,
        }
        if state.upgrade().is_some_and(|state| matches!(lock(&state).heard, Heard::NoStream)) {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// What the stream ended with; nothing when nobody uses the cache any more.
async fn hear(state: &Weak<Mutex<State>>, mut stream: tonic::Streaming<WatchRevocationsResponse>) -> Option<Status> {
    loop {
        match stream.message().await {
            Ok(Some(event)) => {
                let state = state.upgrade()?;
                lock(&state).hear(event);
            }
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with it")
}
