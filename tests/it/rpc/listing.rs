//! Listing and reading public records.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokenward::proto::{GetTokenRequest, IssueTokenRequest, ListTokensRequest, ListTokensResponse, Token, TokenState};
use tonic::{Code, Response};

use crate::harness::{
    client::{Client, Issued, Refusal, for_user, ttl},
    eventually::eventually,
};

async fn list(client: &Client, request: ListTokensRequest) -> ListTokensResponse {
    client.admin.clone().list_tokens(request).await.map(Response::into_inner).expect("tokens can be listed")
}

fn names(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|token| token.display_name.as_str()).collect()
}

pub(super) async fn tokens_are_listed_newest_first_page_by_page(client: &Client) {
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        let request = IssueTokenRequest { display_name: name.to_owned(), ..for_user("lister") };
        client.try_issue(request).await.expect("a token can be issued");
    }
    let mut request = ListTokensRequest { user_id: "lister".to_owned(), page_size: 3, ..ListTokensRequest::default() };
    let mut pages = Vec::new();
    loop {
        let page = list(client, request.clone()).await;
        pages.push(names(&page.tokens).concat());
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        assert!(pages.len() < 4, "the pages have an end: {pages:?}");
    }
    assert_eq!(pages, ["gfe", "dcb", "a"]);

    let whole = list(client, ListTokensRequest { page_size: 0, page_token: String::new(), ..request }).await;
    assert_eq!(names(&whole.tokens).concat(), "gfedcba");
    assert_eq!(whole.next_page_token, "");
    let get = GetTokenRequest { token_id: whole.tokens[2].token_id.clone() };
    let one = client.admin.clone().get_token(get).await.expect("it is there").into_inner();
    assert_eq!(one.token.as_ref(), Some(&whole.tokens[2]));
    let missing = client.admin.clone().get_token(GetTokenRequest { token_id: "f".repeat(32) }).await;
    let refusal = Refusal::of(&missing.expect_err("no such token"));
    assert_eq!(refusal.kind(), (Code::NotFound, "NOT_FOUND"));
    let nobody = ListTokensRequest { user_id: "nobody".to_owned(), ..ListTokensRequest::default() };
    assert_eq!(list(client, nobody).await, ListTokensResponse::default());
}

/// While others issue and revoke, a token that stands all the while is on exactly one page, and none is on two.
pub(super) async fn pages_are_stable_while_others_write(client: &Client) {
    let mut standing = BTreeSet::new();
    for _ in 0..12 {
        standing.insert(client.issue("pager").await.token_id);
    }
    let writing = AtomicBool::new(true);
    let write = async {
        let mut written = 0;
        while writing.load(Ordering::Relaxed) {
            let issued = client.issue("pager").await;
            client.revoke(&issued.secret).await;
            written += 1;
        }
        written
    };
    let read = async {
        for _ in 0..5 {
            let mut request =
                ListTokensRequest { user_id: "pager".to_owned(), page_size: 2, ..ListTokensRequest::default() };
            let mut seen = Vec::new();
            loop {
                let page = list(client, request.clone()).await;
                seen.extend(page.tokens.into_iter().map(|token| token.token_id));
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            let all: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(all.len(), seen.len(), "none twice: {seen:?}");
            assert!(standing.is_subset(&all), "each that stands: {seen:?}");
        }
        writing.store(false, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(write, read);
    assert!(written > 0, "others wrote meanwhile");
}

pub(super) async fn tokens_are_listed_by_state(client: &Client) {
    let live = client.issue("states").await;
    let ended = client.issue("states").await;
    client.revoke(&ended.secret).await;
    let brief = IssueTokenRequest { expiration: Some(ttl(Duration::from_millis(1))), ..for_user("states") };
    let expired: Issued = client.try_issue(brief).await.expect("a token can be issued").into();

    let listed = async |states: &[TokenState]| {
        let states = states.iter().map(|state| (*state).into()).collect();
        let request = ListTokensRequest { user_id: "states".to_owned(), states, ..ListTokensRequest::default() };
        let tokens = list(client, request).await.tokens;
        tokens.into_iter().map(|token| (token.state(), token.token_id)).collect::<Vec<_>>()
    };
    let expired = (TokenState::Expired, expired.token_id);
    let ends = async || (listed(&[TokenState::Expired]).await == [expired.clone()]).then_some(());
    eventually("the brief token has expired", ends).await;
    assert_eq!(listed(&[]).await, [(TokenState::Active, live.token_id.clone())], "active only, unless asked");
    assert_eq!(listed(&[TokenState::Active]).await, listed(&[]).await);
    assert_eq!(listed(&[TokenState::Revoked]).await, [(TokenState::Revoked, ended.token_id.clone())]);
    let all = listed(&[TokenState::Active, TokenState::Expired, TokenState::Revoked]).await;
    let newest_first = [expired, (TokenState::Revoked, ended.token_id), (TokenState::Active, live.token_id)];
    assert_eq!(all, newest_first);
}
