//! `/metrics`, in Prometheus's text format.

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use prometheus::{Encoder as _, Registry, TextEncoder};

pub(super) fn routes(registry: Registry) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(registry)
}

async fn scrape(State(registry): State<Registry>) -> impl IntoResponse {
    let mut text = Vec::new();
    TextEncoder.encode(&registry.gather(), &mut text).expect("every metric has a name and a type");
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
