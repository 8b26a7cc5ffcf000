//! The doors for Envoy and for OAuth: what they are meant for, and a token or a key where it does not belong.

use std::net::SocketAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use tokenward::proto::IssueTokenRequest;

use super::{ADMIN, GATEWAY, Scene, WRONG_KEY, sweep::said};
use crate::doors::{
    ext_authz::{asked, check},
    http::send,
};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Every door, with a token that is good and then revoked through it.
pub(super) async fn every_door(scene: &mut Scene) {
    let token = scene.issue("dora", IssueTokenRequest::default()).await.secret;
    Box::pin(envoy(scene, &token)).await;
    oauth(scene, &token).await;
    scene.read_pages().await;
}

/// What Envoy asks; it has a request's headers and its path.
async fn envoy(scene: &mut Scene, token: &str) {
    let mut with_more = asked(token, &[("required_scopes", "missing")]);
    let mut twice = asked(token, &[]);
    for (question, headers) in [
        (&mut with_more, vec![("cookie", token), ("x-api-key", ADMIN)]),
        (&mut twice, vec![("proxy-authorization", token), ("Authorization", token)]),
    ] {
        let request = question.attributes.as_mut().and_then(|attributes| attributes.request.as_mut());
        let http = request.and_then(|request| request.http.as_mut()).expect("it is about a request");
        http.path = format!("/photos?access_token={token}");
        http.headers.extend(headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let wrong = asked(token, &[(token, token)]);
    for question in [asked(token, &[]), asked(&token.repeat(9), &[]), with_more, twice, wrong, CheckRequest::default()]
    {
        for key in [ADMIN, GATEWAY, WRONG_KEY, token] {
            let answer = check(&scene.client, key, question.clone()).await.map(tonic::Response::new);
            scene.note("Check", said(&answer));
        }
    }
}

async fn oauth(scene: &mut Scene, token: &str) {
    let address: SocketAddr = scene.server.http().trim_start_matches("http://").parse().expect("an address");
    let basic = |name: &str, key: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{key}")));
    let credentials = [basic("admin", ADMIN), basic("admin", WRONG_KEY), format!("Bearer {ADMIN}"), token.to_owned()];
    let url = format!("/introspect?token={token}&client_secret={ADMIN}");
    let forms = [
        format!("token={token}"),
        format!("token={token}&token={token}"),
        format!("client_id=admin&client_secret={ADMIN}&token={token}"),
        format!("token_type_hint={token}"),
        format!("%zz{token}"),
    ];
    for path in ["/introspect", &url, "/revoke"] {
        // The first form of the last path ends the token with the first of the credentials.
        for form in &forms {
            for credential in &credentials {
                let answer = send(address, "POST", path, &[FORM, ("authorization", credential)], form).await;
                scene.note("a form", format!("{answer:?}"));
            }
        }
        let answer = send(address, "GET", path, &[("authorization", &credentials[0])], "").await;
        scene.note("no form", format!("{answer:?}"));
    }
}
