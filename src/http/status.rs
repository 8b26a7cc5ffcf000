//! `/status.json`: what `GetStatus` tells, as JSON with the contract's names.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use serde::Serialize;
use serde_json::Value;

use crate::{
    domain::Clock,
    proto::json,
    transport::{Replica, Vitals},
};

/// What `/status.json` answers.
#[derive(Serialize)]
struct Page {
    /// `tokenward.v1.GetStatusResponse`.
    status: Value,
}

pub(super) fn routes<C, V>(replica: Arc<Replica<C, V>>) -> Router
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    Router::new().route("/status.json", get(page::<C, V>)).with_state(replica)
}

async fn page<C, V>(State(replica): State<Arc<Replica<C, V>>>) -> Json<Page>
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    Json(Page { status: json::value("tokenward.v1.GetStatusResponse", &replica.describe()) })
}
