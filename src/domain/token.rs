//! The secret, and everything that is derived from it.
//!
//! [`Token`] is the only type that holds a secret. It has no `Display`, no
//! `Serialize` and a hand-written `Debug`, it is wiped when dropped, and only of it can
//! a [`Digest`] be made, so a plaintext can never become a database or cache key.
//!
//! The format is django-rest-knox's (5.x): `prefix + 64 lower-case hex`; another one stands in
//! `form.rs`. What it is stored under stands in `digest.rs`.

use std::{fmt, str::FromStr};

use rand::{TryRng as _, rngs::SysRng};
use zeroize::{Zeroize as _, Zeroizing};

use super::digest::{Digest, Hashing};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 512;
/// Random bytes in a token that we issue: 256 bits.
pub const SECRET_BYTES: usize = 32;
/// Characters of a token that knox keeps in clear as a selector.
const TOKEN_KEY_CHARS: usize = 15;

/// An opaque bearer token as presented: 1 to 512 bytes of visible ASCII.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

/// knox's `token_key`: the first 15 characters of the token. A selector, not unique.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenKey {
    text: [u8; TOKEN_KEY_CHARS],
    length: u8,
}

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

    /// The key under which knox 5 stores the token unless told otherwise. How a deployment
    /// stores its tokens, its [`Hashing`] knows.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Hashing::default().digest(self)
    }

    /// knox's selector column.
    #[must_use]
    pub fn key(&self) -> TokenKey {
        let (mut text, length) = ([0; TOKEN_KEY_CHARS], self.0.len().min(TOKEN_KEY_CHARS));
        text[..length].copy_from_slice(&self.0.as_bytes()[..length]);
        TokenKey { text, length: u8::try_from(length).expect("at most 15") }
    }

    /// A token of another format.
    pub(super) fn written(text: Zeroizing<String>) -> Self {
        Self(text)
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

// === impl TokenKey ===

impl TokenKey {
    /// The column's value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..usize::from(self.length)]).expect("a token is ASCII")
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(redacted)")
    }
}

// === impl TokenPrefix ===

impl TokenPrefix {
    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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
    fn issued_tokens_are_prefix_and_64_lower_hex_and_never_repeat() {
        let prefix: TokenPrefix = "kx_".parse().expect("a prefix");
        let issued = Token::of(&prefix, &Secret::random());
        let (head, digits) = issued.expose().split_at(3);
        assert_eq!(head, "kx_");
        assert_eq!(digits.len(), 64);
        assert!(digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
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
    fn prefixes_are_short_visible_ascii() {
        assert!("0123456789".parse::<TokenPrefix>().is_ok());
        assert!("01234567890".parse::<TokenPrefix>().is_err());
        assert!("a b".parse::<TokenPrefix>().is_err());
    }
}
