//! The second listener: HTTP/1.1 for probes, Prometheus and whoever looks with a browser.
//!
//! What is here needs no credential: it tells no secret, no token, no `token_id` and no user. A route that does must
//! ask the [`Gate`](crate::transport::Gate) itself, as those of [`oauth`] do.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
};
use prometheus::Registry;
use tokio::time::timeout;

use crate::{
    domain::Clock,
    transport::{Replica, Vitals, health::Readiness},
};

mod listener;
pub mod oauth;
mod page;
mod probes;
mod recent;
mod scrape;
mod status;
mod verdict;

pub use listener::serve;
pub use recent::{Recent, Totals};

/// Longest time to make an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the pages are made from.
#[derive(Debug)]
pub struct Sources<C, V> {
    /// What `/readyz` tells.
    pub readiness: Readiness,
    /// What `/metrics` tells.
    pub registry: Registry,
    /// The last two minutes, which `/status.json` tells of.
    pub recent: Recent,
    /// What else it tells.
    pub replica: Arc<Replica<C, V>>,
}

/// Every route of the second listener, `doors` among them, with the limits that hold for all of them.
pub fn router<C, V>(sources: Sources<C, V>, doors: Router) -> Router
where
    C: Clock,
    V: Fn() -> Vitals + Send + Sync + 'static,
{
    Router::new()
        .merge(probes::routes(sources.readiness.clone()))
        .merge(scrape::routes(sources.registry))
        .merge(status::routes(sources.replica, sources.readiness, sources.recent))
        .merge(doors)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(limited))
}

/// In bounded time; kept by nobody on the way, and taken for nothing but what it says it is.
async fn limited(request: Request, next: Next) -> Response {
    let answer = timeout(ANSWER_LIMIT, next.run(request)).await;
    let mut answer = answer.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
