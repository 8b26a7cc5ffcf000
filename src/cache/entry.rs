//! The bytes of a cached fact.
//!
//! ```text
//! version (1) | key id (4) | body (postcard) | MAC (16)
//! ```
//!
//! The MAC (`mac`) is over version, key id, the token's digest and the body. The digest
//! is not stored: whoever looks a token up knows it, and an entry that stands under the
//! key of another token does not verify.
//!
//! The first byte of a value tells what it is: [`TOMBSTONE`], or the version of a fact.
//! Whatever does not read as a fact of the token that was asked for is a miss: entries of
//! other versions, of other programs, damaged, oversized or swapped ones. Reading never
//! panics and never allocates without bound.
//!
//! The domain's types know nothing of serialization; the mapping is here.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta};
use serde::{Deserialize, Serialize};

use super::mac::{KEY_ID_BYTES, MAC_BYTES, MacKeys};
use crate::domain::{Digest, Found, Label, Position, Reading, Source, Timestamp, TokenRecord, User, UserId};

/// The longest value that is written, or read: 16 KiB.
pub(super) const MAX_BYTES: usize = 16 * 1024;
/// The value that a revocation leaves, and that a fill never replaces.
pub(super) const TOMBSTONE: u8 = 0;

const VERSION: u8 = 2;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES;
/// How far another replica's clock may be ahead of ours before its facts are not used.
const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(5);

/// What the database said of a live token: never false, at most outdated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    /// The place in the journal that it was read at.
    pub(super) position: Position,
    /// When the read was sent.
    pub(super) read_at: Timestamp,
    /// What was read.
    pub(super) record: Arc<TokenRecord>,
}

/// Why a value is not a fact of the token that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(super) enum NoFact {
    #[error("absent")]
    Absent,
    #[error("a tombstone")]
    Tombstone,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why a value that stands where a fact should is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(super) enum Refusal {
    #[error("of another Redis type")]
    Type,
    #[error("oversized")]
    Oversized,
    #[error("of another version")]
    Version,
    #[error("cut short")]
    Short,
    #[error("written with an unknown key")]
    Key,
    #[error("forged, altered, or of another token")]
    Mac,
    #[error("not readable")]
    Body,
}

/// The body: a record without what the MAC binds (the digest) and without what every
/// cached fact has in common (not revoked, the user active).
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    epoch: u128,
    seq: u64,
    read_at: i64,
    user: Cow<'a, str>,
    attributes: Cow<'a, BTreeMap<String, String>>,
    created: i64,
    expiry: Option<i64>,
    last_used: Option<i64>,
    display_name: Cow<'a, str>,
    scopes: Cow<'a, [String]>,
    metadata: Cow<'a, BTreeMap<String, String>>,
    hint: Cow<'a, str>,
}

// === impl Fact ===

impl Fact {
    /// How long it may still be answered from, at `now`, when an entry lives `ttl`; `None` once it may not.
    ///
    /// The age counts from the read, not from the write: a write can reach Redis long
    /// after it was sent, and must not lengthen a fact's life.
    pub(super) fn life(&self, now: Timestamp, ttl: Duration) -> Option<Duration> {
        if self.read_at > now + CLOCK_SKEW || self.record.admit(now, &[]).is_err() {
            return None;
        }
        let fresh = ttl.checked_sub(self.age(now))?;
        let unexpired = self.record.expiry.map_or(Duration::MAX, |expiry| (expiry - now).to_std().unwrap_or_default());
        Some(fresh.min(unexpired)).filter(|life| !life.is_zero())
    }

    /// Bytes of its texts whose length the issuer or the user chose.
    pub(super) fn text_bytes(&self) -> usize {
        let label = &self.record.label;
        let pairs = label.metadata.iter().chain(&self.record.user.attributes);
        let pairs: usize = pairs.map(|(key, value)| key.len() + value.len()).sum();
        let scopes: usize = label.scopes.iter().map(String::len).sum();
        pairs + scopes + label.display_name.len()
    }

    /// The reading that it answers with.
    pub(super) fn reading(&self, source: Source, now: Timestamp) -> Reading {
        Reading { found: Found::Token(Arc::clone(&self.record)), position: self.position, source, age: self.age(now) }
    }

    /// Its bytes, written with the current key; `None` when they are more than [`MAX_BYTES`].
    pub(super) fn encode(&self, keys: &MacKeys) -> Option<Vec<u8>> {
        let key = keys.current();
        let mut bytes = Vec::with_capacity(512);
        bytes.push(VERSION);
        bytes.extend_from_slice(&key.id());
        let mut bytes = postcard::to_extend(&Body::of(self), bytes).ok()?;
        let (head, body) = bytes.split_at(HEAD_BYTES);
        let mac = key.mac([head, self.record.digest.as_bytes(), body]);
        bytes.extend_from_slice(&mac);
        (bytes.len() <= MAX_BYTES).then_some(bytes)
    }

    /// Reads a value that was found under the key of `digest`.
    pub(super) fn decode(value: &[u8], digest: Digest, keys: &MacKeys) -> Result<Self, NoFact> {
        match value {
            [] => Err(NoFact::Absent),
            [TOMBSTONE, ..] => Err(NoFact::Tombstone),
            _ => Ok(Body::authentic(value, digest, keys)?.into_fact(digest)?),
        }
    }

    fn age(&self, now: Timestamp) -> Duration {
        (now - self.read_at).to_std().unwrap_or_default()
    }
}

// === impl Refusal ===

impl Refusal {
    /// Every one there is.
    pub(super) const ALL: [Self; 7] =
        [Self::Type, Self::Oversized, Self::Version, Self::Short, Self::Key, Self::Mac, Self::Body];

    /// One word, for a metric.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Oversized => "oversized",
            Self::Version => "version",
            Self::Short => "short",
            Self::Key => "key",
            Self::Mac => "mac",
            Self::Body => "body",
        }
    }
}

// === impl Body ===

impl<'a> Body<'a> {
    fn of(fact: &'a Fact) -> Self {
        let record = &*fact.record;
        Self {
            epoch: fact.position.epoch,
            seq: fact.position.seq,
            read_at: fact.read_at.timestamp_micros(),
            user: Cow::Borrowed(record.user.id.as_str()),
            attributes: Cow::Borrowed(&record.user.attributes),
            created: record.created.timestamp_micros(),
            expiry: record.expiry.map(|at| at.timestamp_micros()),
            last_used: record.last_used.map(|at| at.timestamp_micros()),
            display_name: Cow::Borrowed(&record.label.display_name),
            scopes: Cow::Borrowed(&record.label.scopes),
            metadata: Cow::Borrowed(&record.label.metadata),
            hint: Cow::Borrowed(&record.label.hint),
        }
    }

    /// The body of a value whose MAC is right.
    fn authentic(value: &'a [u8], digest: Digest, keys: &MacKeys) -> Result<Self, Refusal> {
        if value.len() > MAX_BYTES {
            return Err(Refusal::Oversized);
        }
        if value.first() != Some(&VERSION) {
            return Err(Refusal::Version);
        }
        let (covered, mac) = value.split_last_chunk::<MAC_BYTES>().ok_or(Refusal::Short)?;
        let (head, body) = covered.split_at_checked(HEAD_BYTES).ok_or(Refusal::Short)?;
        let id = *head.last_chunk::<KEY_ID_BYTES>().ok_or(Refusal::Short)?;
        let key = keys.named(id).ok_or(Refusal::Key)?;
        if !key.verifies([head, digest.as_bytes(), body], mac) {
            return Err(Refusal::Mac);
        }
        Self::read(body)
    }

    fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        match postcard::take_from_bytes(bytes) {
            Ok((body, [])) => Ok(body),
            Ok(_) | Err(_) => Err(Refusal::Body),
        }
    }

    fn into_fact(self, digest: Digest) -> Result<Fact, Refusal> {
        let id: UserId = self.user.parse().map_err(|_| Refusal::Body)?;
        let record = TokenRecord {
            digest,
            user: User { id, active: true, attributes: self.attributes.into_owned() },
            created: time(self.created)?,
            expiry: self.expiry.map(time).transpose()?,
            revoked: None,
            last_used: self.last_used.map(time).transpose()?,
            label: Label {
                display_name: self.display_name.into_owned(),
                scopes: self.scopes.into_owned(),
                metadata: self.metadata.into_owned(),
                hint: self.hint.into_owned(),
            },
        };
        let position = Position { epoch: self.epoch, seq: self.seq };
        Ok(Fact { position, read_at: time(self.read_at)?, record: Arc::new(record) })
    }
}

fn time(micros: i64) -> Result<Timestamp, Refusal> {
    DateTime::from_timestamp_micros(micros).ok_or(Refusal::Body)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
