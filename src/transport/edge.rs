//! What happens to every request before and after its method: its caller is let through or
//! not, a place under the concurrency bound, the server's deadline, a span, and an `ErrorInfo`
//! on the statuses that tonic makes by itself.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use super::{
    Door,
    caller::is_probe,
    counted::{code, counted},
    record, status,
    whole::Whole,
};
use crate::{
    config,
    metrics::{CallerRejection, rpc::Call},
    request::{self, RequestId},
    spans,
};

/// When a caller that was refused a place may try again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Largest body that is read of a request that is refused.
const MAX_REFUSED_BYTES: usize = 256 * 1024;
/// Names the compressions that the server takes.
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
/// How much earlier than the caller's deadline the answer is given up.
const EARLIER: Duration = Duration::from_millis(2);

/// An answer, once it has come.
type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

/// Wraps all services in what every request passes.
#[derive(Clone, Debug)]
pub struct EdgeLayer {
    door: Door,
    places: Arc<Semaphore>,
    deadline: Duration,
    /// Longest message that is waited for, in bytes.
    longest: usize,
}

/// A service behind the edge.
#[derive(Clone, Debug)]
pub struct Edge<S> {
    inner: S,
    layer: EdgeLayer,
}

// === impl EdgeLayer ===

impl EdgeLayer {
    /// What `door` lets through, within the server's bounds.
    #[must_use]
    pub fn new(door: Door, settings: &config::Server) -> Self {
        let places = usize::try_from(settings.max_concurrent_requests).unwrap_or(usize::MAX);
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        let longest = usize::try_from(settings.max_message_bytes).unwrap_or(usize::MAX);
        Self { door, places, deadline: settings.request_timeout, longest }
    }

    /// Answers without the services. A stream that is closed before its body was read counts against the
    /// connection (h2 takes it for an attack), and the caller would lose its other calls too.
    fn refuse<E: Send + 'static>(
        &self,
        request: Request<Incoming>,
        refused: Status,
        call: Call,
        id: RequestId,
        span: Span,
    ) -> Answer<E> {
        let deadline = self.deadline;
        Box::pin(async move {
            let _unread = timeout(deadline, read_to_the_end(request.into_body())).await;
            Ok(told_of(refused.into_http(), call, &span, &id))
        })
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Edge { inner, layer: self.clone() }
    }
}

// === impl Edge ===

impl<S> Service<Request<Incoming>> for Edge<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let door = &self.layer.door;
        let (call, id) = (door.rpcs.begin(request.uri().path()), RequestId::of(request.headers()));
        // Those that are refused have one too.
        let span = spans::rpc(call.path(), request.headers());
        if let Err(refused) = span.in_scope(|| id.scope_now(|| door.gate.admit(&mut request))) {
            span.in_scope(|| id.scope_now(|| record::refused(door, &request, request.uri().path(), &refused)));
            return self.layer.refuse(request, refused.into(), call, id, span);
        }
        // Health must answer while load is shed, or an overloaded replica looks dead.
        let probe = is_probe(request.uri().path());
        let place = Arc::clone(&self.layer.places).try_acquire_owned().ok();
        if place.is_none() && !probe {
            self.layer.door.rpcs.rejected.of(CallerRejection::Overloaded).inc();
            return self.layer.refuse(request, status::overloaded(RETRY_AFTER), call, id, span);
        }
        let seen = span.clone();
        let deadline = callers_deadline(&request).map_or(self.layer.deadline, |asked| asked.min(self.layer.deadline));
        let entry = id.scope_now(|| record::begin(&self.layer.door.audit, &mut request));
        let longest = self.layer.longest;
        let answer = id.scope_now(|| self.inner.call(request.map(|body| Body::new(Whole::new(body, longest)))));
        let told = id.clone();
        Box::pin(
            id.scope(async move {
                let _place = place;
                let answer = match timeout(deadline, answer).await {
                    Ok(answer) => answer.map(explain),
                    Err(_) => Ok(status::deadline_exceeded().into_http()),
                };
                if let Some(entry) = entry {
                    entry.end(record::outcome(&answer));
                }
                answer.map(|answer| told_of(answer, call, &seen, &told))
            })
            .instrument(span),
        )
    }
}

/// An answer, once it has been counted and traced; with the id that the client gave, or one to report a failure with.
fn told_of(mut answer: Response<Body>, call: Call, span: &Span, id: &RequestId) -> Response<Body> {
    let code = code(answer.headers());
    spans::ended(span, code.unwrap_or(Code::Ok).into(), answer.headers_mut());
    let answer = counted(answer, code, call);
    if code.is_some_and(|code| code != Code::Ok) || matches!(id, RequestId::Given(_)) {
        return named(answer, id);
    }
    answer
}

fn named(mut answer: Response<Body>, id: &RequestId) -> Response<Body> {
    answer.headers_mut().insert(request::HEADER, id.header());
    answer
}

/// The deadline that the caller asks for, less what it takes to be earlier than a client
/// that would end the call as CANCELLED (tonic's does). The form is gRPC's: at most 8 digits and a unit.
fn callers_deadline<B>(request: &Request<B>) -> Option<Duration> {
    let text = request.headers().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let asked = match unit {
        "H" => Duration::from_hours(count),
        "M" => Duration::from_mins(count),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    Some(asked.saturating_sub(EARLIER))
}

/// Reads and forgets a body of at most [`MAX_REFUSED_BYTES`].
async fn read_to_the_end(body: Incoming) {
    let mut body = Limited::new(body, MAX_REFUSED_BYTES);
    while let Some(Ok(_)) = body.frame().await {}
}

/// tonic answers a body that does not decode, is too large or is missing, and a method
/// that it does not know, by itself, without details. Ours always have details.
fn explain(response: Response<Body>) -> Response<Body> {
    if !response.headers().contains_key("grpc-status") || response.headers().contains_key("grpc-status-details-bin") {
        return response;
    }
    let Some(made_by_tonic) = Status::from_header_map(response.headers()) else { return response };
    match made_by_tonic.code() {
        Code::Internal => status::unreadable("the request is not a message of this method").into_http(),
        Code::OutOfRange => status::unreadable("the request message is too large").into_http(),
        Code::Unimplemented => unimplemented(&response),
        _ => response,
    }
}

/// A method that is not known, or a compression: then tonic names those that are.
fn unimplemented(made_by_tonic: &Response<Body>) -> Response<Body> {
    let Some(encodings) = made_by_tonic.headers().get(ACCEPT_ENCODING) else {
        return status::unimplemented().into_http();
    };
    let mut response = status::uncompressed_only().into_http();
    response.headers_mut().insert(ACCEPT_ENCODING, encodings.clone());
    response
}
