//! Page tokens: opaque to clients, and refused when this service did not make them for
//! the same listing.
//!
//! `base64url(created µs, 8 bytes | digest, 64 bytes | check, 8 bytes)`, where the
//! check is the head of a SHA-256 over the place and the listing's other fields. A page
//! token names a place in an order, nothing secret, so the check has no key: who
//! computes one gains what a listing would have shown anyway.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Datelike as _};
use sha2::{Digest as _, Sha256};

use crate::domain::{Cursor, Digest, TokenState, UserId};

const CHECK_BYTES: usize = 8;

/// Why a text is not a page token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is the next_page_token of the same listing")]
pub(super) struct InvalidPageToken;

/// Writes a place in the listing of a user's tokens in some states.
pub(super) fn write(cursor: Cursor, user: &str, states: &[TokenState]) -> String {
    let mut bytes = Vec::with_capacity(8 + 64 + CHECK_BYTES);
    bytes.extend(cursor.created.timestamp_micros().to_be_bytes());
    bytes.extend(cursor.digest.as_bytes());
    let check = check(&bytes, user, states);
    bytes.extend(check);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads one that was made for the same listing.
pub(super) fn read(text: &str, user: &str, states: &[TokenState]) -> Result<Cursor, InvalidPageToken> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidPageToken)?;
    let (place, sum) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(InvalidPageToken)?;
    let (micros, digest) = place.split_first_chunk::<8>().ok_or(InvalidPageToken)?;
    if *sum != check(place, user, states) {
        return Err(InvalidPageToken);
    }
    let created = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros)).ok_or(InvalidPageToken)?;
    // Who computes a check must still name a time that every database has.
    if !(1..=9999).contains(&created.year()) {
        return Err(InvalidPageToken);
    }
    let digest = Digest::from_bytes(digest.try_into().map_err(|_| InvalidPageToken)?);
    Ok(Cursor { created, digest })
}

/// Writes a place in the listing of users: after this one.
pub(crate) fn after_user(user: &UserId) -> String {
    let mut bytes = user.as_str().as_bytes().to_vec();
    let check = check_user(&bytes);
    bytes.extend(check);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads one that [`after_user`] wrote.
pub(super) fn read_user(text: &str) -> Result<UserId, InvalidPageToken> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidPageToken)?;
    let (user, sum) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(InvalidPageToken)?;
    let user = std::str::from_utf8(user).ok().filter(|_| *sum == check_user(user)).ok_or(InvalidPageToken)?;
    user.parse().map_err(|_| InvalidPageToken)
}

fn check_user(user: &[u8]) -> [u8; CHECK_BYTES] {
    let sum = Sha256::new().chain_update(b"tokenward user page v1").chain_update(user).finalize();
    std::array::from_fn(|index| sum[index])
}

fn check(place: &[u8], user: &str, states: &[TokenState]) -> [u8; CHECK_BYTES] {
    let sum = Sha256::new()
        .chain_update(b"tokenward page v1")
        .chain_update(place)
        .chain_update(format!("{states:?}"))
        .chain_update(user)
        .finalize();
    std::array::from_fn(|index| sum[index])
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Token;

    #[test]
    fn a_place_among_users_is_read_as_it_was_written() {
        let user: UserId = "\u{fc}ser 7".parse().expect("a user");
        let text = after_user(&user);
        assert_eq!(read_user(&text), Ok(user));
        for foreign in ["", "x", "AAAA", &text[1..], &"A".repeat(200)] {
            assert_eq!(read_user(foreign), Err(InvalidPageToken), "{foreign}");
        }
    }

    #[test]
    fn only_the_same_listing_reads_it() {
        let digest = Token::parse("t".to_owned()).expect("well-formed").digest();
        let created = DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time");
        let (cursor, active) = (Cursor { created, digest }, [TokenState::Active]);
        let text = write(cursor, "u", &active);
        assert_eq!(read(&text, "u", &active), Ok(cursor));
        assert_eq!(read(&text, "v", &active), Err(InvalidPageToken));
        assert_eq!(read(&text, "u", &[TokenState::Revoked]), Err(InvalidPageToken));
        let never = Cursor { created: DateTime::from_timestamp_micros(i64::MAX / 1_000).expect("a time"), digest };
        let before = Cursor { created: DateTime::from_timestamp(-62_135_596_801, 0).expect("a time"), digest };
        let after = Cursor { created: DateTime::from_timestamp(253_402_300_800, 0).expect("a time"), digest };
        for beyond in [before, after] {
            assert_eq!(read(&write(beyond, "u", &active), "u", &active), Err(InvalidPageToken));
        }
        assert_eq!(read(&write(never, "u", &active), "u", &active), Ok(never));
        for foreign in ["x", "AAAA", "\u{e9}", &text[1..], &"A".repeat(107)] {
            assert_eq!(read(foreign, "u", &active), Err(InvalidPageToken), "{foreign}");
        }
    }
}
