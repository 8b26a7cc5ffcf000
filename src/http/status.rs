//! `/status.json`: what `GetStatus` tells, with the contract's names, and what the page at `/` shows beside it.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::Value;

use super::{
    history::{Columns, History},
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
    /// When it was so (RFC 3339), by the clock that the status goes by.
    time: String,
    pub(super) verdict: Verdict,
    history: Columns,
    /// Whether the page must be loud about who may call.
    #[serde(skip)]
    pub(super) insecure: bool,
    /// The status without its history, for readers without scripts.
    #[serde(skip)]
    pub(super) text: String,
}

/// What the page is made from.
struct Shown<C, V> {
    replica: Arc<Replica<C, V>>,
    readiness: Readiness,
    history: History,
}

pub(super) fn routes<C, V>(replica: Arc<Replica<C, V>>, readiness: Readiness, history: History) -> Router
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    Router::new()
        .route("/", get(document::<C, V>))
        .route("/status.json", get(status::<C, V>))
        .with_state(Arc::new(Shown { replica, readiness, history }))
}

async fn status<C, V>(State(shown): State<Arc<Shown<C, V>>>) -> Json<Page>
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    Json(shown.page())
}

async fn document<C, V>(State(shown): State<Arc<Shown<C, V>>>) -> impl IntoResponse
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    page::html(&shown.page())
}

// === impl Shown ===

impl<C: Clock, V: Fn() -> Vitals> Shown<C, V> {
    fn page(&self) -> Page {
        let status = self.replica.describe();
        let verdict = verdict::judge(&status, self.admission());
        Page {
            insecure: status.insecure,
            text: verdict::text(&status, &verdict),
            status: json::value("tokenward.v1.GetStatusResponse", &status),
            time: self.replica.now().to_rfc3339_opts(SecondsFormat::Millis, true),
            verdict,
            history: self.history.columns(),
        }
    }

    fn admission(&self) -> Admission {
        match (self.readiness.is_draining(), self.readiness.is_serving("")) {
            (true, _) => Admission::Draining,
            (false, true) => Admission::Serving,
            (false, false) => Admission::NotServing,
        }
    }
}
