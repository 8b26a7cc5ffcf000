//! The door for OAuth.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Http;

/// The door for OAuth: `POST /introspect` (RFC 7662) and `POST /revoke` (RFC 7009), on the second listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Introspection {
    /// Answer them. With `callers.file`, callers show their name and key as `Basic`, or their key as `Bearer`, and need
    /// the methods `TokenService/Authenticate` and `TokenService/Revoke`. An `http.listen` that other hosts can reach
    /// needs `--insecure`: it has no TLS.
    pub enabled: bool,
    /// What an active token's `iss` says. Empty: nothing.
    pub issuer: String,
    /// What its `aud` says.
    pub audience: Vec<String>,
    /// The attribute of the user that its `username` says, where the user has it.
    pub username_attribute: String,
}

// === impl Introspection ===

impl Introspection {
    /// Whether other hosts can reach it, on a listener that has no TLS.
    #[must_use]
    pub fn is_exposed(&self, http: &Http) -> bool {
        let is_local = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        self.enabled && http.listen.parse().is_ok_and(|address| !is_local(address))
    }
}

impl Default for Introspection {
    fn default() -> Self {
        Self { enabled: false, issuer: String::new(), audience: Vec::new(), username_attribute: "username".to_owned() }
    }
}
