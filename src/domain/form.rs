//! How tokens are written, and which of those that are presented can be good.
//!
//! A token is 256 random bits behind the prefix. django-rest-knox writes them as 64 hexadecimal
//! digits. With a checksum they are 43 digits of base 62, and 6 more of those digits' CRC32
//! (the prefix does not count), as in GitHub's tokens: one that was mistyped or made up is told without a look-up,
//! and a scanner for leaked secrets finds them by their shape.

use zeroize::Zeroizing;

use super::token::{SECRET_BYTES, Secret, Token, TokenPrefix};

/// The digits of base 62, in GitHub's order.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of 256 bits: 62^43 is the first power above 2^256.
const BODY_CHARS: usize = 43;
/// Digits of a CRC32.
const CHECKSUM_CHARS: usize = 6;
/// The fewest digits of a knox token that is looked up: `AUTH_TOKEN_CHARACTER_LENGTH` may be less than 64.
const MIN_KNOX_DIGITS: usize = 32;

/// How this deployment writes tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenForm {
    prefix: TokenPrefix,
    format: TokenFormat,
}

/// What follows a token's prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// 64 lower-case hexadecimal digits.
    #[default]
    Knox,
    /// 43 digits of base 62 and a checksum of 6.
    Checksummed,
}

/// Why tokens with a checksum cannot be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tokens with a checksum need a prefix whose last character is none of 0-9 and a-f")]
pub struct AmbiguousPrefix;

// === impl TokenForm ===

impl TokenForm {
    /// Tokens of this format behind this prefix.
    ///
    /// # Errors
    /// [`AmbiguousPrefix`] for a checksum behind a prefix with which a token of hexadecimal digits, or of a
    /// shorter prefix and such digits, may begin: it would be refused for its checksum.
    pub fn new(prefix: TokenPrefix, format: TokenFormat) -> Result<Self, AmbiguousPrefix> {
        let last = prefix.as_str().bytes().last();
        let ambiguous = last.is_none_or(|last| matches!(last, b'0'..=b'9' | b'a'..=b'f'));
        if format == TokenFormat::Checksummed && ambiguous { Err(AmbiguousPrefix) } else { Ok(Self { prefix, format }) }
    }

    /// The head of every token.
    #[must_use]
    pub fn prefix(&self) -> &TokenPrefix {
        &self.prefix
    }

    /// Writes the token of a secret.
    #[must_use]
    pub fn write(&self, secret: &Secret) -> Token {
        written(&self.prefix, self.format, secret)
    }

    /// Writes the token of a secret in each format, this deployment's first: what it is set to may have
    /// changed since the secret was written.
    #[must_use]
    pub fn spellings(&self, secret: &Secret) -> [Token; 2] {
        let other = match self.format {
            TokenFormat::Knox => TokenFormat::Checksummed,
            TokenFormat::Checksummed => TokenFormat::Knox,
        };
        [self.format, other].map(|format| written(&self.prefix, format, secret))
    }

    /// False for a token that begins with our prefix and that nobody has issued: it has neither a right checksum
    /// nor knox's form. Decided from its text alone. Without a checksum there is nothing to tell it by.
    #[must_use]
    pub fn admits(&self, token: &Token) -> bool {
        match (self.format, token.expose().strip_prefix(self.prefix.as_str())) {
            (TokenFormat::Knox, _) | (_, None) => true,
            (TokenFormat::Checksummed, Some(tail)) => is_knox(tail) || is_checksummed(tail),
        }
    }

    /// The non-secret head that people recognise a token by: the prefix and 4 characters.
    ///
    /// At most 24 of the secret's 256 bits are given away; knox's `token_key` holds more.
    #[must_use]
    pub fn hint(&self, token: &Token) -> String {
        let text = token.expose();
        text[..text.len().min(self.prefix.as_str().len() + 4)].to_owned()
    }
}

fn written(prefix: &TokenPrefix, format: TokenFormat, secret: &Secret) -> Token {
    match format {
        TokenFormat::Knox => Token::of(prefix, secret),
        TokenFormat::Checksummed => checksummed(prefix, secret),
    }
}

fn checksummed(prefix: &TokenPrefix, secret: &Secret) -> Token {
    let length = prefix.as_str().len() + BODY_CHARS + CHECKSUM_CHARS;
    let mut text = Zeroizing::new(String::with_capacity(length));
    text.push_str(prefix.as_str());
    let body = base62::<SECRET_BYTES, BODY_CHARS>(*secret.expose());
    text.extend(body.iter().map(|digit| char::from(*digit)));
    let sum = checksum(body.as_slice());
    text.extend(sum.iter().map(|digit| char::from(*digit)));
    Token::written(text)
}

/// A CRC32 finds each change of up to 32 bits in a row, so each wrong character and each two that changed places.
fn checksum(body: &[u8]) -> Zeroizing<[u8; CHECKSUM_CHARS]> {
    base62(crc32fast::hash(body).to_be_bytes())
}

fn is_checksummed(tail: &str) -> bool {
    let shape = tail.len() == BODY_CHARS + CHECKSUM_CHARS && tail.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (body, sum) = tail.as_bytes().split_at(tail.len().saturating_sub(CHECKSUM_CHARS));
    shape && checksum(body).as_slice() == sum
}

/// knox writes bytes, so that the number of its digits is even, and no token with a checksum has its form.
fn is_knox(tail: &str) -> bool {
    let digits = || tail.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    tail.len() >= MIN_KNOX_DIGITS && tail.len().is_multiple_of(2) && digits()
}

/// A number, its most significant byte first, in as many digits of base 62.
fn base62<const BYTES: usize, const CHARS: usize>(number: [u8; BYTES]) -> Zeroizing<[u8; CHARS]> {
    let mut rest = Zeroizing::new(number);
    let mut digits = Zeroizing::new([0; CHARS]);
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_usize;
        for byte in rest.iter_mut() {
            let part = remainder << 8 | usize::from(*byte);
            *byte = u8::try_from(part / 62).expect("a remainder below 62 leaves less than 256");
            remainder = part % 62;
        }
        *digit = DIGITS[remainder];
    }
    digits
}

#[cfg(test)]
mod tests;
