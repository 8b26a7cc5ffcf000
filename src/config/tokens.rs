//! Tokens and their owners.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DigestForm, TokenFormat, TokenHash, settings};

/// The tokens that are issued.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own, on or off")]
#[serde(default)]
pub struct Tokens {
    /// Lifetime of a token whose issuer asks for none.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub ttl: Duration,
    /// Longest lifetime that may be asked for; `0s` for no limit.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub max_ttl: Duration,
    /// Have a token end `ttl` after its latest use, as knox's `AUTO_REFRESH`. It is never brought back, and
    /// one of a disabled user or without end is left alone.
    pub auto_refresh: bool,
    /// Time that an expiry must gain to be written: one write a token in this time, over all replicas.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub refresh_interval: Duration,
    /// Longest time after its issue that a token can come to so, which no first lifetime exceeds
    /// either; `0s` for no limit.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub refresh_max_ttl: Duration,
    /// Allow tokens that never expire.
    pub allow_never_expires: bool,
    /// Head of every issued token, at most 10 visible ASCII characters.
    pub prefix: String,
    /// What follows it: `knox` (64 hexadecimal digits) or `checksummed` (43 digits of base 62, and 6 of their
    /// CRC32, as in GitHub's tokens). With a checksum, a token that begins with the prefix and has neither a
    /// right checksum nor knox's form is answered `MALFORMED` without a look-up. That needs a prefix whose last
    /// character is none of 0-9 and a-f, and with which no token of another, longer prefix begins.
    pub format: TokenFormat,
    /// Live tokens a user may have; 0 for no limit.
    pub limit_per_user: u32,
    /// Hash function of digests, as knox's `SECURE_HASH_ALGORITHM`: `sha512`, `sha256`, `sha3-512` or `blake2b-512`.
    pub hash: TokenHash,
    /// Digests by which tokens are found: `knox5`, and `knox4` for rows that knox 4.2 wrote. Where unset,
    /// both with schema `knox`, `knox5` alone with `native`.
    pub accept_digests: Option<Vec<DigestForm>>,
    /// Rewrite a row of knox 4.2, once its token was presented, as knox 5 would have written it. Only when
    /// every Django is on knox 5.
    pub upgrade_digests: bool,
    /// How long a client may go on with an answer that a token is active (`cacheable_for`), never beyond its expiry; at
    /// most `5m`. A client that does accepts a revoked token for so much longer, unless it follows `WatchRevocations`.
    /// `0s`: it is told not to.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub client_cache_ttl: Duration,
    /// Keep when a token was last accepted, to about a minute: at most one write a token in this time, in the background.
    pub track_last_used: bool,
    /// How long a `request_id` makes a retry return the first token.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub request_id_retention: Duration,
}

/// The owners of tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Users {
    /// Create an unknown user at its first IssueToken (schema `native` only).
    pub create_on_issue: bool,
}
