//! The other doors on the same core: Envoy's `ext_authz`, OAuth's introspection.

use tempfile::TempDir;
use tokenward::proto::{IssueTokenRequest, RevokeRequest, revoke_request::Target};

use crate::harness::{
    callers::{self, ADMIN, with_key},
    client::{Client, Issued, for_user},
    server::Settings,
};

mod envoy;
mod every;
mod examples;
pub(crate) mod ext_authz;
pub(crate) mod http;
mod introspection;

/// A key of the caller that may only ask for Envoy.
const ENVOY: &str = "envoy-key-0123456789abcdef0123456789abcdef";

const CALLERS: &str = r#"
    [[caller]]
    name = "admin"
    keys_file = "admin.keys"
    methods = ["*"]

    [[caller]]
    name = "envoy"
    keys_file = "envoy.keys"
    methods = ["Authorization/Check"]
"#;

/// The door for Envoy is open.
const ENABLED: (&str, &str) = ("TOKENWARD_EXT_AUTHZ__ENABLED", "true");

/// A directory with the callers file and the keys, and the setting that names the file.
fn callers() -> (TempDir, Settings) {
    callers::written(CALLERS, &[("admin.keys", ADMIN), ("envoy.keys", ENVOY)])
}

/// A token with scopes, issued by the administrator.
async fn issue(client: &Client, user: &str, scopes: &[&str]) -> Issued {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    issue_request(client, IssueTokenRequest { scopes, ..for_user(user) }).await
}

async fn issue_request(client: &Client, request: IssueTokenRequest) -> Issued {
    let issued = client.tokens.clone().issue_token(with_key(request, ADMIN)).await;
    issued.expect("a token can be issued").into_inner().into()
}

/// Ends a token, as the administrator.
async fn revoke(client: &Client, secret: &str) {
    let request = RevokeRequest { target: Some(Target::Token(secret.to_owned())), ..RevokeRequest::default() };
    client.tokens.clone().revoke(with_key(request, ADMIN)).await.expect("a token can be revoked");
}
