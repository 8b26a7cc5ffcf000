use std::collections::BTreeMap;

use chrono::DateTime;
use envoy_types::ext_authz::v3::pb::HttpResponse;

use super::*;
use crate::domain::{Error, Label, Token, User};

fn record(user: &str, username: &str, scopes: &[&str]) -> TokenRecord {
    TokenRecord {
        digest: Token::parse("t".to_owned()).expect("well-formed").digest(),
        user: User {
            id: user.parse().expect("a user id"),
            active: true,
            attributes: BTreeMap::from([("username".to_owned(), username.to_owned())]),
        },
        created: DateTime::UNIX_EPOCH,
        expiry: None,
        revoked: None,
        last_used: None,
        label: Label { scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(), ..Label::default() },
    }
}

/// The headers that are set, and those that are removed.
fn passed(
    settings: &config::ExtAuthz,
    record: &TokenRecord,
    disguised: &[&str],
) -> (BTreeMap<String, String>, Vec<String>) {
    let disguised = disguised.iter().map(|name| (*name).to_owned()).collect();
    let response = Identity::new(settings).allowed(record, disguised);
    assert_eq!(response.status.expect("a status").code, i32::from(Code::Ok));
    let Some(HttpResponse::OkResponse(ok)) = response.http_response else { panic!("the request passes") };
    let set = ok.headers.into_iter().map(|option| {
        assert_eq!(option.append_action, i32::from(HeaderAppendAction::OverwriteIfExistsOrAdd));
        let header = option.header.expect("a header");
        (header.key, header.value)
    });
    (set.collect(), ok.headers_to_remove)
}

fn settings() -> config::ExtAuthz {
    config::ExtAuthz {
        attribute_headers: ["username=X-User-Name", "email=x-user-email"].map(str::to_owned).to_vec(),
        ..config::ExtAuthz::default()
    }
}

#[test]
fn every_identity_header_is_set_or_removed() {
    let (set, removed) = passed(&settings(), &record("7", "alice", &["read", "write"]), &["x_user_id"]);
    assert_eq!(set["x-user-id"], "7");
    assert_eq!(set["x-token-id"].len(), 32);
    assert_eq!((&*set["x-token-scopes"], &*set["x-user-name"]), ("read write", "alice"));
    assert_eq!(removed, ["x-user-email", "x_user_id", "authorization"]);
    let (set, removed) = passed(&settings(), &record("7", "", &[]), &[]);
    assert_eq!(set.len(), 2);
    assert_eq!(removed, ["x-token-scopes", "x-user-name", "x-user-email", "authorization"]);
}

#[test]
fn what_is_not_wanted_is_left_alone() {
    let settings = config::ExtAuthz {
        forward_token: true,
        user_id_header: String::new(),
        token_id_header: String::new(),
        ..config::ExtAuthz::default()
    };
    assert_eq!(
        passed(&settings, &record("7", "alice", &[]), &[]),
        (BTreeMap::new(), vec!["x-token-scopes".to_owned()])
    );
}

#[test]
fn no_value_ends_its_header() {
    let (set, _) = passed(&settings(), &record("\u{e9} 50%", "a\r\nx-user-id: root", &["a"]), &[]);
    assert_eq!(set["x-user-id"], "%C3%A9%2050%25");
    assert_eq!(set["x-user-name"], "a%0D%0Ax-user-id:%20root");
}

fn denied(denial: Denial) -> (i32, i32, BTreeMap<String, String>) {
    let response = Challenge::new(&config::ExtAuthz::default()).denied(denial, "read write");
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else { panic!("the request is denied") };
    let headers =
        denied.headers.into_iter().filter_map(|option| option.header).map(|header| (header.key, header.value));
    (response.status.expect("a status").code, denied.status.expect("a status").code, headers.collect())
}

#[test]
fn denials_are_those_of_rfc_6750() {
    use InactiveReason::{Expired, Malformed, Revoked, ScopeMissing, Unknown, UserDisabled};
    let invalid = "Bearer realm=\"tokenward\", error=\"invalid_token\"";
    let rows = [(Denial::Missing, 401, "Bearer realm=\"tokenward\"")];
    let rows =
        rows.into_iter().chain([(Denial::Repeated, 400, "Bearer realm=\"tokenward\", error=\"invalid_request\"")]);
    let rows = rows.chain([(
        Denial::Inactive(ScopeMissing),
        403,
        "Bearer realm=\"tokenward\", error=\"insufficient_scope\", scope=\"read write\"",
    )]);
    let rows = rows.chain(
        [Malformed, Unknown, Expired, Revoked, UserDisabled].map(|reason| (Denial::Inactive(reason), 401, invalid)),
    );
    for (denial, status, challenge) in rows {
        let what = format!("{denial:?}");
        let (code, answered, headers) = denied(denial);
        assert_ne!(code, i32::from(Code::Ok), "{what}");
        assert_eq!((answered, &*headers["www-authenticate"]), (status, challenge), "{what}");
        assert_eq!(headers["cache-control"], "no-store");
    }
}

#[test]
fn without_an_answer_nobody_passes_and_nobody_is_told_that_the_token_is_bad() {
    for (error, seconds) in [
        (Error::Unavailable("gone".into()), "1"),
        (Error::Overloaded { retry_after: std::time::Duration::from_millis(100) }, "1"),
        (Error::RateLimited { retry_after: std::time::Duration::from_millis(1100) }, "2"),
    ] {
        let (code, status, headers) = denied(Denial::Unanswered(error.into()));
        assert_eq!((code, status), (i32::from(Code::Unavailable), 503));
        assert_eq!(headers["retry-after"], seconds);
        assert!(!headers.contains_key("www-authenticate"));
    }
}
