//! `/status.json`: what `GetStatus` tells, as JSON with the contract's names, the breaker's latest transitions, and the
//! last two minutes second by second; and the page at `/`, which shows that.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use serde::Serialize;
use serde_json::Value;

use super::{
    page,
    recent::{Point, Recent},
    verdict::{self, Admission, Verdict},
};
use crate::{
    domain::Clock,
    proto::{CircuitBreaker, json},
    transport::{Replica, Vitals, health::Readiness},
};

/// What `/status.json` answers.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    /// `tokenward.v1.GetStatusResponse`.
    status: Value,
    /// What is wrong, in words.
    pub(super) verdict: Verdict,
    /// How long the replica has been up, in seconds.
    uptime_seconds: f64,
    /// Whether it may be sent requests, as `/readyz`.
    ready: bool,
    /// Whether it is about to end.
    draining: bool,
    /// The breaker's latest transitions, the last one at the end; none without Redis.
    breaker_transitions: Vec<Value>,
    /// How long ago the poll that the lease stands on had been sent, in seconds; `null` in strict mode.
    lease_age_seconds: Option<f64>,
    /// How long the oldest tombstone has been owed to Redis, in seconds; `null` when none is.
    oldest_owed_seconds: Option<f64>,
    /// At most 120 points, a second apart, the latest at the end.
    recent: Vec<Point>,
    /// Whether the page must be loud about who may call.
    #[serde(skip)]
    pub(super) insecure: bool,
    /// The status without what is plotted, for readers without scripts.
    #[serde(skip)]
    pub(super) text: String,
}

/// Where it is looked up.
type Sources<C, V> = (Arc<Replica<C, V>>, Readiness, Recent);

pub(super) fn routes<C, V>(replica: Arc<Replica<C, V>>, readiness: Readiness, recent: Recent) -> Router
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    Router::new()
        .route("/", get(document::<C, V>))
        .route("/status.json", get(status::<C, V>))
        .with_state((replica, readiness, recent))
}

async fn status<C, V>(State(sources): State<Sources<C, V>>) -> Json<Page>
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    Json(page(&sources))
}

async fn document<C, V>(State(sources): State<Sources<C, V>>) -> impl IntoResponse
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    page::html(&page(&sources))
}

fn page<C: Clock, V: Fn() -> Vitals>((replica, readiness, recent): &Sources<C, V>) -> Page {
    let (status, vitals) = replica.describe();
    let transition = |of: &CircuitBreaker| json::value("tokenward.v1.CircuitBreaker", of);
    let verdict = verdict::judge(&status, Admission::of(readiness));
    Page {
        insecure: status.insecure,
        text: verdict::text(&status, &verdict),
        status: json::value("tokenward.v1.GetStatusResponse", &status),
        verdict,
        uptime_seconds: replica.uptime().as_secs_f64(),
        ready: readiness.is_serving(""),
        draining: readiness.is_draining(),
        breaker_transitions: vitals.transitions.iter().map(transition).collect(),
        lease_age_seconds: vitals.lease_age.map(|age| age.as_secs_f64()),
        oldest_owed_seconds: vitals.oldest_owed.map(|age| age.as_secs_f64()),
        recent: recent.points(),
    }
}
