//! What is refused of the settings for TLS to Redis and to the database, the files themselves included.

use std::path::PathBuf;

use super::{
    super::{Database, Redis},
    Judge,
};
use crate::{
    reload::Files,
    tls::{Pem, Which},
};

/// What the drivers' URLs have for TLS.
const IN_THE_URL: [&str; 10] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "sslca",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
];

/// The three files of a peer.
struct Three<'a> {
    section: &'static str,
    ca: Option<&'a PathBuf>,
    cert: Option<&'a PathBuf>,
    key: Option<&'a PathBuf>,
}

// === impl Three ===

impl Three<'_> {
    fn name(&self, which: Which) -> String {
        let name = match which {
            Which::Ca => "tls_ca",
            Which::Cert => "tls_cert",
            Which::Key => "tls_key",
        };
        format!("{}.{name}", self.section)
    }

    fn any(&self) -> Option<Which> {
        let set = [(self.ca, Which::Ca), (self.cert, Which::Cert), (self.key, Which::Key)];
        set.into_iter().find_map(|(path, which)| path.map(|_| which))
    }
}

// === impl Judge ===

impl Judge<'_> {
    pub(super) fn tls_to_redis(&mut self, redis: &Redis) {
        let three = Three {
            section: "redis",
            ca: redis.tls_ca.as_ref(),
            cert: redis.tls_cert.as_ref(),
            key: redis.tls_key.as_ref(),
        };
        if let Some(which) = three.any()
            && !redis.url.expose().starts_with("rediss")
        {
            let remedy = "begin redis.url with rediss://, rediss-cluster:// or rediss-sentinel://";
            self.refuse(&[&three.name(which), "redis.url"], "is set, and redis.url is not one with TLS", remedy);
        }
        self.three(&three);
    }

    pub(super) fn tls_to_database(&mut self, database: &Database) {
        let three = Three {
            section: "database",
            ca: database.tls_ca.as_ref(),
            cert: database.tls_cert.as_ref(),
            key: database.tls_key.as_ref(),
        };
        let Some(which) = three.any() else { return };
        let (url, name) = (database.url.expose(), three.name(which));
        if url.starts_with("sqlite:") {
            self.refuse(&[&name, "database.url"], "is set, and the database is a file", format!("unset {name}"));
        }
        let query = url.split_once('?').map(|(_, query)| query.to_ascii_lowercase()).unwrap_or_default();
        let said = |pair: &str| IN_THE_URL.contains(&pair.split('=').next().unwrap_or_default());
        if query.split('&').any(said) {
            let remedy = "take sslmode and the like out of the URL: database.tls_ca stands for verify-full";
            self.refuse(&[&name, "database.url"], "is set, and database.url says something about TLS too", remedy);
        }
        self.three(&three);
    }

    /// What holds for every peer.
    fn three(&mut self, three: &Three<'_>) {
        let (ca, cert, key) = (three.name(Which::Ca), three.name(Which::Cert), three.name(Which::Key));
        match (three.cert, three.key) {
            (Some(_), None) => self.refuse(&[&cert, &key], format!("stands without {key}"), "set both or none"),
            (None, Some(_)) => self.refuse(&[&key, &cert], format!("stands without {cert}"), "set both or none"),
            (Some(_), Some(_)) if three.ca.is_none() => {
                let remedy = format!("set {ca} too, with the authorities that sign the server's certificate");
                self.refuse(&[&cert, &ca], format!("stands without {ca}"), remedy);
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        let Some(path) = three.ca else { return };
        // Each by itself, so that a fault of one hides none of the other.
        let mut faults = vec![Pem { ca: path.clone(), identity: None }.load(&mut Files::default()).err()];
        if faults[0].is_none()
            && let (Some(cert), Some(key)) = (three.cert, three.key)
        {
            let identity = Some((cert.clone(), key.clone()));
            faults.push(Pem { ca: path.clone(), identity }.load(&mut Files::default()).err());
        }
        for error in faults.into_iter().flatten() {
            let remedy = "name a PEM file that this user may read; a key must be that of the certificate";
            self.refuse(&[&three.name(error.which())], error.problem(), remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Purpose,
        tests::{judged, keys},
    };

    #[test]
    fn files_for_tls_need_a_url_with_tls_and_each_other() {
        let rediss = "redis.url = \"rediss://r\"\ncache.mac_key = \"0123456789abcdef0123456789abcdef\"\n";
        let plain = rediss.replace("rediss", "redis");
        let ca = "/nowhere/ca.pem";
        assert_eq!(keys(&format!("{rediss}redis.tls_ca = \"{ca}\"")), ["redis.tls_ca"]);
        assert_eq!(keys(&format!("{plain}redis.tls_ca = \"{ca}\"")), ["redis.tls_ca", "redis.tls_ca"]);
        assert_eq!(keys(&format!("{rediss}redis.tls_cert = \"c\"")), ["redis.tls_cert"]);
        assert_eq!(keys(&format!("{rediss}redis.tls_key = \"k\"")), ["redis.tls_key"]);
        assert_eq!(keys(&format!("{rediss}redis.tls_cert = \"c\"\nredis.tls_key = \"k\"")), ["redis.tls_cert"]);
        let said = judged(&format!("{rediss}redis.tls_ca = \"{ca}\""), Purpose::Serve);
        assert!(said[0].problem.contains("cannot be read: No such file"), "{said:?}");
    }

    #[test]
    fn the_url_of_a_database_says_nothing_of_tls_beside_the_settings() {
        let with = |url: &str| format!("database.url = \"{url}\"\ndatabase.tls_ca = \"/nowhere/ca.pem\"");
        assert_eq!(keys(&with("postgres://db/t")), ["database.tls_ca"], "the file is not there");
        for url in ["postgres://db/t?sslmode=require", "mysql://db/t?x=1&ssl-ca=/a", "sqlite://t.db"] {
            assert_eq!(keys(&with(url)), ["database.tls_ca", "database.tls_ca"], "{url}");
        }
    }
}
