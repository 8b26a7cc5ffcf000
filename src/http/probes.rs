//! `/livez` and `/readyz`, for what probes by HTTP; gRPC probes ask `grpc.health.v1`, which tells the same.

use std::fmt::Write as _;

use axum::{Router, extract::State, http::StatusCode, routing::get};

use crate::transport::health::Readiness;

pub(super) fn routes(readiness: Readiness) -> Router {
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(readiness)
}

/// That it answers is the answer.
async fn live() -> &'static str {
    "alive\n"
}

/// 200 as long as `grpc.health.v1` says SERVING of the server as a whole, else 503; each component on a line.
async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let (code, head) = match (readiness.is_serving(""), readiness.is_draining()) {
        (_, true) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (true, false) => (StatusCode::OK, "ready"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let mut text = format!("{head}\n");
    // A name with a dot is a service, which follows from the components.
    for (name, serves) in readiness.names().into_iter().filter(|(name, _)| !name.contains('.')) {
        let state = if serves { "serving" } else { "not serving" };
        writeln!(text, "{name}: {state}").expect("text can be appended to");
    }
    (code, text)
}
