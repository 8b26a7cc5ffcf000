//! Records, digests, waiting.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{TimeZone as _, Utc};

use crate::{
    cache::MacKeys,
    config::{self, SecretText},
    domain::{Clock, Digest, Label, Position, Timestamp, Token, TokenRecord, User},
};

/// A place in no journal.
pub(in crate::cache) const NOWHERE: Position = Position { epoch: 0, seq: 0 };

/// A fixed moment.
pub(in crate::cache) fn noon() -> Timestamp {
    Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).single().expect("a time")
}

/// The digest of the token with this text.
pub(in crate::cache) fn digest(token: &str) -> Digest {
    Token::parse(token.to_owned()).expect("well-formed").digest()
}

/// A live token that never expires.
pub(in crate::cache) fn record(token: &str) -> TokenRecord {
    TokenRecord {
        digest: digest(token),
        user: User { id: "7".parse().expect("a user id"), active: true, attributes: BTreeMap::new() },
        created: noon(),
        expiry: None,
        revoked: None,
        last_used: None,
        label: Label::default(),
    }
}

/// The text of a MAC key that is long enough.
pub(in crate::cache) fn mac_key(name: &str) -> SecretText {
    SecretText::new(format!("{name:-<32}"))
}

/// The MAC keys of a deployment.
pub(in crate::cache) fn mac_keys(name: &str) -> MacKeys {
    let config = config::Cache { mac_key: mac_key(name), ..config::Cache::default() };
    MacKeys::load(&config, None).expect("a key is configured")
}

/// Waits until a condition holds; fails after ten seconds.
pub(in crate::cache) async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the condition never held");
}

/// A clock that tests set; a clone is the same clock.
#[derive(Clone, Debug)]
pub(in crate::cache) struct TestClock(Arc<Mutex<Timestamp>>);

impl TestClock {
    pub(in crate::cache) fn at_noon() -> Self {
        Self(Arc::new(Mutex::new(noon())))
    }

    pub(in crate::cache) fn advance(&self, by: Duration) {
        *self.0.lock().expect("not poisoned") += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("not poisoned")
    }
}
