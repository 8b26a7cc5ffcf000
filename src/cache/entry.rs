//! The bytes of a cached fact.
//!
//! ```text
//! version (1) | digest (64) | body (postcard) | seal (16)
//! ```
//!
//! The seal is the head of SHA-256 over all that stands before it. It finds damage, not
//! forgery; a keyed MAC takes its place when the cache is to be an untrusted one.
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
use sha2::{Digest as _, Sha256};

use crate::domain::{Digest, Found, Label, Position, Reading, Source, Timestamp, TokenRecord, User, UserId};

/// The longest value that is written, or read: 16 KiB.
pub(super) const MAX_BYTES: usize = 16 * 1024;
/// The value that a revocation leaves, and that a fill never replaces.
pub(super) const TOMBSTONE: u8 = 0;

const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 64;
const SEAL_BYTES: usize = 16;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoFact {
    #[error("absent")]
    Absent,
    #[error("a tombstone")]
    Tombstone,
    #[error("oversized")]
    Oversized,
    #[error("of another version")]
    Version,
    #[error("cut short")]
    Short,
    #[error("of another token")]
    Digest,
    #[error("damaged")]
    Seal,
    #[error("not readable")]
    Body,
}

/// The body: a record without what the header holds (the digest) and without what every
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

    /// Its bytes; `None` when they are more than [`MAX_BYTES`].
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.record.digest.as_bytes());
        let mut bytes = postcard::to_extend(&Body::of(self), bytes).ok()?;
        let seal = seal(&bytes);
        bytes.extend_from_slice(&seal);
        (bytes.len() <= MAX_BYTES).then_some(bytes)
    }

    /// Reads a value that was found under the key of `digest`.
    pub(super) fn decode(value: &[u8], digest: Digest) -> Result<Self, NoFact> {
        match value {
            [] => return Err(NoFact::Absent),
            [TOMBSTONE, ..] => return Err(NoFact::Tombstone),
            [VERSION, ..] => {}
            [..] => return Err(NoFact::Version),
        }
        if value.len() > MAX_BYTES {
            return Err(NoFact::Oversized);
        }
        let (sealed, found) = value.split_last_chunk::<SEAL_BYTES>().ok_or(NoFact::Short)?;
        let [_, content @ ..] = sealed else { return Err(NoFact::Short) };
        let (owner, body) = content.split_first_chunk::<DIGEST_BYTES>().ok_or(NoFact::Short)?;
        if Digest::from_bytes(*owner) != digest {
            return Err(NoFact::Digest);
        }
        if seal(sealed) != *found {
            return Err(NoFact::Seal);
        }
        Body::read(body)?.into_fact(digest)
    }

    fn age(&self, now: Timestamp) -> Duration {
        (now - self.read_at).to_std().unwrap_or_default()
    }
}

fn seal(bytes: &[u8]) -> [u8; SEAL_BYTES] {
    let whole: [u8; 32] = Sha256::digest(bytes).into();
    *whole.first_chunk().expect("SHA-256 is longer than the seal")
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

    fn read(bytes: &'a [u8]) -> Result<Self, NoFact> {
        match postcard::take_from_bytes(bytes) {
            Ok((body, [])) => Ok(body),
            Ok(_) | Err(_) => Err(NoFact::Body),
        }
    }

    fn into_fact(self, digest: Digest) -> Result<Fact, NoFact> {
        let id: UserId = self.user.parse().map_err(|_| NoFact::Body)?;
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

fn time(micros: i64) -> Result<Timestamp, NoFact> {
    DateTime::from_timestamp_micros(micros).ok_or(NoFact::Body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::fixture::{digest, noon, record};

    fn fact(name: &str) -> Fact {
        let mut record = record(name);
        record.expiry = Some(noon() + TimeDelta::hours(1));
        record.last_used = Some(noon() - TimeDelta::minutes(1));
        record.user.attributes.insert("email".to_owned(), "\u{fc}ser@example.com".to_owned());
        record.label.scopes = vec!["read".to_owned(), "write".to_owned()];
        record.label.metadata.insert("team".to_owned(), "payments".to_owned());
        let position = Position { epoch: u128::MAX - 7, seq: 42 };
        Fact { position, read_at: noon(), record: Arc::new(record) }
    }

    #[test]
    fn a_fact_survives_the_round_trip() {
        let whole = fact("a");
        assert_eq!(Fact::decode(&whole.encode().expect("small"), digest("a")), Ok(whole));
        let bare = Fact { record: Arc::new(record("b")), ..fact("b") };
        assert_eq!(Fact::decode(&bare.encode().expect("small"), digest("b")), Ok(bare));
    }

    #[test]
    fn every_truncation_and_extension_is_a_miss() {
        let mut bytes = fact("a").encode().expect("small");
        for length in 0..bytes.len() {
            assert!(Fact::decode(&bytes[..length], digest("a")).is_err(), "cut to {length} bytes");
        }
        bytes.push(0);
        assert!(Fact::decode(&bytes, digest("a")).is_err(), "one byte too many");
    }

    #[test]
    fn every_flipped_bit_is_a_miss() {
        let bytes = fact("a").encode().expect("small");
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                assert!(Fact::decode(&damaged, digest("a")).is_err(), "bit {bit} of byte {place}");
            }
        }
    }

    #[test]
    fn a_body_that_is_sealed_but_damaged_never_panics() {
        let bytes = fact("a").encode().expect("small");
        let end = bytes.len() - SEAL_BYTES;
        for place in 1 + DIGEST_BYTES..end {
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes[..end].to_vec();
                damaged[place] = value;
                let seal = seal(&damaged);
                damaged.extend_from_slice(&seal);
                if let Ok(fact) = Fact::decode(&damaged, digest("a")) {
                    assert_eq!(fact.record.digest, digest("a"));
                }
            }
        }
    }

    #[test]
    fn what_is_no_fact_of_this_token_is_named() {
        let bytes = fact("a").encode().expect("small");
        assert_eq!(Fact::decode(&bytes, digest("b")), Err(NoFact::Digest));
        assert_eq!(Fact::decode(b"", digest("a")), Err(NoFact::Absent));
        assert_eq!(Fact::decode(&[TOMBSTONE], digest("a")), Err(NoFact::Tombstone));
        assert_eq!(Fact::decode(&[VERSION], digest("a")), Err(NoFact::Short));
        assert_eq!(Fact::decode(br#"{"digest":"ad29"}"#, digest("a")), Err(NoFact::Version));
        let huge = [&bytes[..], &[0; MAX_BYTES]].concat();
        assert_eq!(Fact::decode(&huge, digest("a")), Err(NoFact::Oversized));
    }

    #[test]
    fn a_record_over_the_bound_is_not_written() {
        let sized = |bytes: usize| {
            let mut record = record("a");
            record.label.display_name = "x".repeat(bytes);
            Fact { record: Arc::new(record), ..fact("a") }.encode()
        };
        assert!(sized(MAX_BYTES).is_none());
        let fits = sized(MAX_BYTES - 512).expect("fits");
        assert!(fits.len() <= MAX_BYTES);
        assert!(Fact::decode(&fits, digest("a")).is_ok());
    }

    #[test]
    fn a_fact_is_answered_from_until_its_age_or_its_token_ends_it() {
        let (fact, ttl) = (fact("a"), Duration::from_mins(1));
        let life = |fact: &Fact, seconds| fact.life(noon() + TimeDelta::seconds(seconds), ttl);
        assert_eq!(life(&fact, 0), Some(ttl));
        assert_eq!(life(&fact, 59), Some(Duration::from_secs(1)));
        assert_eq!(life(&fact, 60), None, "too old");
        assert_eq!(life(&fact, -5), Some(ttl), "a clock a little behind");
        assert_eq!(life(&fact, -6), None, "read in the future");

        let mut short = record("a");
        short.expiry = Some(noon() + TimeDelta::seconds(10));
        let short = Fact { record: Arc::new(short), ..fact.clone() };
        assert_eq!(life(&short, 0), Some(Duration::from_secs(10)));
        assert_eq!(life(&short, 11), None, "expired meanwhile");

        let mut disabled = record("a");
        disabled.user.active = false;
        assert_eq!(life(&Fact { record: Arc::new(disabled), ..fact }, 0), None, "user disabled");
    }
}
