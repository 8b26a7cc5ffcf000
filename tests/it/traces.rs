//! Traces over OTLP: what a call is made of, below its caller's trace, and never at the cost of the call.

use std::time::Duration;

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message as _;
use tokio::net::TcpListener;

use crate::harness::{
    client::about,
    eventually::eventually,
    otlp::Collector,
    raw::Call,
    stack::{On, Stack, With},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const AUTHENTICATE: &str = "/tokenward.v1.TokenService/Authenticate";

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    format!("{:?}", found.unwrap_or_else(|| panic!("{name}: {span:?}")).value)
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
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
