//! The door for Envoy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The door for Envoy: `envoy.service.auth.v3.Authorization`, on the gRPC listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ExtAuthz {
    /// Answer Envoy's `ext_authz` filter.
    pub enabled: bool,
    /// The request header that has the token.
    pub header: String,
    /// What stands before the token in that header, in any case; empty: the whole value is the token.
    pub schemes: Vec<String>,
    /// The protection space that a refused client is told in `WWW-Authenticate`.
    pub realm: String,
    /// Leave the header with the token in the request that goes on to the upstream.
    pub forward_token: bool,
    /// Request header that tells the upstream the `user_id`. What the client sends under this name, or one with `_` for
    /// `-`, never arrives. Empty: not told, and what the client sends arrives.
    pub user_id_header: String,
    /// The same for the `token_id`.
    pub token_id_header: String,
    /// The same for the scopes, with spaces between them.
    pub scopes_header: String,
    /// The same for attributes of the user, as `ATTRIBUTE=HEADER`, such as `username=x-user-name`.
    pub attribute_headers: Vec<String>,
}

// === impl ExtAuthz ===

impl ExtAuthz {
    /// The attributes that are told, each with its header.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attribute_headers.iter().filter_map(|entry| entry.rsplit_once('='))
    }

    /// The headers that tell the upstream whose a request is.
    pub fn identity_headers(&self) -> impl Iterator<Item = &str> {
        let named = [&self.user_id_header, &self.token_id_header, &self.scopes_header].into_iter().map(String::as_str);
        named.filter(|header| !header.is_empty()).chain(self.attributes().map(|(_, header)| header))
    }
}

impl Default for ExtAuthz {
    fn default() -> Self {
        Self {
            enabled: false,
            header: "authorization".to_owned(),
            schemes: ["Bearer", "Token"].map(str::to_owned).to_vec(),
            realm: "tokenward".to_owned(),
            forward_token: false,
            user_id_header: "x-user-id".to_owned(),
            token_id_header: "x-token-id".to_owned(),
            scopes_header: "x-token-scopes".to_owned(),
            attribute_headers: Vec::new(),
        }
    }
}
