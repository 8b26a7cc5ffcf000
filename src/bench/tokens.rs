//! The tokens of a run, and what a right answer about each is.

use prost::bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::wire::framed;
use crate::proto::{AuthenticateRequest, BatchAuthenticateRequest, InactiveReason};

/// Tokens, by number. Number `n` is of user `n` modulo their count.
#[derive(Debug)]
pub(super) struct Tokens {
    secrets: Secrets,
    users: Vec<String>,
    /// Whether an answer without an owner will do.
    owner: Owned,
    /// Distance in numbers from one known token to the next.
    stride: u64,
    /// Framed requests about the known tokens.
    requests: Vec<Bytes>,
}

#[derive(Debug)]
enum Secrets {
    /// The token's text is a function of its number, which the database can compute too.
    Derived,
    /// What `IssueToken` answered.
    Issued(Vec<String>),
}

/// Whether answers say whose a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owned {
    /// They do.
    Always,
    /// They do, or they say nothing of it: an echo knows no owner.
    IfTold,
}

/// What a judge looks at in an `AuthenticateResponse`; the rest is skipped.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Verdict {
    #[prost(bool, tag = "1")]
    pub(super) active: bool,
    #[prost(enumeration = "InactiveReason", tag = "2")]
    pub(super) inactive_reason: i32,
    #[prost(int32, tag = "4")]
    pub(super) source: i32,
    #[prost(message, optional, tag = "7")]
    pub(super) user: Option<Owner>,
}

/// The same of a `User`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Owner {
    #[prost(string, tag = "1")]
    pub(super) user_id: String,
}

/// The same of a `BatchAuthenticateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Verdicts {
    #[prost(message, repeated, tag = "1")]
    pub(super) responses: Vec<Verdict>,
}

// === impl Tokens ===

impl Tokens {
    /// Tokens whose text follows from their number, and of which every `stride`-th is known.
    pub(super) fn derived(known: u64, users: u64, stride: u64, owner: Owned) -> Self {
        Self::new(Secrets::Derived, known, users, stride, owner)
    }

    /// These tokens, all of them known.
    pub(super) fn issued(secrets: Vec<String>, users: u64) -> Self {
        let known = secrets.len() as u64;
        Self::new(Secrets::Issued(secrets), known, users, 1, Owned::Always)
    }

    fn new(secrets: Secrets, known: u64, users: u64, stride: u64, owner: Owned) -> Self {
        let users = (0..users).map(user).collect();
        let mut tokens = Self { secrets, users, owner, stride, requests: Vec::new() };
        tokens.requests = (0..known).map(|nth| tokens.request(tokens.number(nth))).collect();
        tokens
    }

    /// How many are known: those that hits are about.
    pub(super) fn known(&self) -> u64 {
        self.requests.len() as u64
    }

    /// The number of the `nth` known token.
    pub(super) fn number(&self, nth: u64) -> u64 {
        nth * self.stride
    }

    /// The request about the `nth` known token.
    pub(super) fn known_request(&self, nth: u64) -> Bytes {
        self.requests[usize::try_from(nth).expect("it indexes a vector")].clone()
    }

    /// A request about any token.
    pub(super) fn request(&self, number: u64) -> Bytes {
        framed(&about(self.secret(number)))
    }

    /// One request about several known tokens.
    pub(super) fn batch(&self, nths: &[u64]) -> Bytes {
        let requests = nths.iter().map(|nth| about(self.secret(self.number(*nth)))).collect();
        framed(&BatchAuthenticateRequest { requests })
    }

    /// The text of a token.
    pub(super) fn secret(&self, number: u64) -> String {
        match &self.secrets {
            Secrets::Derived => secret(number),
            Secrets::Issued(secrets) => secrets[usize::try_from(number).expect("it indexes a vector")].clone(),
        }
    }

    /// Whether a verdict is that the token is active and this user's.
    pub(super) fn is_right(&self, number: u64, verdict: &Verdict) -> bool {
        let owner = &self.users[usize::try_from(number % self.users.len() as u64).expect("it indexes a vector")];
        verdict.active
            && match &verdict.user {
                Some(user) => user.user_id == *owner,
                None => self.owner == Owned::IfTold,
            }
    }
}

/// The name of a user.
pub(super) fn user(number: u64) -> String {
    format!("bench-{number}")
}

/// A token that was never issued.
pub(super) fn unknown() -> Bytes {
    framed(&about(hex::encode(rand::random::<[u8; 32]>())))
}

/// SQL that puts users and the tokens numbered `from` to `to` less one into the tables of schema `native`, on PostgreSQL.
pub(super) fn sql(from: u64, to: u64, users: u64) -> [String; 3] {
    let last = to - 1;
    let tokens = format!(
        "SELECT n, s AS secret, encode(sha512(s::bytea), 'hex') AS digest, 'bench-' || n % {users} AS owner FROM \
         (SELECT n, encode(sha256(('tokenward bench ' || n)::bytea), 'hex') AS s FROM generate_series({from}, {last}) n) t"
    );
    [
        format!(
            "INSERT INTO tokenward_user (id, active, attributes) \
             SELECT 'bench-' || n, true, '{{}}' FROM generate_series(0, {users} - 1) n ON CONFLICT DO NOTHING"
        ),
        format!(
            "INSERT INTO tokenward_token (digest, token_key, user_id, created, expiry) \
             SELECT digest, left(secret, 15), owner, now(), now() + interval '1 day' FROM ({tokens}) x"
        ),
        format!(
            "INSERT INTO tokenward_token_detail \
             (digest, user_id, display_name, scopes, metadata, hint, created, expiry) \
             SELECT digest, owner, '', '[]', '{{}}', left(secret, 4), now(), now() + interval '1 day' FROM ({tokens}) x"
        ),
    ]
}

fn secret(number: u64) -> String {
    hex::encode(Sha256::digest(format!("tokenward bench {number}")))
}

fn about(token: String) -> AuthenticateRequest {
    AuthenticateRequest { token, ..AuthenticateRequest::default() }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::{AuthenticateResponse, User};

    #[test]
    fn a_verdict_is_right_when_the_token_is_active_and_its_owners() {
        let tokens = Tokens::derived(4, 3, 10, Owned::Always);
        let answer = |active, number| {
            let user = Some(User { user_id: user(number), active: true, ..User::default() });
            let response = AuthenticateResponse { active, user, source: 3, ..AuthenticateResponse::default() };
            Verdict::decode(response.encode_to_vec().as_slice()).unwrap()
        };
        assert_eq!(tokens.number(2), 20);
        assert!(tokens.is_right(20, &answer(true, 2)));
        assert!(!tokens.is_right(20, &answer(false, 2)));
        assert!(!tokens.is_right(20, &answer(true, 0)));
        let echo = Verdict { active: true, ..Verdict::default() };
        assert!(!tokens.is_right(20, &echo));
        assert!(Tokens::derived(4, 3, 10, Owned::IfTold).is_right(20, &echo));
        assert_eq!(answer(true, 2).source, 3);
    }
}
