//! What happens to every request before and after its method: its caller is let through or
//! not, a place under the concurrency bound, the server's deadline, a span, and an `ErrorInfo`
//! on the statuses that tonic makes by itself.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use super::{
    Door,
    caller::is_probe,
    counted::{code, counted},
    crowd::Crowd,
    record, status,
    whole::Whole,
};
use crate::{
    config,
    domain::Error,
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
    /// Calls whose message is yet to come: as many again, of whom one more sends the oldest away.
    awaited: Arc<Crowd>,
    deadline: Duration,
    /// Longest message that is waited for, in bytes.
    longest: usize,
}

/// A call, as far as everything that becomes of it is told in the same way.
struct Seen {
    call: Call,
    id: RequestId,
    span: Span,
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
        let most = usize::try_from(settings.max_concurrent_requests).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (places, awaited) = (Arc::new(Semaphore::new(most)), Crowd::new(most));
        let longest = usize::try_from(settings.max_message_bytes).unwrap_or(usize::MAX);
        Self { door, places, awaited, deadline: settings.request_timeout, longest }
    }

    /// Answers a call whose message is there, or will never be.
    fn answer<S>(
        &self,
        inner: &mut S,
        mut request: Request<Whole<Incoming>>,
        deadline: Duration,
        seen: Seen,
    ) -> Answer<S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
    {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        // Health must answer while load is shed, or an overloaded replica looks dead.
        if place.is_none() && !is_probe(request.uri().path()) {
            return self.refuse(request.into_body().into_rest(), self.overloaded(), seen);
        }
        // Of the time that was taken already: each look at a clock is felt in a check.
        let end = Instant::from_std(seen.call.began()) + deadline;
        let (id, span) = (seen.id.clone(), seen.span.clone());
        let entry = id.scope_now(|| record::begin(&self.door.audit, &mut request));
        let answer = id.scope_now(|| inner.call(request.map(Body::new)));
        let answer = async move {
            let answer = async move {
                let _place = place;
                answer.await.map(explain)
            };
            let answer = async move {
                match entry {
                    // Boxed: most calls change nothing, and their futures are moved about.
                    Some(entry) => {
                        let carried = Box::pin(entry.carry_through(answer, record::outcome));
                        carried.await.unwrap_or_else(|| Ok(abandoned()))
                    }
                    None => answer.await,
                }
            };
            let answer = timeout_at(end, answer).await;
            answer.unwrap_or_else(|_| Ok(status::deadline_exceeded().into_http())).map(|answer| seen.tell(answer))
        };
        Box::pin(id.scope(answer).instrument(span))
    }

    /// Waits for the message, which takes no place before it is there: whoever announces many and sends none keeps
    /// nobody from being answered.
    fn answer_later<S>(
        &self,
        mut inner: S,
        mut request: Request<Whole<Incoming>>,
        deadline: Duration,
        seen: Seen,
    ) -> Answer<S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
    {
        let layer = self.clone();
        Box::pin(async move {
            let place = layer.awaited.admit();
            let come = async {
                tokio::select! {
                    biased;
                    () = request.body_mut().begun() => Ok(()),
                    () = place.given_away() => Err(()),
                }
            };
            let come = timeout(deadline, come).await;
            drop(place);
            match come {
                Ok(Ok(())) => layer.answer(&mut inner, request, deadline, seen).await,
                Ok(Err(())) => layer.refuse(request.into_body().into_rest(), layer.overloaded(), seen).await,
                Err(_late) => Ok(seen.tell(status::deadline_exceeded().into_http())),
            }
        })
    }

    fn overloaded(&self) -> Status {
        self.door.rpcs.rejected.of(CallerRejection::Overloaded).inc();
        status::overloaded(RETRY_AFTER)
    }

    /// Answers without the services. A stream that is closed before its body was read counts against the
    /// connection (h2 takes it for an attack), and the caller would lose its other calls too.
    fn refuse<E: Send + 'static>(&self, body: Incoming, refused: Status, seen: Seen) -> Answer<E> {
        let deadline = self.deadline;
        Box::pin(async move {
            let _unread = timeout(deadline, read_to_the_end(body)).await;
            Ok(seen.tell(refused.into_http()))
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
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
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
        let layer = &self.layer;
        let door = &layer.door;
        let (call, id) = (door.rpcs.begin(request.uri().path()), RequestId::of(request.headers()));
        // Those that are refused have one too.
        let span = spans::rpc(call.path(), request.headers());
        let seen = Seen { call, id, span };
        if let Err(refused) = seen.scope(|| door.gate.admit(&mut request)) {
            seen.scope(|| record::refused(door, &request, request.uri().path(), &refused));
            return layer.refuse(request.into_body(), refused.into(), seen);
        }
        let deadline = callers_deadline(&request).map_or(layer.deadline, |asked| asked.min(layer.deadline));
        let mut request = request.map(|body| Whole::new(body, layer.longest));
        // Nearly always it has come with the headers.
        if request.body_mut().has_begun() || is_probe(request.uri().path()) {
            return layer.answer(&mut self.inner, request, deadline, seen);
        }
        // The one that is ready (tower's contract); its clone takes the next call.
        let next = self.inner.clone();
        self.layer.answer_later(mem::replace(&mut self.inner, next), request, deadline, seen)
    }
}

// === impl Seen ===

impl Seen {
    fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(|| self.id.scope_now(work))
    }

    /// An answer, once it has been counted and traced; with the id that the client gave, or one to report a failure with.
    fn tell(self, mut answer: Response<Body>) -> Response<Body> {
        let code = code(answer.headers());
        spans::ended(&self.span, code.unwrap_or(Code::Ok).into(), answer.headers_mut());
        let answer = counted(answer, code, self.call);
        if code.is_some_and(|code| code != Code::Ok) || matches!(self.id, RequestId::Given(_)) {
            return named(answer, &self.id);
        }
        answer
    }
}

/// What is said of a call that has ended by itself, which only a defect of ours makes it do.
fn abandoned() -> Response<Body> {
    Status::from(Error::Unavailable("the call was abandoned".into())).into_http()
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
