//! Each part of the protocol is needed, and the checker notices when it is left out: one
//! interleaving for each, on the service as it is and on a service without that part.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokenward::proto::AnswerSource;
use tokio::time::sleep;

use super::{
    cluster::{Cluster, REPLICAS, Setup, Shape},
    ending::{Ending, Subject},
    history::{Answer, Change, State},
    judge::{Bounds, Verdict, judge},
    sql::Schema,
    world::{Known, World},
};
use crate::harness::{
    client::for_user,
    eventually::{eventually, report},
    relay::{Fault as Network, Fills},
    stack::{On, With},
};

/// `coherence.max_staleness`: long enough for what must happen within it on a slow machine.
const LEASE: Duration = Duration::from_secs(2);
/// How long an answer that must not be given any more is asked for.
const INSISTENCE: Duration = Duration::from_millis(300);

/// One interleaving.
#[derive(Clone, Copy, Debug)]
enum Story {
    /// A fill that began before a revocation lands after its tombstone; a replica's view is behind.
    PutGuard,
    /// Redis cannot be told of a revocation; a replica's view is behind.
    Barrier,
    /// Another program ends a token between the read of its row and what follows.
    StampOrder,
    /// Another program ends a token; a replica is cut from the database.
    Lease,
    /// Another program ends a token while there are no triggers.
    Trigger,
}

/// A cluster and its history.
struct Scene {
    cluster: Cluster,
    world: Arc<World>,
}

async fn is_needed(story: Story) {
    let name = format!("{story:?}");
    let (whole, mutated) = tokio::join!(Box::pin(story.play(None)), Box::pin(story.play(Some(name))));
    report(&format!("{story:?}: {whole:?}\n  left out: {mutated:?}"));
    assert_eq!(whole.violations(), 0, "{:#?}", whole.examples);
    assert!(mutated.violations() > 0, "the checker does not notice that {story:?} is left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_replaces_a_tombstone_is_noticed() {
    is_needed(Story::PutGuard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_without_a_wait_for_what_redis_was_not_told_is_noticed() {
    is_needed(Story::Barrier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stamp_that_is_read_after_its_row_is_noticed() {
    is_needed(Story::StampOrder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_without_a_lease_is_noticed() {
    is_needed(Story::Lease).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_without_triggers_is_noticed() {
    is_needed(Story::Trigger).await;
}

// === impl Story ===

impl Story {
    async fn play(self, mutant: Option<String>) -> Verdict {
        let mut scene = Scene::set(mutant).await;
        match self {
            Self::PutGuard => scene.put_guard().await,
            Self::Barrier => scene.barrier().await,
            Self::StampOrder => scene.stamp_order().await,
            Self::Lease => scene.lease().await,
            Self::Trigger => scene.trigger().await,
        }
        scene.verdict()
    }
}

// === impl Scene ===

impl Scene {
    async fn set(mutant: Option<String>) -> Self {
        let mut settings = vec![
            ("TOKENWARD_COHERENCE__MAX_STALENESS", format!("{}s", LEASE.as_secs())),
            ("TOKENWARD_COHERENCE__OUTAGE_GRACE", "0s".to_owned()),
            // A slow machine is no fault here.
            ("TOKENWARD_REDIS__COMMAND_TIMEOUT", "1s".to_owned()),
        ];
        settings.extend(mutant.map(|mutant| ("TOKENWARD_MUTANT", mutant)));
        let setup =
            Setup { on: On::Postgres, with: With::Redis, shape: Shape::Alone, schema: Schema::Native, settings };
        let cluster = Cluster::start(&setup).await;
        let scene = Self { world: Arc::new(World::of(&cluster)), cluster };
        for replica in 0..REPLICAS {
            let client = scene.world.client(replica);
            eventually("Redis is connected", async || client.serving("redis").await.then_some(())).await;
        }
        // From here on Redis knows the script of a fill.
        let first = scene.issue().await;
        scene.hits(2, &first).await;
        scene
    }

    async fn put_guard(&mut self) {
        let subject = self.issue().await;
        let late = self.cluster.replicas[1].to_redis.as_ref().expect("there is Redis");
        late.fills(Fills::Hold);
        assert_eq!(self.world.check(1, &subject.tokens[0]).await, Answer::Accepted);
        eventually("the fill is on its way", async || (late.held() > 0).then_some(())).await;
        self.cut_from_the_database(2);
        self.end(&subject, Ending::Revoke).await;
        late.let_go().await;
        self.insist(2, &subject).await;
    }

    async fn barrier(&mut self) {
        let subject = self.issue().await;
        self.hits(2, &subject).await;
        self.cluster.replicas[0].to_redis.as_ref().expect("there is Redis").inject(Network::Refuse);
        self.cut_from_the_database(2);
        self.end(&subject, Ending::Revoke).await;
        self.insist(2, &subject).await;
    }

    async fn stamp_order(&mut self) {
        let subject = self.issue().await;
        let lookups = self.cluster.lookups();
        let (world, known) = (Arc::clone(&self.world), subject.tokens[0].clone());
        let reading = tokio::spawn(async move { world.check(1, &known).await });
        let read = async || (self.cluster.lookups() > lookups).then_some(());
        eventually("the row is read", read).await;
        self.end(&subject, Ending::SqlDelete).await;
        reading.await.expect("a check has no fault of its own");
        sleep(LEASE).await;
        self.insist(2, &subject).await;
    }

    async fn lease(&mut self) {
        let subject = self.issue().await;
        self.hits(2, &subject).await;
        self.cut_from_the_database(2);
        self.end(&subject, Ending::SqlDelete).await;
        sleep(LEASE).await;
        self.insist(2, &subject).await;
    }

    async fn trigger(&mut self) {
        self.cluster.sql().must(&self.cluster.sql().triggers(false)).await;
        // A replica looks at the triggers when it starts; the others find out in their own time.
        self.cluster.replicas[2].server.kill();
        self.cluster.replicas[2].restart().await;
        self.world.reconnect(&self.cluster);
        let subject = self.issue().await;
        for _ in 0..3 {
            assert_eq!(self.world.check(2, &subject.tokens[0]).await, Answer::Accepted);
        }
        self.end(&subject, Ending::SqlDelete).await;
        sleep(LEASE).await;
        self.insist(2, &subject).await;
    }

    async fn issue(&self) -> Subject {
        let (user, invoked) = ("alice".to_owned(), Instant::now());
        let issued = self.world.client(0).try_issue(for_user(&user)).await.expect("a token can be issued");
        Subject { user, tokens: vec![self.world.introduce(issued.into(), invoked)] }
    }

    /// Waits until a replica answers from Redis.
    async fn hits(&self, replica: usize, subject: &Subject) {
        let client = self.world.client(replica);
        let hit = async || {
            let answer = client.authenticate(&subject.tokens[0].token.secret).await;
            (answer.source() == AnswerSource::SharedCache).then_some(())
        };
        eventually("a check is answered from Redis", hit).await;
    }

    fn cut_from_the_database(&self, replica: usize) {
        self.cluster.replicas[replica].to_database.as_ref().expect("a server").inject(Network::Stall);
    }

    /// Ends it on the first replica, or past all of them.
    async fn end(&self, subject: &Subject, ending: Ending) {
        let invoked = Instant::now();
        let done = ending.run(&self.world, 0, subject).await;
        let returned = Instant::now();
        let change = Change { to: State::Ended, invoked, returned, holds: done.holds(returned) };
        report(&format!("  {ending:?}: {done:?} in {:?}", returned - invoked));
        self.world.history.change(subject.tokens[0].no, change);
    }

    async fn insist(&self, replica: usize, subject: &Subject) {
        let (known, since): (&Known, _) = (&subject.tokens[0], Instant::now());
        while since.elapsed() < INSISTENCE {
            let answer = self.world.check(replica, known).await;
            assert_ne!(answer, Answer::Lost, "the replica is there");
        }
    }

    fn verdict(&self) -> Verdict {
        let (lives, checks) = self.world.history.all();
        let verdict = judge(&lives, &checks, &Bounds { promise: Duration::ZERO, commit: vec![LEASE; REPLICAS] });
        let chances = verdict.after_promise.of + verdict.after_commit.of;
        assert!(chances > 0, "nothing was asked that could have been a violation");
        verdict
    }
}
