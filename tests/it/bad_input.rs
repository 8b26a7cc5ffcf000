//! Whatever is sent, the service says what is wrong with it, and goes on.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::{Duration, FieldMask, Timestamp};
use tokenward::proto::{
    AuthenticateRequest, AuthenticateResponse, BatchAuthenticateRequest, DeleteUserRequest, GetTokenRequest,
    GetUserRequest, InactiveReason, IssueTokenRequest, ListTokensRequest, RevokeAllRequest, RevokeRequest, TokenState,
    UpsertUserRequest, User, issue_token_request::Expiration, revoke_all_request::Except, revoke_request::Target,
};
use tonic::{Code, Response, Status};

use crate::harness::{
    client::{Client, Refusal, about, for_user},
    raw::Call,
    stack::{On, Stack, With},
};

const AUTHENTICATE: &str = "/tokenward.v1.TokenService/Authenticate";
const ISSUE: &str = "/tokenward.v1.TokenService/IssueToken";

/// A service, and a token that must go on being good.
struct Subject {
    stack: Stack,
    client: Client,
    good: String,
}

// === impl Subject ===

impl Subject {
    async fn start() -> Self {
        let stack = Stack::start(On::Sqlite, With::Memory).await;
        let client = stack.client();
        let good = client.issue("good").await.secret;
        Self { stack, client, good }
    }

    /// The call was refused for this field alone, and the service goes on.
    async fn refused<T: std::fmt::Debug>(&self, what: &str, field: &str, outcome: Result<T, Status>) {
        let status = match outcome {
            Err(status) => status,
            Ok(answer) => panic!("{what}: accepted with {answer:?}"),
        };
        let refusal = Refusal::of(&status);
        assert_eq!(refusal.kind(), (Code::InvalidArgument, "INVALID_REQUEST"), "{what}");
        assert_eq!(refusal.fields, [field], "{what}");
        self.goes_on(what).await;
    }

    /// The bytes were refused as no message of the method, and the service goes on.
    async fn unreadable(&self, what: &str, method: &str, message: Vec<u8>) {
        let status = Call::new(method, message).send(self.stack.server.url()).await;
        assert_eq!(Refusal::of(&status).kind(), (Code::InvalidArgument, "INVALID_REQUEST"), "{what}");
        self.goes_on(what).await;
    }

    async fn goes_on(&self, after: &str) {
        assert!(self.client.authenticate(&self.good).await.active, "after {after}");
    }

    async fn authenticate(&self, request: AuthenticateRequest) -> Result<AuthenticateResponse, Status> {
        self.client.try_authenticate(request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_could_have_issued_is_malformed() {
    let subject = Subject::start().await;
    for (what, token) in [
        ("513 bytes", "a".repeat(513)),
        ("100 KiB", "a".repeat(100 * 1024)),
        ("NUL", format!("{}\0", subject.good)),
        ("only NUL", "\0".to_owned()),
        ("a space", "a b".to_owned()),
        ("only spaces", "   ".to_owned()),
        ("a new line at its end", format!("{}\n", subject.good)),
        ("a scheme before it", format!("Bearer {}", subject.good)),
        ("not ASCII", "é".repeat(32)),
        ("not printable", "\u{7f}\u{1b}[2J".to_owned()),
        ("right to left", "\u{202e}abc".to_owned()),
    ] {
        let answer = subject.authenticate(about(&token)).await.unwrap_or_else(|status| panic!("{what}: {status:?}"));
        assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::Malformed), "{what}");
        let revoked = subject.client.revoke(&token).await;
        assert!(!revoked.revoked, "{what}");
        subject.goes_on(what).await;
    }
    let longest = subject.authenticate(about(&"a".repeat(512))).await.expect("512 bytes are a token");
    assert_eq!(longest.inactive_reason(), InactiveReason::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused() {
    let subject = Subject::start().await;
    let message = about(&subject.good).encode_to_vec();
    let truncated = message[..message.len() - 1].to_vec();
    // Field 1, length-delimited.
    let text = |bytes: &[u8]| [&[0x0a, u8::try_from(bytes.len()).expect("short")], bytes].concat();
    for (what, message) in [
        ("invalid UTF-8", text(b"\xff\xfe")),
        ("a surrogate in UTF-8", text(b"\xed\xa0\x80")),
        ("an overlong NUL in UTF-8", text(b"\xc0\x80")),
        ("a truncated message", truncated),
        ("a length beyond the end", vec![0x0a, 0x7f, b'a']),
        ("a varint without an end", vec![0xff; 11]),
        ("a wrong wire type", vec![0x08, 0x01]),
        ("field number zero", vec![0x02, 0x00]),
        ("an end of no group", vec![0x0c]),
        ("noise", (0..=255).rev().collect()),
        ("1 MiB", about(&"a".repeat(1024 * 1024)).encode_to_vec()),
    ] {
        subject.unreadable(what, AUTHENTICATE, message).await;
    }
    subject.unreadable("invalid UTF-8 in a user", ISSUE, text(b"\xff")).await;
    let unknown_field = [message, vec![0x98, 0x3f, 0x01]].concat();
    let status = Call::new(AUTHENTICATE, unknown_field).send(subject.stack.server.url()).await;
    assert_eq!(status.code(), Code::Ok, "a field of a later version is skipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_request_is_refused_as_such() {
    let subject = Subject::start().await;
    let call = Call::new(AUTHENTICATE, Vec::new()).header("grpc-encoding", "gzip");
    let status = call.send(subject.stack.server.url()).await;
    assert_eq!(Refusal::of(&status).kind(), (Code::Unimplemented, "INVALID_REQUEST"));
    subject.goes_on("a compressed request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_question_is_refused_by_its_field() {
    let subject = Subject::start().await;
    let good = about(&subject.good);
    for (what, field, request) in [
        ("no token", "token", about("")),
        ("unknown consistency", "consistency", AuthenticateRequest { consistency: 99, ..good.clone() }),
        ("negative consistency", "consistency", AuthenticateRequest { consistency: -1, ..good.clone() }),
        ("a revision not ours", "min_revision", AuthenticateRequest { min_revision: "x".to_owned(), ..good.clone() }),
    ] {
        let outcome = subject.authenticate(request.clone()).await;
        subject.refused(what, field, outcome).await;
        let requests = vec![good.clone(), request];
        let outcome = subject.client.tokens.clone().batch_authenticate(BatchAuthenticateRequest { requests }).await;
        subject.refused(what, &format!("requests[1].{field}"), outcome).await;
    }
    for count in [0, 101] {
        let requests = vec![good.clone(); count];
        let outcome = subject.client.tokens.clone().batch_authenticate(BatchAuthenticateRequest { requests }).await;
        subject.refused(&format!("a batch of {count}"), "requests", outcome).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_lifetime_is_refused() {
    let subject = Subject::start().await;
    let ttl = |seconds, nanos| ("ttl", Expiration::Ttl(Duration { seconds, nanos }));
    let until = |seconds, nanos| ("expire_time", Expiration::ExpireTime(Timestamp { seconds, nanos }));
    for (what, (field, expiration)) in [
        ("zero", ttl(0, 0)),
        ("negative", ttl(-1, 0)),
        ("negative nanos", ttl(0, -1)),
        ("signs that differ", ttl(1, -1)),
        ("nanos over a second", ttl(1, 1_000_000_000)),
        ("the longest duration", ttl(i64::MAX, 999_999_999)),
        ("the shortest duration", ttl(i64::MIN, i32::MIN)),
        ("10,000 years, the longest of the wire format", ttl(315_576_000_000, 0)),
        ("over 10,000 years", ttl(315_576_000_001, 0)),
        ("in the past", until(1, 0)),
        ("the year 10000", until(253_402_300_800, 0)),
        ("before the year 1", until(-62_135_596_801, 0)),
        ("the last second of all", until(i64::MAX, 0)),
        ("the first second of all", until(i64::MIN, 0)),
        ("nanos over a second", until(4_000_000_000, 1_000_000_000)),
        ("negative nanos", until(4_000_000_000, -1)),
        ("for ever", ("never_expires", Expiration::NeverExpires(true))),
    ] {
        let request = IssueTokenRequest { expiration: Some(expiration), ..for_user("bad") };
        subject.refused(&format!("{field} {what}"), field, subject.client.try_issue(request).await).await;
    }
    let last = IssueTokenRequest { expiration: Some(until(253_402_300_799, 0).1), ..for_user("patient") };
    let issued = subject.client.try_issue(last).await.expect("the last second of the year 9999 is a time");
    assert!(subject.client.authenticate(&issued.secret).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_label_is_refused() {
    let subject = Subject::start().await;
    let metadata = |key: &str, value: String| HashMap::from([(key.to_owned(), value)]);
    let base = for_user("bad");
    let scopes = |scope: &str| IssueTokenRequest { scopes: vec![scope.to_owned()], ..base.clone() };
    let named = |name: String| IssueTokenRequest { display_name: name, ..base.clone() };
    let noted = |key: &str, value: String| IssueTokenRequest { metadata: metadata(key, value), ..base.clone() };
    let once = |id: &str| IssueTokenRequest { request_id: id.to_owned(), ..base.clone() };
    for (what, field, request) in [
        ("no user", "user_id", for_user("")),
        ("129 bytes", "user_id", for_user(&"u".repeat(129))),
        ("a NUL", "user_id", for_user("a\0b")),
        ("a new line", "user_id", for_user("a\nb")),
        ("129 characters", "display_name", named("é".repeat(129))),
        ("a NUL", "display_name", named("a\0b".to_owned())),
        ("an empty scope", "scopes", scopes("")),
        ("two scopes in one", "scopes", scopes("read write")),
        ("a quoted scope", "scopes", scopes("\"read\"")),
        ("a scope not in ASCII", "scopes", scopes("lés")),
        ("over 4 KiB", "metadata", noted("k", "v".repeat(4096))),
        ("an empty key", "metadata", noted("", "v".to_owned())),
        ("a NUL", "metadata", noted("k", "\0".to_owned())),
        ("no UUID", "request_id", once("42")),
        ("nearly a UUID", "request_id", once("6e3b1a52-1f5e-4c56-9c39-0d4d6f0c7a1")),
        ("the nil UUID", "request_id", once("00000000-0000-0000-0000-000000000000")),
    ] {
        subject.refused(&format!("{field}: {what}"), field, subject.client.try_issue(request).await).await;
    }
    let two = IssueTokenRequest { display_name: "é".repeat(129), ..for_user("") };
    let status = subject.client.try_issue(two).await.expect_err("two faults");
    assert_eq!(Refusal::of(&status).fields, ["user_id", "display_name"], "every fault at once");

    let full = IssueTokenRequest { display_name: "é".repeat(128), ..noted("k", "v".repeat(4095)) };
    let full = IssueTokenRequest { user_id: "ü".repeat(64), ..full };
    let issued = subject.client.try_issue(full.clone()).await.expect("every bound is within");
    let token = subject.client.authenticate(&issued.secret).await.token.expect("it is active");
    assert_eq!((token.display_name, token.metadata, token.user_id), (full.display_name, full.metadata, full.user_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_revocation_is_refused() {
    let subject = Subject::start().await;
    let good = Some(Target::Token(subject.good.clone()));
    for (what, field, target, reason) in [
        ("no target", "target", None, 0),
        ("an empty token", "token", Some(Target::Token(String::new())), 0),
        ("an empty name", "token_id", Some(Target::TokenId(String::new())), 0),
        ("no name", "token_id", Some(Target::TokenId("x".repeat(32))), 0),
        ("unknown reason", "reason", good.clone(), 99),
        ("negative reason", "reason", good, -1),
    ] {
        let outcome = subject.client.tokens.clone().revoke(RevokeRequest { target, reason }).await;
        subject.refused(what, field, outcome).await;
    }
    let spared = |except| RevokeAllRequest { user_id: "good".to_owned(), except: Some(except), reason: 0 };
    for (what, field, request) in [
        ("no user", "user_id", RevokeAllRequest::default()),
        ("unknown reason", "reason", RevokeAllRequest { user_id: "good".to_owned(), reason: 99, except: None }),
        ("an empty token to spare", "except_token", spared(Except::ExceptToken(String::new()))),
        ("no token to spare", "except_token", spared(Except::ExceptToken("a b".to_owned()))),
        ("an empty name to spare", "except_token_id", spared(Except::ExceptTokenId(String::new()))),
        ("no name to spare", "except_token_id", spared(Except::ExceptTokenId("X".repeat(32)))),
    ] {
        let outcome = subject.client.tokens.clone().revoke_all(request).await;
        subject.refused(what, field, outcome).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_is_good_for_its_own_listing_only() {
    let subject = Subject::start().await;
    for _ in 0..3 {
        subject.client.issue("lister").await;
        subject.client.issue("other").await;
    }
    let list = async |request: ListTokensRequest| {
        subject.client.admin.clone().list_tokens(request).await.map(Response::into_inner)
    };
    let base = ListTokensRequest { user_id: "lister".to_owned(), page_size: 1, ..ListTokensRequest::default() };
    let ours = list(base.clone()).await.expect("a first page").next_page_token;
    let mut altered = ours.clone().into_bytes();
    altered[3] = if altered[3] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).expect("a page token is ASCII");
    let with = |page_token: &str| ListTokensRequest { page_token: page_token.to_owned(), ..base.clone() };
    let expired = vec![TokenState::Expired.into()];
    for (what, field, request) in [
        ("random", "page_token", with("c29tZXRoaW5n")),
        ("not base64", "page_token", with("\u{1f511}")),
        ("altered", "page_token", with(&altered)),
        ("truncated", "page_token", with(&ours[..ours.len() - 2])),
        ("extended", "page_token", with(&format!("{ours}AAAA"))),
        ("100 KiB", "page_token", with(&"A".repeat(100 * 1024))),
        ("of another user", "page_token", ListTokensRequest { user_id: "other".to_owned(), ..with(&ours) }),
        ("of other states", "page_token", ListTokensRequest { states: expired, ..with(&ours) }),
        ("negative", "page_size", ListTokensRequest { page_size: -1, ..base.clone() }),
        ("over 1000", "page_size", ListTokensRequest { page_size: 1001, ..base.clone() }),
        ("no user", "user_id", ListTokensRequest { user_id: String::new(), ..base.clone() }),
        ("unknown", "states", ListTokensRequest { states: vec![99], ..base.clone() }),
        ("not given", "states", ListTokensRequest { states: vec![0], ..base.clone() }),
    ] {
        subject.refused(&format!("{field} {what}"), field, list(request).await).await;
    }
    // Another size of page is the same listing.
    let rest = list(ListTokensRequest { page_size: 1000, ..with(&ours) }).await.expect("a token that we made");
    assert_eq!((rest.tokens.len(), rest.next_page_token.as_str()), (2, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_name_or_user_is_refused() {
    let subject = Subject::start().await;
    let (mut admin, mut users) = (subject.client.admin.clone(), subject.client.users.clone());
    for id in ["", "x", &"A".repeat(32), &"0".repeat(33), "../../etc/passwd", "\0"] {
        let outcome = admin.get_token(GetTokenRequest { token_id: id.to_owned() }).await;
        subject.refused(&format!("token_id {id:?}"), "token_id", outcome).await;
    }
    for id in ["", "a\0", "a\u{85}b", &"u".repeat(129)] {
        let what = format!("user_id {id:?}");
        let user_id = id.to_owned();
        let outcome = users.get_user(GetUserRequest { user_id: user_id.clone() }).await;
        subject.refused(&what, "user_id", outcome).await;
        let outcome = users.delete_user(DeleteUserRequest { user_id: user_id.clone() }).await;
        subject.refused(&what, "user_id", outcome).await;
        let user = Some(User { user_id, ..User::default() });
        let outcome = users.upsert_user(UpsertUserRequest { user, update_mask: None }).await;
        subject.refused(&what, "user.user_id", outcome).await;
    }
    let outcome = users.upsert_user(UpsertUserRequest::default()).await;
    subject.refused("no user", "user", outcome).await;
    let user = |attributes: &[(&str, String)]| {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Some(User { user_id: "good".to_owned(), active: true, attributes })
    };
    let paths = |path: &str| Some(FieldMask { paths: vec![path.to_owned()] });
    let outcome = users.upsert_user(UpsertUserRequest { user: user(&[]), update_mask: paths("user_id") }).await;
    subject.refused("a path of no change", "update_mask", outcome).await;
    let large = user(&[("k", "v".repeat(4096))]);
    let outcome = users.upsert_user(UpsertUserRequest { user: large, update_mask: None }).await;
    subject.refused("over 4 KiB", "user.attributes", outcome).await;
}

/// SQL is where a string that was not meant as one would show.
#[tokio::test(flavor = "multi_thread")]
async fn no_text_is_taken_for_anything_else() {
    let subject = Subject::start().await;
    for text in ["'; DROP TABLE tokens; --", "\\", "%", "_", "\" OR 1=1", "{\"$ne\":null}", "*\r", "ユーザー🔑"] {
        let request = IssueTokenRequest {
            display_name: text.replace('\r', ""),
            metadata: HashMap::from([(text.to_owned(), text.to_owned())]),
            ..for_user(&text.replace('\r', ""))
        };
        let issued =
            subject.client.try_issue(request.clone()).await.unwrap_or_else(|status| panic!("{text}: {status:?}"));
        let token = subject.client.authenticate(&issued.secret).await.token.expect("it is active");
        assert_eq!(
            (token.user_id, token.display_name, token.metadata),
            (request.user_id, request.display_name, request.metadata)
        );
        let list = ListTokensRequest { user_id: text.replace('\r', ""), ..ListTokensRequest::default() };
        let listed = subject.client.admin.clone().list_tokens(list).await.expect("tokens can be listed").into_inner();
        assert_eq!(listed.tokens.len(), 1, "{text}");
    }
    subject.goes_on("all of them").await;
}
