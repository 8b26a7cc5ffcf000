//! The keys that cached facts are authenticated with, so that Redis is trusted for nothing.
//!
//! A key is derived from a text of any form with keyed BLAKE3, and has a public name,
//! which an entry carries. Entries are written with the current key and read with the
//! previous one as well, so that keys can be replaced without a gap.

use std::{fmt, path::Path};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::config::{self, SecretText};

mod file;
#[cfg(test)]
mod tests;

pub use self::file::MacKeyError;

/// Bytes of a key's name.
pub(super) const KEY_ID_BYTES: usize = 4;
/// Bytes of a MAC: 128 bits, which nobody guesses online.
pub(super) const MAC_BYTES: usize = 16;

/// What the key is derived for; no other program may derive for the same.
const KEY_CONTEXT: &str = "tokenward 2026 cache entry mac";
/// What the key's name is derived for.
const ID_CONTEXT: &str = "tokenward 2026 cache entry mac key id";

pub(super) type KeyId = [u8; KEY_ID_BYTES];
pub(super) type Mac = [u8; MAC_BYTES];

/// The current key and, while keys are being replaced, the previous one.
#[derive(Clone)]
pub struct MacKeys {
    current: MacKey,
    previous: Option<MacKey>,
}

/// One key.
#[derive(Clone)]
pub(super) struct MacKey {
    id: KeyId,
    key: Zeroizing<[u8; 32]>,
}

// === impl MacKeys ===

impl MacKeys {
    /// The configured keys. Where none is configured and the database is the file
    /// `database`, the key is kept in a file beside it, and made at the first start.
    ///
    /// # Errors
    /// [`MacKeyError`] when there is no key, or its file cannot be read or made.
    pub fn load(config: &config::Cache, database: Option<&Path>) -> Result<Self, MacKeyError> {
        let previous = MacKey::configured(&config.mac_key_previous);
        let current = match (MacKey::configured(&config.mac_key), database) {
            (Some(key), _) => key,
            (None, Some(database)) => MacKey::derive(&file::read_or_create(database)?),
            (None, None) => return Err(MacKeyError::Missing),
        };
        Ok(Self { current, previous })
    }

    /// The key that entries are written with.
    pub(super) fn current(&self) -> &MacKey {
        &self.current
    }

    /// The key of this name.
    pub(super) fn named(&self, id: KeyId) -> Option<&MacKey> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }
}

impl fmt::Debug for MacKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKeys(redacted)")
    }
}

// === impl MacKey ===

impl MacKey {
    fn configured(text: &SecretText) -> Option<Self> {
        let text = text.expose().trim();
        (!text.is_empty()).then(|| Self::derive(text))
    }

    fn derive(text: &str) -> Self {
        let named = blake3::derive_key(ID_CONTEXT, text.as_bytes());
        let id = *named.first_chunk().expect("BLAKE3 is longer than a key's name");
        Self { id, key: Zeroizing::new(blake3::derive_key(KEY_CONTEXT, text.as_bytes())) }
    }

    /// Its public name.
    pub(super) fn id(&self) -> KeyId {
        self.id
    }

    /// The MAC over these parts, one after the other; only one of them may vary in length.
    pub(super) fn mac(&self, parts: [&[u8]; 3]) -> Mac {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in parts {
            hasher.update(part);
        }
        *hasher.finalize().as_bytes().first_chunk().expect("BLAKE3 is longer than a MAC")
    }

    /// Whether `mac` is the one over these parts, in a time that does not tell how much of it is.
    pub(super) fn verifies(&self, parts: [&[u8]; 3], mac: &Mac) -> bool {
        self.mac(parts).ct_eq(mac).into()
    }
}
