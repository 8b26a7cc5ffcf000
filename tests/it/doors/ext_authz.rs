//! `envoy.service.auth.v3.Authorization` without an Envoy: who may ask, and what is no question.

use std::collections::HashMap;

use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{HttpRequest, Request},
    authorization_client::AuthorizationClient,
    check_response::HttpResponse,
};
use tonic::{Code, Status};

use super::{ADMIN, ENABLED, ENVOY, callers, issue, with_key};
use crate::{
    harness::{
        client::{Client, Refusal, about},
        otlp::Collector,
        server::{Server, setting},
        stack::{On, Stack, With},
    },
    traces::{PARENT, TRACE, below, span_below},
};

const SERVICE: &str = "envoy.service.auth.v3.Authorization";

pub(crate) fn asked(token: &str, extensions: &[(&str, &str)]) -> CheckRequest {
    let headers = HashMap::from([("authorization".to_owned(), format!("Bearer {token}"))]);
    let http = Some(HttpRequest { headers, ..HttpRequest::default() });
    let context_extensions = extensions.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let request = Some(Request { http, ..Request::default() });
    CheckRequest { attributes: Some(AttributeContext { request, context_extensions, ..AttributeContext::default() }) }
}

pub(crate) async fn check(client: &Client, key: &str, request: CheckRequest) -> Result<CheckResponse, Status> {
    let mut door = AuthorizationClient::new(client.channel.clone());
    door.check(with_key(request, key)).await.map(tonic::Response::into_inner)
}

pub(super) fn passes(response: &CheckResponse) -> bool {
    let ok = response.status.as_ref().is_some_and(|status| status.code == 0);
    assert_eq!(ok, matches!(response.http_response, Some(HttpResponse::OkResponse(_))), "{response:?}");
    ok
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_is_for_its_callers_and_opens_no_other() {
    let (dir, mut settings) = callers();
    settings.push(setting(ENABLED.0, ENABLED.1));
    let server = Server::start_in(dir, &settings).await;
    let client = server.client();
    let token = issue(&client, "alice", &[]).await.secret;
    assert!(passes(&check(&client, ENVOY, asked(&token, &[])).await.expect("an answer")));
    let refusal = check(&client, &"0".repeat(48), asked(&token, &[])).await.expect_err("a wrong key");
    assert_eq!(Refusal::of(&refusal).kind(), (Code::Unauthenticated, "CALLER_UNAUTHENTICATED"));
    let other = client.tokens.clone().authenticate(with_key(about(&token), ENVOY)).await.expect_err("another method");
    assert_eq!(Refusal::of(&other).kind(), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
    assert!(client.serving(SERVICE).await);
    assert!(!server.output().contains(&token), "no token is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_is_shut_unless_it_is_asked_for() {
    let (dir, settings) = callers();
    let server = Server::start_in(dir, &settings).await;
    let refusal = check(&server.client(), ADMIN, asked("t", &[])).await.expect_err("it is not served");
    assert_eq!(Refusal::of(&refusal).kind(), (Code::Unimplemented, "METHOD_UNKNOWN"));
    assert_eq!(server.client().check(SERVICE).await.expect_err("no such name").code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_route_misspells_requires_no_guess() {
    let stack = Stack::start_with(On::Sqlite, With::Memory, &[ENABLED]).await;
    let client = stack.client();
    let token = client.issue("alice").await.secret;
    let denied = check(&client, "", asked(&token, &[("required_scopes", "write")])).await.expect("an answer");
    assert!(!passes(&denied));
    for (key, value) in [("required_scope", "write"), ("required_scopes", "\u{e9}")] {
        let refusal = Refusal::of(&check(&client, "", asked(&token, &[(key, value)])).await.expect_err("refused"));
        assert_eq!(refusal.kind(), (Code::InvalidArgument, "INVALID_REQUEST"));
        assert_eq!(refusal.fields, [format!("attributes.context_extensions[{key:?}]")]);
    }
    assert!(!passes(&check(&client, "", CheckRequest::default()).await.expect("an empty question has no token")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_below_its_own_trace_or_that_of_the_request_that_it_is_about() {
    let collector = Collector::start().await;
    let url = collector.url();
    let traces = [ENABLED, ("TOKENWARD_TRACES__ENDPOINT", &*url), ("TOKENWARD_TRACES__RATIO", "0")];
    let stack = Stack::start_with(On::Sqlite, With::Memory, &traces).await;
    let client = stack.client();
    let mut door = AuthorizationClient::new(client.channel.clone());
    let token = client.issue("alice").await.secret;
    let of_a_request = |traceparent: String| {
        let mut question = asked(&token, &[]);
        let request = question.attributes.as_mut().and_then(|attributes| attributes.request.as_mut());
        let http = request.and_then(|request| request.http.as_mut()).expect("it is about a request");
        http.headers.insert("traceparent".to_owned(), traceparent);
        tonic::Request::new(question)
    };
    let answer = door.check(of_a_request(format!("00-{TRACE}-{PARENT}-01"))).await.expect("an answer");
    let told = answer.metadata().get("traceresponse").expect("it is told").to_str().expect("text").to_owned();
    let span = span_below(&collector, "envoy.service.auth.v3.Authorization/Check").await;
    assert!(told.contains(&hex::encode(&span.span_id)), "{told}: {span:?}");
    let find = collector.spans().into_iter().find(|span| span.name == "find").expect("the database was asked");
    assert_eq!(find.parent_span_id, span.span_id);

    // Envoy's own is nearer than that of its client.
    let other = format!("00-{}-{PARENT}-01", "1".repeat(32));
    let request = below(of_a_request(format!("00-{TRACE}-{PARENT}-01")), &other);
    let answer = door.check(request).await.expect("an answer");
    let told = answer.metadata().get("traceresponse").expect("it is told").to_str().expect("text");
    assert!(told.starts_with(&other[..36]), "{told}");
}
