//! What is refused of the two listeners, and of who may call.

use std::net::SocketAddr;

use super::{
    super::{Callers, Http, Server},
    Judge,
};

/// Head of the address of a unix socket.
const UNIX: &str = "unix:";
/// An authentication of the longest token with the most scopes must fit.
const MIN_MESSAGE_BYTES: u32 = 64 * 1024;

// === impl Judge ===

impl Judge<'_> {
    pub(super) fn server(&mut self, server: &Server) {
        self.address("server.listen", &server.listen);
        self.more_than_none("server.request_timeout", server.request_timeout);
        self.at_least("server.max_concurrent_requests", server.max_concurrent_requests, 1);
        self.at_least("server.max_connections", server.max_connections, 1);
        self.at_least("server.max_concurrent_streams", server.max_concurrent_streams, 1);
        self.at_least("server.max_message_bytes", server.max_message_bytes, MIN_MESSAGE_BYTES);
        self.more_than_none("server.keepalive_interval", server.keepalive_interval);
        self.more_than_none("server.keepalive_timeout", server.keepalive_timeout);
        self.more_than_none("server.max_connection_age", server.max_connection_age);
        self.more_than_none("server.max_connection_age_grace", server.max_connection_age_grace);
        self.more_than_none("server.max_connection_idle", server.max_connection_idle);
        self.more_than_none("server.delivery_timeout", server.delivery_timeout);
        self.more_than_none("server.drain_timeout", server.drain_timeout);
        self.tls(server);
    }

    pub(super) fn http(&mut self, http: &Http) {
        if !http.listen.is_empty() {
            self.address("http.listen", &http.listen);
        }
        self.at_least("http.max_connections", http.max_connections, 1);
    }

    fn tls(&mut self, server: &Server) {
        let (cert, key) = ("server.tls_cert", "server.tls_key");
        match (&server.tls_cert, &server.tls_key) {
            (Some(_), None) => self.refuse(&[cert, key], "stands without server.tls_key", "set both or none"),
            (None, Some(_)) => self.refuse(&[key, cert], "stands without server.tls_cert", "set both or none"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        if server.tls_client_ca.is_some() && server.tls_cert.is_none() {
            self.refuse(&["server.tls_client_ca", cert], "needs TLS", "set server.tls_cert and server.tls_key too");
        }
    }

    /// Who can be reached by others must know them, and must not have them send keys in clear.
    pub(super) fn exposure(&mut self, server: &Server, callers: &Callers) {
        if server.tls_client_ca.is_some() && callers.file.is_none() {
            let remedy = "set callers.file, which says what the bearer of each certificate may do";
            self.refuse(
                &["server.tls_client_ca", "callers.file"],
                "names an authority, and no callers are known",
                remedy,
            );
        }
        let Ok(address) = server.listen.parse::<SocketAddr>() else { return };
        if server.insecure || address.ip().to_canonical().is_loopback() {
            return;
        }
        let here = "listen on 127.0.0.1, [::1] or unix:PATH";
        let insecure = "say --insecure (server.insecure = true) where only trusted callers reach it";
        if callers.file.is_none() {
            self.refuse(
                &["server.listen", "server.insecure", "callers.file"],
                format!("refuses to listen on {address} without caller authentication"),
                format!("set callers.file, and TLS; {here}; or {insecure}"),
            );
        } else if server.tls_cert.is_none() {
            self.refuse(
                &["server.listen", "server.insecure", "server.tls_cert"],
                format!("refuses to listen on {address} without TLS, since callers' keys would travel in clear"),
                format!("set server.tls_cert and server.tls_key; {here}, behind a proxy with TLS; or {insecure}"),
            );
        }
    }

    fn address(&mut self, key: &str, address: &str) {
        let is_address = match address.strip_prefix(UNIX) {
            Some(path) => !path.is_empty() && !path.contains('\0'),
            None => address.parse::<SocketAddr>().is_ok(),
        };
        if !is_address {
            self.refuse(
                &[key],
                "is neither ADDRESS:PORT nor unix:PATH",
                "give an address such as 127.0.0.1:50051, [::1]:50051 or unix:/run/tokenward.sock",
            );
        }
    }
}
