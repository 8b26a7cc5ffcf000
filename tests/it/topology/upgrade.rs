//! A rolling upgrade: the version before the newest change of the schema and this one, side by side on one
//! database and one Redis. `make upgrade` builds the old one.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use nix::sys::signal::Signal;
use tokenward::proto::{AnswerSource, InactiveReason, PropagationState, User};
use tokio::task::JoinSet;

use crate::harness::{
    client::Client,
    eventually::{eventually, report},
    postgres::Postgres,
    redis::Redis,
    server::{Server, Settings, program, setting, tokenward},
    stack::MAC_KEY,
    template,
};

/// Names the binary of the old version.
const OLD: &str = "TOKENWARD_OLD_BINARY";
const CALLERS: usize = 6;

/// Callers that use whichever replicas there are.
#[derive(Default)]
struct Load {
    replicas: Mutex<Vec<Client>>,
    /// How often they were exchanged.
    exchanges: AtomicUsize,
    /// By caller, the exchange that its latest round began after.
    seen: Mutex<[usize; CALLERS]>,
    over: AtomicBool,
    rounds: AtomicUsize,
}

// === impl Load ===

impl Load {
    fn use_only(&self, replicas: Vec<Client>) {
        *self.replicas.lock().expect("nobody panics with it") = replicas;
        self.exchanges.fetch_add(1, Ordering::SeqCst);
    }

    fn replicas(&self) -> Vec<Client> {
        self.replicas.lock().expect("nobody panics with it").clone()
    }

    /// Issues on one, uses on all, ends on one: every answer of all of them must be right.
    async fn call(&self, caller: usize) {
        while !self.over.load(Ordering::Relaxed) {
            let exchange = self.exchanges.load(Ordering::SeqCst);
            let replicas = self.replicas();
            self.seen.lock().expect("nobody panics with it")[caller] = exchange;
            let issued = any(&replicas).issue(&format!("caller-{caller}")).await;
            for _ in 0..3 {
                for client in &replicas {
                    assert!(client.authenticate(&issued.secret).await.active, "a live token is refused");
                }
            }
            let answer = any(&replicas).revoke(&issued.secret).await;
            let state = answer.propagation.expect("a revocation says how far it has come").state();
            for client in &replicas {
                let active = client.authenticate(&issued.secret).await.active;
                assert!(!active || state == PropagationState::Pending, "a token is accepted after COMPLETE");
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until no caller uses replicas from before the last exchange.
    async fn is_exchanged(&self) {
        let last = self.exchanges.load(Ordering::SeqCst);
        let all =
            async || self.seen.lock().expect("nobody panics with it").iter().all(|seen| *seen >= last).then_some(());
        eventually("every caller has begun a round since", all).await;
    }

    async fn goes_on(&self) {
        let goal = self.rounds.load(Ordering::Relaxed) + 50;
        eventually("the load goes on", async || (self.rounds.load(Ordering::Relaxed) >= goal).then_some(())).await;
    }
}

/// Those of the settings that a build knows; an older one refuses the others.
fn known(binary: &Path, settings: &Settings) -> Settings {
    let dir = template::directory();
    let listed = template::run(program(binary, dir.path(), &Settings::new()).args(["config", "default"]));
    let knows = |key: &str| listed.contains(&key.rsplit("__").next().unwrap_or_default().to_lowercase());
    settings.iter().filter(|(key, _)| knows(key)).cloned().collect()
}

fn any(replicas: &[Client]) -> &Client {
    &replicas[rand::random_range(0..replicas.len())]
}

async fn is_cached(clients: &[Client], secret: &str) {
    for client in clients {
        let hit = async || (client.authenticate(secret).await.source() == AnswerSource::SharedCache).then_some(());
        eventually("either version answers from what is in Redis", hit).await;
    }
}

/// What either version ends, both refuse; and what another program ends, within the staleness that is allowed.
async fn ends_are_honoured(old: &Client, new: &Client, postgres: &Postgres) {
    let both = [old.clone(), new.clone()];
    for (here, there) in [(old, new), (new, old)] {
        let issued = there.issue("mover").await;
        is_cached(&both, &issued.secret).await;
        here.revoke(&issued.secret).await;
        for client in &both {
            assert_eq!(client.reason(&issued.secret).await, InactiveReason::Revoked);
        }
        let issued = here.issue("disabled").await;
        is_cached(&both, &issued.secret).await;
        there.upsert_user(User { user_id: "disabled".to_owned(), ..User::default() }).await;
        for client in &both {
            assert_eq!(client.reason(&issued.secret).await, InactiveReason::UserDisabled);
        }
        there.upsert_user(User { user_id: "disabled".to_owned(), active: true, ..User::default() }).await;
        let issued = here.issue("deleted").await;
        is_cached(&both, &issued.secret).await;
        postgres.execute("DELETE FROM tokenward_token WHERE user_id = 'deleted'").await;
        for client in &both {
            let refused = async || (!client.authenticate(&issued.secret).await.active).then_some(());
            eventually("a row that is gone is noticed", refused).await;
        }
    }
}

#[ignore = "needs a binary of an older revision: make upgrade"]
#[tokio::test(flavor = "multi_thread")]
async fn an_old_and_a_new_version_serve_side_by_side_through_a_change_of_the_schema() {
    let binary = PathBuf::from(std::env::var_os(OLD).expect("make upgrade names the old binary"));
    let (postgres, redis) = (Postgres::start().await, Redis::start().await);
    let database = postgres.socket().parent().expect("a socket is in a directory").to_owned();
    let settings: Settings = vec![
        setting(
            "TOKENWARD_DATABASE__URL",
            format!("postgres://tokenward@localhost/tokenward?host={}", database.display()),
        ),
        setting("TOKENWARD_REDIS__URL", format!("redis+unix://{}", redis.socket().display())),
        setting("TOKENWARD_CACHE__MAC_KEY", MAC_KEY),
        setting("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "5s"),
        setting("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "5s"),
        // Those of five replicas fit into what the server gives.
        setting("TOKENWARD_DATABASE__MAX_CONNECTIONS", "3"),
        setting("TOKENWARD_SERVER__REQUEST_TIMEOUT", "10s"),
    ];
    let former = known(&binary, &settings);
    let dir = template::directory();
    template::run(program(&binary, dir.path(), &former).args(["migrate", "up"]));
    let mut old = join_all((0..2).map(|_| Server::start_program(&binary, &former))).await;
    let (load, mut callers) = (Arc::new(Load::default()), JoinSet::new());
    load.use_only(old.iter().map(Server::client).collect());
    for caller in 0..CALLERS {
        let load = Arc::clone(&load);
        callers.spawn(async move { load.call(caller).await });
    }
    load.goes_on().await;
    let kept = old[0].client().issue("kept").await;

    let applied = template::run(tokenward(dir.path(), &settings).args(["migrate", "up"]));
    report(&format!("under load of the old version: {}", applied.trim().replace('\n', ", ")));
    assert!(applied.contains("applied"), "{applied}");
    load.goes_on().await;

    let new = join_all((0..2).map(|_| Server::start(&settings))).await;
    load.use_only(old.iter().chain(&new).map(Server::client).collect());
    load.goes_on().await;
    ends_are_honoured(&old[0].client(), &new[0].client(), &postgres).await;
    is_cached(&[old[1].client(), new[1].client()], &kept.secret).await;
    // An old replica may still have to be started again in the middle of it.
    let restarted = Server::start_program(&binary, &former).await;
    assert!(restarted.client().authenticate(&kept.secret).await.active);

    load.use_only(new.iter().map(Server::client).collect());
    load.is_exchanged().await;
    for server in &mut old {
        server.signal(Signal::SIGTERM);
        let (exit, _) = server.exit(Duration::from_secs(30)).await;
        assert!(exit.success(), "{exit}");
    }
    load.goes_on().await;
    assert!(new[0].client().authenticate(&kept.secret).await.active);
    load.over.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("every answer was right");
    }
    report(&format!("{} tokens issued, used and ended on both versions", load.rounds.load(Ordering::Relaxed)));
}
