//! What is refused of the door for OAuth.

use super::{
    super::{Config, Http, Introspection},
    Judge,
};

impl Judge<'_> {
    pub(super) fn introspection(&mut self, settings: &Introspection, http: &Http) {
        if settings.enabled && http.listen.is_empty() {
            let remedy = "set http.listen, such as 127.0.0.1:9464";
            self.refuse(&["introspection.enabled", "http.listen"], "has no listener to answer on", remedy);
        }
    }

    /// The second listener has no TLS.
    pub(super) fn introspection_exposure(&mut self, config: &Config) {
        let (http, callers) = (&config.http, &config.callers);
        if config.server.insecure || !config.introspection.is_exposed(http) {
            return;
        }
        let why = match callers.file {
            Some(_) => "without TLS, since callers' keys would travel in clear",
            None => "without caller authentication",
        };
        let problem = format!("refuses to answer introspection on {} {why}", http.listen);
        let remedy = "listen on 127.0.0.1, [::1] or unix:PATH, behind a proxy with TLS, and set callers.file; or say \
            --insecure (server.insecure = true) where only trusted callers reach it";
        self.refuse(&["http.listen", "introspection.enabled", "server.insecure", "callers.file"], problem, remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::keys;

    #[test]
    fn introspection_needs_a_listener_that_others_do_not_reach() {
        for (toml, refused) in [
            ("", Some("introspection.enabled")),
            ("http.listen = \"127.0.0.1:0\"", None),
            ("http.listen = \"unix:/run/tokenward-http.sock\"", None),
            ("http.listen = \"0.0.0.0:9464\"", Some("http.listen")),
            ("http.listen = \"0.0.0.0:9464\"\ncallers.file = \"callers.toml\"", Some("http.listen")),
            ("http.listen = \"0.0.0.0:9464\"\nserver.insecure = true", None),
        ] {
            let expected: Vec<_> = refused.map(str::to_owned).into_iter().collect();
            assert_eq!(keys(&format!("introspection.enabled = true\n{toml}")), expected, "{toml}");
        }
    }
}
