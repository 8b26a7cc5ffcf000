//! Servers that die, hang, come back or refuse: what callers are answered meanwhile, within
//! which time, what health says, and that recovery needs no restart.
//!
//! Expectations stand as data in `redis.rs` and `database.rs`; what was measured is printed.

use std::{fmt, time::Duration};

use tokenward::proto::{AnswerSource, GetStatusRequest};
use tonic::Status;

use crate::harness::{
    client::{Client, Refusal, about},
    eventually::{eventually, report, timed, within},
};

mod database;
mod redis;

/// Longest that an answer may take while the database works.
const PROMPT: Duration = Duration::from_millis(400);
/// Longest that a refusal may take while it does not.
const BOUNDED: Duration = Duration::from_secs(2);
/// Longest that recovery may take: the longest pause of the breaker and of reconnecting, and some.
const RECOVERY: Duration = Duration::from_secs(15);

/// Names the process, so that a restart would show.
async fn replica_id(client: &Client) -> String {
    client.status.clone().get_status(GetStatusRequest {}).await.expect("it is known").into_inner().replica_id
}

/// A call that is answered, within `bound`.
async fn answered<T>(what: &str, bound: Duration, call: impl Future<Output = Result<T, Status>>) -> T {
    let (outcome, took) = timed(call).await;
    let answer = outcome.unwrap_or_else(|status| panic!("{what}: refused after {took:?}: {status:?}"));
    report(&format!("  {what}: OK in {took:?}"));
    assert!(took < bound, "{what}: took {took:?}, at most {bound:?}");
    answer
}

/// A call that nobody can answer: it is refused so that a retry is safe, within [`BOUNDED`].
async fn refused<T: fmt::Debug>(what: &str, call: impl Future<Output = Result<T, Status>>) {
    let (outcome, took) = timed(call).await;
    let status = match outcome {
        Err(status) => status,
        Ok(answer) => panic!("{what}: answered after {took:?} with {answer:?}"),
    };
    report(&format!("  {what}: {:?} in {took:?}", status.code()));
    let refusal = Refusal::of(&status);
    assert_eq!(refusal.kind(), (tonic::Code::Unavailable, "STORE_UNAVAILABLE"), "{what}");
    assert!(took < BOUNDED, "{what}: took {took:?}, at most {BOUNDED:?}");
}

/// Waits until this token is answered from Redis.
async fn warm(client: &Client, secret: &str) {
    let cached = async || {
        let answer = client.try_authenticate(about(secret)).await.ok()?;
        assert!(answer.active, "never inactive: {answer:?}");
        (answer.source() == AnswerSource::SharedCache).then_some(())
    };
    eventually("the token is answered from Redis", cached).await;
}

/// Waits until a name is SERVING or not, and says how long that took.
async fn becomes(client: &Client, name: &str, serves: Serves, deadline: Duration) {
    let what = match serves {
        Serves::Yes => format!("{name} is SERVING"),
        Serves::No => format!("{name} is NOT_SERVING"),
    };
    let reached = async || (client.serving(name).await == (serves == Serves::Yes)).then_some(());
    let ((), took) = within(&what, deadline, reached).await;
    report(&format!("  {what} after {took:?}"));
}

/// What health says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    Yes,
    No,
}

/// The services stay in the load balancer.
async fn assert_services_serve(client: &Client) {
    for name in ["", "tokenward.v1.TokenService", "tokenward.v1.TokenAdminService", "tokenward.v1.UserService"] {
        assert!(client.serving(name).await, "{name:?}");
    }
}
