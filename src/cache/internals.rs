//! Private parts, opened for `benches/` alone (feature `internals`).

use std::sync::Arc;

use chrono::{DateTime, TimeDelta};

use super::{
    Breaker, MacKeys,
    entry::Fact,
    mac::{KEY_ID_BYTES, Mac},
};
use crate::{
    config::{self, SecretText},
    domain::{Digest, Label, Position, TokenRecord, User},
};

/// A fact as a token without scopes and metadata has it, and its bytes.
#[derive(Debug)]
pub struct Entry {
    fact: Fact,
    digest: Digest,
    bytes: Vec<u8>,
    keys: MacKeys,
    mac: Mac,
}

/// A closed breaker.
#[derive(Debug)]
pub struct Permits(Breaker);

// === impl Entry ===

impl Entry {
    /// The entry of a token.
    #[must_use]
    pub fn new(digest: Digest) -> Self {
        let settings = config::Cache { mac_key: SecretText::new("of no use to anybody"), ..config::Cache::default() };
        let keys = MacKeys::load(&settings, None).expect("there is a key");
        let created = DateTime::from_timestamp(1_790_000_000, 0).expect("a time");
        let user = User { id: "bench-1".parse().expect("a user_id"), active: true, attributes: [].into() };
        let label = Label { hint: "1f3a".to_owned(), ..Label::default() };
        let expiry = Some(created + TimeDelta::hours(10));
        let record = TokenRecord { digest, user, created, expiry, revoked: None, last_used: None, label };
        let fact = Fact { position: Position { epoch: 1, seq: 42 }, read_at: created, record: Arc::new(record) };
        let bytes = fact.encode(&keys).expect("it is small");
        let mac = Self::mac_of(&keys, &bytes, digest);
        Self { fact, digest, bytes, keys, mac }
    }

    /// Bytes of the entry.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// What a fill does before Redis.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        self.fact.encode(&self.keys)
    }

    /// What a hit does after Redis; whether it is a fact.
    #[must_use]
    pub fn decode(&self) -> bool {
        Fact::decode(&self.bytes, self.digest, &self.keys).is_ok()
    }

    /// The MAC's part of that.
    #[must_use]
    pub fn verify(&self) -> bool {
        let (head, body) = self.bytes[..self.bytes.len() - self.mac.len()].split_at(1 + KEY_ID_BYTES);
        self.keys.current().verifies([head, self.digest.as_bytes(), body], &self.mac)
    }

    fn mac_of(keys: &MacKeys, bytes: &[u8], digest: Digest) -> Mac {
        let (covered, mac) = bytes.split_last_chunk().expect("an entry ends with its MAC");
        let (head, body) = covered.split_at(1 + KEY_ID_BYTES);
        assert!(keys.current().verifies([head, digest.as_bytes(), body], mac), "it is the entry's");
        *mac
    }
}

// === impl Permits ===

impl Permits {
    /// A closed breaker with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self(Breaker::new(&config::Breaker::default()))
    }

    /// A permit, and the report that its command was answered; whether there was one.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.0.admit().map(super::breaker::Permit::success).is_ok()
    }
}

impl Default for Permits {
    fn default() -> Self {
        Self::new()
    }
}
