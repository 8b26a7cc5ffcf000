//! Who ends tokens, in every way there is, and looks on every replica whether it holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokenward::proto::IssueTokenRequest;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    ending::{Done, Ending, Outcome, Subject, Way},
    history::{Answer, Change, State, locked},
    sql::Schema,
    world::{Known, World},
};
use crate::harness::client::{for_user, ttl};

/// Writers over all replicas.
const WRITERS: usize = 3;
/// A writer waits no longer for a replica that hangs, unless other programs must not write now.
const PATIENCE: Duration = Duration::from_secs(15);
/// Tokens end after the longest run, half an hour, and sooner than a clock that is an hour ahead says.
const LIFETIME: Duration = Duration::from_mins(50);
/// Between two attempts at what got no answer.
const RETRY: Duration = Duration::from_millis(30);
/// A probe gives up after this; the judge finds the accepts all the same.
const PROBE: Duration = Duration::from_secs(6);
/// Tokens of one user.
const TOKENS: usize = 2;

/// Names users over all runs of the process.
static USERS: AtomicUsize = AtomicUsize::new(1_000);

/// Starts all of them.
pub(super) fn start(world: &Arc<World>, tasks: &mut JoinSet<()>) {
    for number in 0..WRITERS {
        tasks.spawn(write(Arc::clone(world), number));
    }
}

/// A token of a user of its own, that no writer ends.
pub(super) async fn lasting(world: &World) -> Known {
    let subject = new_subject(world).await.expect("a run begins before it is over");
    subject.tokens[0].clone()
}

async fn write(world: Arc<World>, number: usize) {
    let endings: Vec<_> = Ending::ALL.into_iter().filter(|ending| ending.is_for(world.sql().schema())).collect();
    // Each writer begins elsewhere, so that a short run has all of them.
    let begin = number * endings.len() / WRITERS;
    for ending in endings.iter().cycle().skip(begin) {
        let Some(subject) = new_subject(&world).await else { return };
        warm(&world, &subject).await;
        if let Some(opposite) = ending.opposite() {
            // Off, on and off again.
            let ended = end(&world, &subject, *ending).await;
            if ended != Outcome::Answered || begin_again(&world, &subject, opposite).await != Outcome::Answered {
                continue;
            }
            warm(&world, &subject).await;
        }
        end(&world, &subject, *ending).await;
    }
}

/// A user with tokens; `None` when the run is over.
async fn new_subject(world: &World) -> Option<Subject> {
    let user = USERS.fetch_add(1, Ordering::Relaxed).to_string();
    let user = if world.sql().schema() == Schema::Native { format!("user-{user}") } else { user };
    let mut subject = Subject { user, tokens: vec![] };
    while let Some(statement) = world.sql().create_user(&subject.user) {
        if world.is_over() {
            return None;
        }
        if world.sql().run(&format!("{statement} ON CONFLICT DO NOTHING")).await.is_ok() {
            break;
        }
        sleep(RETRY).await;
    }
    while subject.tokens.len() < TOKENS {
        if world.is_over() {
            return None;
        }
        let invoked = Instant::now();
        let client = world.client(some_replica(world));
        let issued = client.try_issue(request(&subject.user));
        match timeout(PATIENCE, issued).await {
            Err(_) => {}
            Ok(Ok(issued)) => subject.tokens.push(world.introduce(issued.into(), invoked)),
            Ok(Err(status)) => {
                world.failure(&status);
                sleep(RETRY).await;
            }
        }
    }
    Some(subject)
}

/// So that every replica could answer from the cache.
async fn warm(world: &World, subject: &Subject) {
    for known in &subject.tokens {
        join_all((0..world.replicas()).map(|replica| world.check(replica, known))).await;
    }
}

/// Ends the subject, however many attempts that takes, and looks whether it holds. A user
/// who can come back is given up after an attempt without an answer: it may land later.
async fn end(world: &World, subject: &Subject, ending: Ending) -> Outcome {
    loop {
        let outcome = attempt(world, subject, ending, State::Ended).await;
        if outcome == Outcome::Answered {
            probe(world, subject, ending.way()).await;
            return outcome;
        }
        if world.is_over() || ending.opposite().is_some() {
            return outcome;
        }
        sleep(RETRY).await;
    }
}

async fn begin_again(world: &World, subject: &Subject, opposite: Ending) -> Outcome {
    attempt(world, subject, opposite, State::Live).await
}

/// One attempt on any replica, and what it means for each token.
async fn attempt(world: &World, subject: &Subject, ending: Ending, to: State) -> Outcome {
    let invoked = Instant::now();
    let done = timeout(PATIENCE, ending.run(world, some_replica(world), subject)).await.unwrap_or(Done::Unknown);
    let returned = Instant::now();
    for known in &subject.tokens {
        world.history.change(known.no, Change { to, invoked, returned, holds: done.holds(returned) });
    }
    if ending.way() == Way::Call && to == State::Ended {
        world.seen.answered(done);
    }
    done.outcome()
}

/// Asks each replica about one of the tokens until it is no longer accepted.
async fn probe(world: &World, subject: &Subject, way: Way) {
    let since = Instant::now();
    let known = &subject.tokens[0];
    let probes = (0..world.replicas()).map(|replica| async move {
        while since.elapsed() < PROBE && !world.is_over() {
            match world.check(replica, known).await {
                Answer::Refused => return Some(since.elapsed()),
                Answer::Accepted => {}
                Answer::Unavailable | Answer::Lost | Answer::Broken => sleep(RETRY).await,
            }
        }
        None
    });
    let enforced: Vec<_> = join_all(probes).await.into_iter().flatten().collect();
    let figures = match way {
        Way::Call => &world.seen.revoked,
        Way::Sql => &world.seen.committed,
    };
    locked(figures).extend(enforced);
}

fn request(user: &str) -> IssueTokenRequest {
    IssueTokenRequest { expiration: Some(ttl(LIFETIME)), ..for_user(user) }
}

fn some_replica(world: &World) -> usize {
    rand::random_range(0..world.replicas())
}
