//! Traces over OTLP: what a call is made of, below its caller's trace, and never at the cost of the call.

use std::time::Duration;

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message as _;
use serde_json::Value;
use tokenward::proto::IssueTokenRequest;
use tokio::net::TcpListener;
use tonic::{Code, Request, metadata::MetadataMap};

use crate::harness::{
    callers::{ADMIN, known, with_key},
    client::about,
    eventually::eventually,
    otlp::Collector,
    process::Process,
    raw::Call,
    server::{Server, setting, tokenward},
    stack::{On, Stack, With},
    template,
};

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const PARENT: &str = "b7ad6b7169203331";
const AUTHENTICATE: &str = "/tokenward.v1.TokenService/Authenticate";

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    format!("{:?}", found.unwrap_or_else(|| panic!("{name}: {span:?}")).value)
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// A request that comes from a trace.
pub(crate) fn below<T>(mut request: Request<T>, traceparent: &str) -> Request<T> {
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("it is visible ASCII"));
    request
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// The span that an answer says that it comes from.
pub(crate) fn span_of(traceresponse: &str) -> String {
    let rest = traceresponse.strip_prefix(&format!("00-{TRACE}-"));
    let span = rest.and_then(|rest| rest.strip_suffix("-01")).unwrap_or_else(|| panic!("{traceresponse}"));
    assert_eq!(span.len(), 16, "{traceresponse}");
    span.to_owned()
}

fn told(metadata: &MetadataMap) -> Option<&str> {
    metadata.get("traceresponse").map(|value| value.to_str().expect("it is text"))
}

/// Waits for the span of this name, below [`PARENT`].
pub(crate) async fn span_below(collector: &Collector, name: &str) -> Span {
    let find = async || {
        let spans = collector.spans().into_iter();
        spans
            .filter(|span| hex(&span.trace_id) == TRACE && hex(&span.parent_span_id) == PARENT)
            .find(|it| it.name == name)
    };
    eventually(name, find).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_names_its_span_and_so_does_a_refusal() {
    let collector = Collector::start().await;
    let (dir, mut settings) = known();
    settings.push(setting("TOKENWARD_TRACES__ENDPOINT", collector.url()));
    settings.push(setting("TOKENWARD_TRACES__RATIO", "0"));
    let server = Server::start_in(dir, &settings).await;
    let mut tokens = server.client().tokens.clone();
    let question = || with_key(about(&"0".repeat(64)), ADMIN);
    let answer = tokens.authenticate(below(question(), &parent("01"))).await.expect("the service can tell");
    let refusal = tokens.authenticate(below(Request::new(about("0")), &parent("01"))).await.expect_err("who asks?");
    assert_eq!(refusal.code(), Code::Unauthenticated);
    let named = [answer.metadata(), refusal.metadata()].map(|told_in| span_of(told(told_in).expect("it is told")));
    let exported = async || {
        let spans = collector.spans();
        let is = |span: &Span, id: &str| hex(&span.span_id) == id && hex(&span.parent_span_id) == PARENT;
        named.iter().all(|id| spans.iter().any(|span| is(span, id) && span.kind() == SpanKind::Server)).then_some(())
    };
    eventually("both spans are exported", exported).await;
    for request in [below(question(), &parent("00")), question()] {
        let answer = tokens.authenticate(request).await.expect("the service can tell");
        assert_eq!(told(answer.metadata()), None, "it is not traced");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_traces_no_answer_and_no_line_names_one() {
    let settings = [("TOKENWARD_LOG__LEVEL", "tokenward=debug")];
    let stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let mut tokens = stack.client().tokens.clone();
    let question = below(Request::new(about(&"0".repeat(64))), &parent("01"));
    assert_eq!(told(tokens.authenticate(question).await.expect("the service can tell").metadata()), None);
    let faulty = below(Request::new(IssueTokenRequest::default()), &parent("01"));
    assert_eq!(told(tokens.issue_token(faulty).await.expect_err("without a user").metadata()), None);
    let logged = async || stack.server.output().contains("the call has no answer").then_some(());
    eventually("the fault is logged", logged).await;
    assert!(!stack.server.output().contains(TRACE));
}

/// The spans themselves are below the log's level.
#[tokio::test(flavor = "multi_thread")]
async fn lines_about_a_traced_call_have_its_trace_id() {
    let collector = Collector::start().await;
    let url = collector.url();
    let settings = [
        ("TOKENWARD_TRACES__ENDPOINT", &*url),
        ("TOKENWARD_TRACES__RATIO", "0"),
        ("TOKENWARD_LOG__LEVEL", "tokenward::transport=debug"),
        ("TOKENWARD_LOG__FORMAT", "json"),
    ];
    let stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let mut tokens = stack.client().tokens.clone();
    for (flags, expected) in [("01", Some(TRACE)), ("00", None)] {
        let mut faulty = below(Request::new(IssueTokenRequest::default()), &parent(flags));
        let id = format!("with-flags-{flags}");
        faulty.metadata_mut().insert("x-request-id", id.parse().expect("plain text"));
        tokens.issue_token(faulty).await.expect_err("without a user");
        let line = async || {
            let output = stack.server.output();
            let is = |line: &&str| line.contains("the call has no answer") && line.contains(&id) && line.ends_with('}');
            let of = output.lines().find(is);
            of.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        };
        let line = eventually("the fault is logged", line).await;
        assert_eq!((line["request_id"].as_str(), line["trace_id"].as_str()), (Some(&*id), expected), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_is_below_the_traceparent_of_its_environment() {
    let collector = Collector::start().await;
    let url = collector.url();
    let settings = [("TOKENWARD_TRACES__ENDPOINT", &*url), ("TOKENWARD_TRACES__RATIO", "0")];
    let stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let mut verb = tokenward(stack.server.dir(), &Vec::new());
    verb.env("TRACEPARENT", parent("01")).args(["status", "--address", stack.server.url()]);
    tokio::task::spawn_blocking(move || template::run(&mut verb)).await.expect("it ends well");
    span_below(&collector, "tokenward.v1.StatusService/GetStatus").await;

    // One that goes on until it is stopped.
    let mut verb = tokenward(stack.server.dir(), &Vec::new());
    verb.env("TRACEPARENT", parent("01")).args(["health", "--watch", "--address", stack.server.url()]);
    let mut watching = Process::spawn(verb, stack.server.dir(), "watch");
    eventually("it watches", async || watching.stdout().contains("SERVING").then_some(())).await;
    watching.end(Signal::SIGKILL);
    span_below(&collector, "grpc.health.v1.Health/Watch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_traced_below_its_caller_with_what_it_asked_and_without_a_secret() {
    let collector = Collector::start().await;
    let url = collector.url();
    let settings = [("TOKENWARD_TRACES__ENDPOINT", &*url), ("TOKENWARD_TRACES__RATIO", "0")];
    let mut stack = Stack::start_with(On::Sqlite, With::Redis, &settings).await;
    let issued = stack.client().issue("a-user-of-this-name").await;
    let ask = async |flags: &str| {
        let traceparent = format!("00-{TRACE}-{PARENT}-{flags}");
        let message = about(&issued.secret).encode_to_vec();
        Call::new(AUTHENTICATE, message).header("traceparent", &traceparent).send(stack.server.url()).await
    };
    ask("00").await;
    let traced = async || {
        ask("01").await;
        let spans = collector.spans();
        let asked = |kind: &str| spans.iter().any(|span| span.name == kind);
        (asked("GETRANGE") && asked("find") && asked("tokenward.v1.TokenService/Authenticate")).then_some(spans)
    };
    let spans = eventually("spans are exported", traced).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "only what a caller asked for: {spans:?}");
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect("it was seen");
    let call = named("tokenward.v1.TokenService/Authenticate");
    assert_eq!((hex(&call.parent_span_id).as_str(), call.kind()), (PARENT, SpanKind::Server));
    assert!(attribute(call, "rpc.method").contains("Authenticate"));
    assert!(attribute(call, "rpc.grpc.status_code").contains("IntValue(0)"), "{call:?}");
    for (name, system) in [("GETRANGE", "redis"), ("find", "sqlite")] {
        let span = named(name);
        assert_eq!(span.kind(), SpanKind::Client);
        assert!(attribute(span, "db.system.name").contains(system), "{span:?}");
        let above = spans.iter().find(|other| other.span_id == span.parent_span_id);
        assert!(above.is_some_and(|above| above.kind() == SpanKind::Server), "{span:?}");
    }
    // What is left goes out at the end.
    let before = collector.spans().len();
    ask("01").await;
    stack.server.signal(Signal::SIGTERM);
    let (exit, _) = stack.server.exit(Duration::from_secs(20)).await;
    assert!(exit.success(), "{exit}");
    assert!(collector.spans().len() > before);
    let text = collector.text();
    for secret in [&*issued.secret, &*issued.token_id, "a-user-of-this-name"] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// A collector that accepts and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_up_neither_calls_nor_the_exit() {
    let hung = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let url = format!("http://{}", hung.local_addr().expect("it is bound"));
    let settings = [
        ("TOKENWARD_TRACES__ENDPOINT", &*url),
        ("TOKENWARD_TRACES__RATIO", "1"),
        ("TOKENWARD_SERVER__DRAIN_DELAY", "100ms"),
    ];
    let mut stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let client = stack.client();
    let secret = client.issue("alice").await.secret;
    // More than the queue holds.
    for _ in 0..5_000 {
        assert!(client.authenticate(&secret).await.active);
    }
    stack.server.signal(Signal::SIGTERM);
    let (exit, took) = stack.server.exit(Duration::from_secs(15)).await;
    assert!(exit.success(), "{exit}");
    crate::harness::eventually::report(&format!("exit after {took:?} with a hung collector"));
}
