//! What a token is stored under: a hash of it, and the public name that is cut from the hash.
//!
//! django-rest-knox has made digests in two ways. Version 5 hashes the token's text;
//! version 4.2 hashed the bytes that its hexadecimal digits stand for. A [`Hashing`] makes
//! one or both of a token, so that one look-up finds the row of either version.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use blake2::Blake2b512;
use sha2::{Digest as _, Sha256, Sha512};
use sha3::Sha3_512;
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::token::{Token, TokenKey};

/// The longest digest, in bytes.
const DIGEST_BYTES: usize = 64;
/// The shortest: SHA-256's.
const SHORT_DIGEST_BYTES: usize = 32;
/// Bytes of a digest that make a [`TokenId`].
const TOKEN_ID_BYTES: usize = 16;

/// Hash of a token; the primary key of its row. Not a secret that opens anything,
/// but kept out of logs: [`TokenId`] is the loggable form.
///
/// A digest of 32 bytes is filled up with zeros, and compared so: a digest of 64 bytes
/// that ends in 32 zeros is not found by chance.
#[derive(Clone, Copy)]
pub struct Digest {
    bytes: [u8; DIGEST_BYTES],
    /// How many of the bytes are the hash.
    length: u8,
}

/// The public, loggable name of a token: the first 32 hex characters of its digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; TOKEN_ID_BYTES]);

/// All that one token's row may be stored under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// As knox 5 and this service store it.
    pub current: Digest,
    /// As knox 4.2 did, where such rows are accepted and the token can be one of them.
    pub legacy: Option<Legacy>,
}

/// A row of knox 4.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// Its primary key.
    pub digest: Digest,
    /// The selector that knox 5 would have written into it.
    pub key: TokenKey,
}

/// How this deployment hashes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashing {
    /// The hash function.
    pub function: HashFunction,
    /// What to do about rows of knox 4.2.
    pub knox4: Knox4,
}

/// A hash function that knox can be told to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashFunction {
    /// SHA-512, which knox uses unless told otherwise.
    #[default]
    Sha512,
    /// SHA-256.
    Sha256,
    /// SHA3-512.
    Sha3,
    /// `BLAKE2b` with 64 bytes.
    Blake2b,
}

/// Whether tokens whose rows knox 4.2 wrote are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Knox4 {
    /// They are.
    Accepted,
    /// They are unknown.
    #[default]
    Unknown,
}

/// Why a string is not a [`TokenId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token_id is 32 lower-case hexadecimal characters")]
pub struct InvalidTokenId;

/// Why a string is not a [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 or 128 lower-case hexadecimal characters")]
pub struct InvalidDigest;

// === impl Digest ===

impl Digest {
    /// The 64 bytes that it is compared by.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.bytes
    }

    /// A digest that another part of this program wrote.
    #[must_use]
    pub fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self { bytes, length: 64 }
    }

    /// 128 lower-case hexadecimal characters, 64 with SHA-256, as the database holds it.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(&self.bytes[..usize::from(self.length)])
    }

    /// Reads the database's form.
    ///
    /// # Errors
    /// [`InvalidDigest`] for anything but 64 or 128 lower-case hexadecimal characters.
    pub fn from_hex(text: &str) -> Result<Self, InvalidDigest> {
        let short = || lower_hex::<SHORT_DIGEST_BYTES>(text).map(|bytes| Self::filled(&bytes));
        lower_hex(text).map(Self::from_bytes).or_else(short).ok_or(InvalidDigest)
    }

    /// The loggable name.
    #[must_use]
    pub fn token_id(self) -> TokenId {
        let (head, _) = self.bytes.split_first_chunk().expect("a digest is longer than a token_id");
        TokenId(*head)
    }

    fn filled(hash: &[u8; SHORT_DIGEST_BYTES]) -> Self {
        let mut bytes = [0; DIGEST_BYTES];
        bytes[..SHORT_DIGEST_BYTES].copy_from_slice(hash);
        Self { bytes, length: 32 }
    }
}

impl PartialEq for Digest {
    /// Takes the same time wherever two digests differ.
    fn eq(&self, other: &Self) -> bool {
        // By eight bytes: byte by byte is felt in a check that is answered from memory.
        let (ours, theirs) = (self.bytes.as_chunks().0.iter(), other.bytes.as_chunks().0.iter());
        let words = ours.zip(theirs).map(|(our, their)| (u64::from_ne_bytes(*our), u64::from_ne_bytes(*their)));
        words.fold(Choice::from(1), |same, (our, their)| same & our.ct_eq(&their)).into()
    }
}

impl Eq for Digest {}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}..)", self.token_id())
    }
}

// === impl Digests ===

impl Digests {
    /// Whether a row with this primary key is the token's.
    #[must_use]
    pub fn names(&self, digest: Digest) -> bool {
        self.all().any(|one| one == digest)
    }

    /// The current one, then the other.
    pub fn all(&self) -> impl Iterator<Item = Digest> + use<> {
        std::iter::once(self.current).chain(self.legacy.map(|legacy| legacy.digest))
    }
}

impl From<Digest> for Digests {
    fn from(current: Digest) -> Self {
        Self { current, legacy: None }
    }
}

// === impl Hashing ===

impl Hashing {
    /// What this service stores a token under.
    #[must_use]
    pub fn digest(self, token: &Token) -> Digest {
        self.function.digest(token.expose().as_bytes())
    }

    /// What a token that is presented may be stored under.
    #[must_use]
    pub fn digests(self, token: &Token) -> Digests {
        let legacy = match self.knox4 {
            Knox4::Accepted => self.legacy(token),
            Knox4::Unknown => None,
        };
        Digests { current: self.digest(token), legacy }
    }

    /// knox 4.2 issued nothing but pairs of lower-case hexadecimal digits. In capitals they
    /// would stand for the same bytes, and make a second spelling of one token.
    ///
    /// Digits that spell the text of a token out have the digest that the spelt token has by
    /// knox 5. Whoever holds that token could have its row rewritten to the longer spelling, which no
    /// revocation of the token would find. Random bytes are all visible ASCII once in 10^13 tokens.
    fn legacy(self, token: &Token) -> Option<Legacy> {
        let text = token.expose();
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let bytes = Zeroizing::new(hex::decode(text).ok().filter(|_| lower)?);
        if bytes.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        Some(Legacy { digest: self.function.digest(&bytes), key: token.key() })
    }
}

// === impl HashFunction ===

impl HashFunction {
    fn digest(self, text: &[u8]) -> Digest {
        match self {
            Self::Sha512 => Digest::from_bytes(Sha512::digest(text).into()),
            Self::Sha256 => Digest::filled(&Sha256::digest(text).into()),
            Self::Sha3 => Digest::from_bytes(Sha3_512::digest(text).into()),
            Self::Blake2b => Digest::from_bytes(Blake2b512::digest(text).into()),
        }
    }
}

// === impl TokenId ===

impl FromStr for TokenId {
    type Err = InvalidTokenId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(lower_hex(text).ok_or(InvalidTokenId)?))
    }
}

impl TokenId {
    /// Its 32 lower-case hexadecimal characters, in ASCII.
    #[must_use]
    pub fn digits(&self) -> [u8; 2 * TOKEN_ID_BYTES] {
        let mut digits = [0; 2 * TOKEN_ID_BYTES];
        hex::encode_to_slice(self.0, &mut digits).expect("the buffer is twice the name");
        digits
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// Exactly `N` bytes in lower-case hexadecimal; upper case would make two names for one token.
fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const KNOX5: &str = "ad2981aa58beca63a49b8831274b89d81766a23d7932474f03e55cf00cbe27004e66fd0912aed0b3cb1afee2aa904115c89db49d6c9bad785523023a9c309561";
    const KNOX4: &str = "b5829ce3ccf1d8edd5da1132d46271b0169f58b6414fd263d3c98da627170f5e13cb194ef464e3d3968547e043f8caf19e78db5b6693ba867b1a613b9c337cf0";
    const PREFIXED: &str = "bba3640706b34d0a6f640f53f5b29d0c9a4f79be5cd0fa60d3bb1a6b8e9357a18b4f93cd7bb5f24c38a4bb5cc72399121ab0f2c5107d8588e3887e46952056f7";
    const BOTH: Hashing = Hashing { function: HashFunction::Sha512, knox4: Knox4::Accepted };

    fn token(text: &str) -> Token {
        Token::parse(text.to_owned()).expect("well-formed")
    }

    #[test]
    fn digests_and_keys_match_knox_5_and_4() {
        let plain = BOTH.digests(&token(PLAIN));
        assert_eq!(plain.current.to_hex(), KNOX5);
        assert_eq!(plain.current.token_id().to_string(), "ad2981aa58beca63a49b8831274b89d8");
        let legacy = plain.legacy.expect("it can be one of knox 4.2");
        assert_eq!((legacy.digest.to_hex().as_str(), legacy.key.as_str()), (KNOX4, "0123456789abcde"));
        assert!(plain.names(legacy.digest) && plain.names(plain.current));

        let prefixed = BOTH.digests(&token(&format!("kx_{PLAIN}")));
        assert_eq!((prefixed.current.to_hex().as_str(), prefixed.legacy), (PREFIXED, None));
        assert_eq!(token(&format!("kx_{PLAIN}")).key().as_str(), "kx_0123456789ab");
        assert_eq!(Hashing::default().digests(&token(PLAIN)), plain.current.into(), "knox 4.2 is to be asked for");
    }

    #[test]
    fn two_digests_are_equal_when_each_bit_is() {
        let digest = Digest::from_bytes(std::array::from_fn(|index| u8::try_from(index).expect("below 64")));
        assert_eq!(digest, Digest::from_bytes(digest.bytes));
        for bit in 0..8 * DIGEST_BYTES {
            let mut bytes = digest.bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(digest, Digest::from_bytes(bytes), "bit {bit}");
        }
    }

    #[test]
    fn only_the_spelling_that_knox_4_issued_has_its_digest() {
        for other in [PLAIN.to_uppercase(), PLAIN[1..].to_owned(), format!("{PLAIN}zz")] {
            assert_eq!(BOTH.digests(&token(&other)).legacy, None, "{other}");
        }
    }

    #[test]
    fn the_digits_of_a_token_s_text_are_no_second_spelling_of_it() {
        for stolen in [PLAIN.to_owned(), format!("kx_{PLAIN}"), "0123456789abcdef0123456789abcdef".to_owned()] {
            let spelt = BOTH.digests(&token(&hex::encode(&stolen)));
            assert!(!spelt.names(BOTH.digest(&token(&stolen))), "{stolen}");
        }
    }

    #[test]
    fn every_hash_function_gives_its_standard_s_digest_of_abc() {
        for (function, digest) in [
            (
                HashFunction::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            (HashFunction::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                HashFunction::Sha3,
                "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
            ),
            (
                HashFunction::Blake2b,
                "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
            ),
        ] {
            let hashing = Hashing { function, ..Hashing::default() };
            let made = hashing.digest(&token("abc"));
            assert_eq!(made.to_hex(), digest);
            assert_eq!(Digest::from_hex(digest).expect("a digest").to_hex(), digest);
            assert_eq!(made.token_id().to_string(), digest[..32]);
        }
    }

    #[test]
    fn digests_and_names_are_read_strictly() {
        assert!("AD2981AA58BECA63A49B8831274B89D8".parse::<TokenId>().is_err());
        assert!("ad29".parse::<TokenId>().is_err());
        for bad in ["zz".repeat(64), "ab".repeat(63), "AB".repeat(64), "ab".repeat(33), String::new()] {
            assert!(Digest::from_hex(&bad).is_err(), "{bad}");
        }
    }
}
