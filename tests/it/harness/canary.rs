//! Secrets of this process's tests, and where a part of one shows.
//!
//! The harness knows every token that its clients were issued or asked about, and every key and password that it gave
//! a server; what a server printed is searched for them when it ends, and so is what Redis and the databases hold
//! (`held.rs`). So each test of the suite is a test of this too, at the log level that `TOKENWARD_TEST_LOG` names
//! (`make secrets`: trace).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{LazyLock, Mutex, PoisonError},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// So many bytes in a row of a secret, or of a way to write it, are a find.
pub(crate) const PART: usize = 16;
/// So many secrets are remembered of a process; a flood of tokens needs no more.
const ENOUGH: usize = 256;
/// Digits of a token that this service issues.
const DIGITS: usize = 64;

/// Secrets, by each part of each way to write them.
#[derive(Default)]
pub(crate) struct Canaries {
    parts: HashMap<[u8; PART], usize>,
    names: Vec<String>,
}

static KNOWN: LazyLock<Mutex<Canaries>> = LazyLock::new(Mutex::default);

// === impl Canaries ===

impl Canaries {
    /// Adds a secret: as it is, in upper case, in hexadecimal and in base64.
    pub(crate) fn add(&mut self, secret: &str) {
        // A made-up token of few characters is none, and may be what an empty token_id looks like.
        if self.names.iter().any(|known| known == secret) || secret.bytes().collect::<BTreeSet<_>>().len() < 4 {
            return;
        }
        let name = self.name(secret);
        let at = secret.len().saturating_sub(DIGITS);
        let random = secret.get(at..).and_then(|digits| hex::decode(digits).ok());
        for bytes in [Some(secret.as_bytes().to_vec()), Some(secret.to_uppercase().into_bytes()), random] {
            self.add_forms(name, &bytes.unwrap_or_default());
        }
    }

    /// Adds bytes that must not show, as they are, in hexadecimal and in base64.
    pub(crate) fn add_bytes(&mut self, name: &str, bytes: &[u8]) {
        let name = self.name(name);
        self.add_forms(name, bytes);
    }

    /// The secrets of which a part is in the text, with the text around it.
    pub(crate) fn found_in(&self, text: &[u8]) -> BTreeSet<String> {
        let parts = text.windows(PART).enumerate();
        let found = parts.filter_map(|(at, part)| {
            let name = *self.parts.get(<&[u8; PART]>::try_from(part).ok()?)?;
            let around = &text[at.saturating_sub(60)..text.len().min(at + 100)];
            Some((name, String::from_utf8_lossy(around).into_owned()))
        });
        // The first place of each is enough.
        let mut first = HashMap::new();
        for (name, around) in found {
            first.entry(name).or_insert(around);
        }
        first.into_iter().map(|(name, around)| format!("{} in {around:?}", self.names[name])).collect()
    }

    fn name(&mut self, name: &str) -> usize {
        self.names.push(name.to_owned());
        self.names.len() - 1
    }

    fn add_forms(&mut self, name: usize, bytes: &[u8]) {
        let mut forms = vec![bytes.to_vec(), hex::encode(bytes).into_bytes(), hex::encode_upper(bytes).into_bytes()];
        // Wherever in it a group of three begins.
        for tail in (0..3).filter_map(|skipped| bytes.get(skipped..)) {
            forms.extend([STANDARD_NO_PAD.encode(tail).into_bytes(), URL_SAFE_NO_PAD.encode(tail).into_bytes()]);
        }
        for form in forms {
            self.parts.extend(form.windows(PART).filter_map(|part| Some((part.try_into().ok()?, name))));
        }
    }
}

/// Takes note of a secret that no server of this process may show. One that is too short to be told from a word is none.
pub(crate) fn know(secret: &str) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if secret.len() >= PART && known.names.len() < ENOUGH {
        known.add(secret);
    }
}

/// Whether there is nothing to search for.
pub(crate) fn none_is_known() -> bool {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).names.is_empty()
}

/// Fails when a part of a known secret is in the text.
pub(crate) fn assert_unseen(text: &[u8], place: &str) {
    let found = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).found_in(text);
    assert!(found.is_empty(), "{place} holds a part of {found:#?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_secret_is_found_however_it_is_written() {
        let secret = format!("acme_{}", hex::encode([0x5a, 0xc3].repeat(16)));
        let mut canaries = Canaries::default();
        canaries.add(&secret);
        let found = |text: &[u8]| !canaries.found_in(&[b"before ", text, b" after"].concat()).is_empty();
        assert!(!found(b"nothing of that kind, however long it may be"));
        assert!(!found(&secret.as_bytes()[10..25]), "15 bytes are the selector that knox keeps");
        assert!(found(&secret.as_bytes()[10..26]));
        assert!(found(secret.to_uppercase().as_bytes()));
        assert!(found(hex::encode(&secret).as_bytes()));
        assert!(found(&[0x5a, 0xc3].repeat(8)), "its random bytes");
        for before in ["", "x", "xy"] {
            assert!(found(STANDARD_NO_PAD.encode(format!("{before}{secret}")).as_bytes()), "after {before:?}");
        }
    }
}
