//! The secret, and everything that is derived from it.
//!
//! [`Token`] is the only type that holds a secret. It has no `Display`, no
//! `Serialize` and a hand-written `Debug`, it is wiped when dropped, and only it can
//! make a [`Digest`], so a plaintext can never become a database or cache key.
//!
//! The formats are django-rest-knox's (5.x): `prefix + 64 lower-case hex`, stored as
//! the SHA-512 of its UTF-8 bytes.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use rand::{TryRng as _, rngs::SysRng};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 512;
/// Random bytes in a token that we issue: 256 bits.
pub const SECRET_BYTES: usize = 32;
/// Characters of a token that knox keeps in clear as a selector.
const TOKEN_KEY_CHARS: usize = 15;
/// Characters of the digest's hex that make a [`TokenId`].
const TOKEN_ID_BYTES: usize = 16;

/// An opaque bearer token as presented: 1 to 512 bytes of visible ASCII.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

/// SHA-512 of a token; the primary key of its row. Not a secret that opens anything,
/// but kept out of logs: [`TokenId`] is the loggable form.
#[derive(Clone, Copy, PartialOrd, Ord)]
pub struct Digest([u8; 64]);

/// knox's `token_key`: the first 15 characters of the token. A selector, not unique.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey(String);

/// The public, loggable name of a token: the first 32 hex characters of its digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; TOKEN_ID_BYTES]);

/// The fixed head of the tokens that this deployment issues; at most 10 visible ASCII
/// characters, as knox allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenPrefix(String);

/// 32 random bytes from which a token is written.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; SECRET_BYTES]>);

/// Why a string is not a token. Decided without I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedToken {
    /// Nothing was sent.
    #[error("it is empty")]
    Empty,
    /// Over [`MAX_TOKEN_BYTES`].
    #[error("it is longer than 512 bytes")]
    TooLong,
    /// NUL, white space, control or non-ASCII characters.
    #[error("it has a character that is not visible ASCII")]
    Character,
}

/// Why a string is not a [`TokenPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token prefix is at most 10 visible ASCII characters")]
pub struct InvalidPrefix;

/// Why a string is not a [`TokenId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token_id is 32 lower-case hexadecimal characters")]
pub struct InvalidTokenId;

/// Why a string is not a [`Digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 128 lower-case hexadecimal characters")]
pub struct InvalidDigest;

// === impl Token ===

impl Token {
    /// Takes a token as the client sent it.
    ///
    /// # Errors
    /// [`MalformedToken`] when no issuer could have made it; no lookup is needed then.
    pub fn parse(mut presented: String) -> Result<Self, MalformedToken> {
        match check(presented.as_bytes()) {
            Ok(()) => Ok(Self(Zeroizing::new(presented))),
            Err(fault) => {
                presented.zeroize();
                Err(fault)
            }
        }
    }

    /// Writes the token of a secret: `prefix + hex(secret)`.
    #[must_use]
    pub fn of(prefix: &TokenPrefix, secret: &Secret) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(prefix.0.len() + 2 * SECRET_BYTES));
        text.push_str(&prefix.0);
        let mut digits = [0; 2 * SECRET_BYTES];
        hex::encode_to_slice(secret.0.as_slice(), &mut digits).expect("the buffer is twice the secret");
        text.extend(digits.iter().map(|digit| char::from(*digit)));
        digits.zeroize();
        Self(text)
    }

    /// The key under which the token is stored.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Sha512::digest(self.0.as_bytes()).into())
    }

    /// knox's selector column.
    #[must_use]
    pub fn key(&self) -> TokenKey {
        TokenKey(self.0[..self.0.len().min(TOKEN_KEY_CHARS)].to_owned())
    }

    /// The non-secret head that people recognise a token by: the prefix and 4 characters.
    ///
    /// 16 of the secret's 256 bits are given away, as knox's `token_key` does with 60.
    #[must_use]
    pub fn hint(&self, prefix: &TokenPrefix) -> String {
        self.0[..self.0.len().min(prefix.0.len() + 4)].to_owned()
    }

    /// The secret, for the one response that hands it to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

fn check(presented: &[u8]) -> Result<(), MalformedToken> {
    if presented.is_empty() {
        return Err(MalformedToken::Empty);
    }
    if presented.len() > MAX_TOKEN_BYTES {
        return Err(MalformedToken::TooLong);
    }
    if !presented.iter().all(u8::is_ascii_graphic) {
        return Err(MalformedToken::Character);
    }
    Ok(())
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

// === impl Digest ===

impl Digest {
    /// The raw 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// A digest that another part of this program wrote.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// 128 lower-case hexadecimal characters, as the database holds it.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Reads the database's form.
    ///
    /// # Errors
    /// [`InvalidDigest`] for anything but 128 lower-case hexadecimal characters.
    pub fn from_hex(text: &str) -> Result<Self, InvalidDigest> {
        Ok(Self(lower_hex(text).ok_or(InvalidDigest)?))
    }

    /// The loggable name.
    #[must_use]
    pub fn token_id(self) -> TokenId {
        let (head, _) = self.0.split_first_chunk().expect("a digest is longer than a token_id");
        TokenId(*head)
    }
}

impl PartialEq for Digest {
    /// Takes the same time wherever two digests differ.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}..)", self.token_id())
    }
}

// === impl TokenKey ===

impl TokenKey {
    /// The column's value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(redacted)")
    }
}

// === impl TokenId ===

impl FromStr for TokenId {
    type Err = InvalidTokenId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(lower_hex(text).ok_or(InvalidTokenId)?))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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

// === impl TokenPrefix ===

impl FromStr for TokenPrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or(InvalidPrefix)
    }
}

// === impl Secret ===

impl Secret {
    /// 32 bytes from the operating system's random source.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: no token may be issued then.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        SysRng.try_fill_bytes(bytes.as_mut_slice()).expect("the operating system gives random bytes");
        Self(bytes)
    }

    /// A secret that was kept sealed.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for sealing them.
    #[must_use]
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn token(text: &str) -> Token {
        Token::parse(text.to_owned()).expect("well-formed")
    }

    #[test]
    fn digest_and_key_match_knox_5() {
        let plain = token(PLAIN);
        assert_eq!(
            plain.digest().to_hex(),
            "ad2981aa58beca63a49b8831274b89d81766a23d7932474f03e55cf00cbe27004e66fd0912aed0b3cb1afee2aa904115c89db49d6c9bad785523023a9c309561"
        );
        assert_eq!(plain.key().as_str(), "0123456789abcde");
        assert_eq!(plain.digest().token_id().to_string(), "ad2981aa58beca63a49b8831274b89d8");

        let prefixed = token(&format!("kx_{PLAIN}"));
        assert_eq!(
            prefixed.digest().to_hex(),
            "bba3640706b34d0a6f640f53f5b29d0c9a4f79be5cd0fa60d3bb1a6b8e9357a18b4f93cd7bb5f24c38a4bb5cc72399121ab0f2c5107d8588e3887e46952056f7"
        );
        assert_eq!(prefixed.key().as_str(), "kx_0123456789ab");
    }

    #[test]
    fn issued_tokens_are_prefix_and_64_lower_hex_and_never_repeat() {
        let prefix: TokenPrefix = "kx_".parse().expect("a prefix");
        let issued = Token::of(&prefix, &Secret::random());
        let (head, digits) = issued.expose().split_at(3);
        assert_eq!(head, "kx_");
        assert_eq!(digits.len(), 64);
        assert!(digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        assert_eq!(issued.hint(&prefix), issued.expose()[..7]);
        assert_ne!(issued.digest(), Token::of(&prefix, &Secret::random()).digest());
        assert_eq!(Token::of(&prefix, &Secret::from_bytes([0xab; 32])).expose(), format!("kx_{}", "ab".repeat(32)));
    }

    #[test]
    fn malformed_is_told_from_the_bytes_alone() {
        for (presented, fault) in [
            (String::new(), MalformedToken::Empty),
            ("a".repeat(513), MalformedToken::TooLong),
            ("a\0b".to_owned(), MalformedToken::Character),
            ("a b".to_owned(), MalformedToken::Character),
            ("a\n".to_owned(), MalformedToken::Character),
            ("\u{e9}".to_owned(), MalformedToken::Character),
            ("a\u{7f}".to_owned(), MalformedToken::Character),
        ] {
            assert_eq!(Token::parse(presented).expect_err("malformed"), fault);
        }
        assert!(Token::parse("a".repeat(512)).is_ok());
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?} {:?} {:?}", token(PLAIN), token(PLAIN).key(), Secret::from_bytes([1; 32]));
        assert_eq!(shown, "Token(redacted) TokenKey(redacted) Secret(redacted)");
    }

    #[test]
    fn names_are_read_strictly() {
        assert!("0123456789".parse::<TokenPrefix>().is_ok());
        assert!("01234567890".parse::<TokenPrefix>().is_err());
        assert!("a b".parse::<TokenPrefix>().is_err());
        assert!("AD2981AA58BECA63A49B8831274B89D8".parse::<TokenId>().is_err());
        assert!("ad29".parse::<TokenId>().is_err());
        assert!(Digest::from_hex(&"zz".repeat(64)).is_err());
    }
}
