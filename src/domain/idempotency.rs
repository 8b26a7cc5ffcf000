//! Lets a retried IssueToken return the first secret without the database being able to.
//!
//! The secret is sealed under a key that only the client's `request_id` gives; the
//! database holds a hash of the `request_id` and the sealed secret, for
//! `tokens.request_id_retention`. Who reads the table learns nothing as long as the
//! `request_id` cannot be guessed: a random UUID (RFC 9562, version 4) has 122 random bits.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256, Sha512};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    ports::IdempotentRequest,
    token::{SECRET_BYTES, Secret},
};

/// What is kept of a request: a hash of its id, a hash of its body, and the sealed secret.
pub(super) fn seal(request_id: Uuid, body: [u8; 32], secret: &Secret) -> IdempotentRequest {
    let salt = Secret::random();
    let mut sealed = [0; 2 * SECRET_BYTES];
    let (head, tail) = sealed.split_at_mut(SECRET_BYTES);
    head.copy_from_slice(salt.expose());
    tail.copy_from_slice(mask(request_id, salt.expose(), secret.expose()).as_slice());
    IdempotentRequest { id: name(request_id), body, sealed }
}

/// The secret that [`seal`] sealed under the same `request_id`; another id gives another secret.
pub(super) fn open(request_id: Uuid, kept: &IdempotentRequest) -> Secret {
    let (salt, sealed) = kept.sealed.split_at(SECRET_BYTES);
    Secret::from_bytes(*mask(request_id, salt, sealed))
}

fn name(request_id: Uuid) -> [u8; 32] {
    Sha256::new().chain_update(b"tokenward request_id v1").chain_update(request_id.as_bytes()).finalize().into()
}

/// XOR with a key stream that is used once: the salt is fresh for each seal (RFC 5869).
fn mask(request_id: Uuid, salt: &[u8], text: &[u8]) -> Zeroizing<[u8; SECRET_BYTES]> {
    let mut stream = Zeroizing::new([0; SECRET_BYTES]);
    Hkdf::<Sha512>::new(Some(salt), request_id.as_bytes())
        .expand(b"tokenward sealed secret v1", stream.as_mut_slice())
        .expect("HKDF-SHA-512 gives up to 16,320 bytes");
    stream.iter_mut().zip(text).for_each(|(key, byte)| *key ^= byte);
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_request_id_opens() {
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let secret = Secret::from_bytes([7; 32]);
        let kept = seal(id, [0; 32], &secret);
        assert_eq!(open(id, &kept).expose(), secret.expose());
        assert_ne!(open(other, &kept).expose(), secret.expose());
        assert!(!kept.sealed.windows(32).any(|part| part == secret.expose()), "the secret is not kept in clear");
    }

    #[test]
    fn two_seals_of_one_secret_differ() {
        let (id, secret) = (Uuid::from_u128(1), Secret::from_bytes([7; 32]));
        assert_ne!(seal(id, [0; 32], &secret).sealed, seal(id, [0; 32], &secret).sealed);
        assert_eq!(seal(id, [0; 32], &secret).id, seal(id, [0; 32], &secret).id);
    }
}
