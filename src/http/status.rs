//! `/status.json`: what `GetStatus` tells, as JSON with the contract's names, and what the page at `/` shows beside it.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use serde::Serialize;
use serde_json::Value;

use super::{
    page,
    verdict::{self, Admission, Verdict},
};
use crate::{
    domain::Clock,
    proto::json,
    transport::{Replica, Vitals, health::Readiness},
};

/// What `/status.json` answers.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    /// `tokenward.v1.GetStatusResponse`.
    status: Value,
    /// What is wrong, in words.
    pub(super) verdict: Verdict,
    /// Whether the page must be loud about who may call.
    #[serde(skip)]
    pub(super) insecure: bool,
    /// The status without what is plotted, for readers without scripts.
    #[serde(skip)]
    pub(super) text: String,
}

/// Where it is looked up.
type Sources<C, V> = (Arc<Replica<C, V>>, Readiness);

pub(super) fn routes<C, V>(replica: Arc<Replica<C, V>>, readiness: Readiness) -> Router
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    Router::new()
        .route("/", get(document::<C, V>))
        .route("/status.json", get(status::<C, V>))
        .with_state((replica, readiness))
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

fn page<C: Clock, V: Fn() -> Vitals>((replica, readiness): &Sources<C, V>) -> Page {
    let status = replica.describe();
    let verdict = verdict::judge(&status, Admission::of(readiness));
    Page {
        insecure: status.insecure,
        text: verdict::text(&status, &verdict),
        status: json::value("tokenward.v1.GetStatusResponse", &status),
        verdict,
    }
}
