//! Requests, checked: what is wrong with a field is said once, with its path, and never
//! with its value, which may be a secret.

use std::{collections::BTreeMap, fmt::Display, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{
    domain::{
        Error, Freshness, IssueRequest, Lifetime, MalformedToken, Named, PageRequest, Position, Presented, Quota,
        RevocationCause, Timestamp, Token, TokenId, TokenState, UserChange, UserId, Violation,
    },
    proto as pb,
};

use super::page_token;

/// Largest batch.
const MAX_BATCH: usize = 100;
/// Longest `display_name`, in characters.
const MAX_DISPLAY_NAME: usize = 128;
/// Most scopes on a token.
const MAX_SCOPES: usize = 64;
/// Longest scope, in bytes.
const MAX_SCOPE: usize = 128;
/// Most metadata or attributes: keys and values together, in bytes.
const MAX_MAP_BYTES: usize = 4096;
/// Largest page, and the page when none is asked for.
const MAX_PAGE: i32 = 1000;
const DEFAULT_PAGE: i32 = 50;

/// A request that is being checked: collects every violation before it is refused.
#[derive(Debug, Default)]
pub(super) struct Asked(Vec<Violation>);

// === impl Asked ===

impl Asked {
    pub(super) fn refuse(&mut self, field: impl Into<String>, description: impl Display) {
        self.0.push(Violation { field: field.into(), description: description.to_string() });
    }

    pub(super) fn field<T, E: Display>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|fault| self.refuse(field, fault)).ok()
    }

    pub(super) fn check(&mut self, field: &str, holds: Result<(), &'static str>) {
        self.field(field, holds);
    }

    /// The value, if nothing was refused.
    pub(super) fn answer<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Error::Invalid(self.0)),
        }
    }
}

/// One token to authenticate; `path` is where it stands in the request: empty, or `requests[3].`.
pub(crate) fn presented(
    request: pb::AuthenticateRequest,
    path: &str,
    quota: Option<&Arc<Quota>>,
) -> Result<Presented, Error> {
    let mut asked = Asked::default();
    let freshness = match pb::Consistency::try_from(request.consistency) {
        Ok(pb::Consistency::Unspecified | pb::Consistency::MinimizeLatency) => Freshness::Any,
        Ok(pb::Consistency::Shared) => Freshness::Shared,
        Ok(pb::Consistency::FullyConsistent) => Freshness::Primary,
        Err(_) => {
            asked.refuse(format!("{path}consistency"), "it is no value of Consistency");
            Freshness::Any
        }
    };
    let min_revision = revision(&mut asked, path, &request.min_revision);
    let token = match Token::parse(request.token) {
        Ok(token) => Some(token),
        Err(MalformedToken::Empty) => {
            asked.refuse(format!("{path}token"), "it is required");
            None
        }
        Err(MalformedToken::TooLong | MalformedToken::Character) => None,
    };
    let (required_scopes, quota) = (request.required_scopes, quota.cloned());
    asked.answer(Some(Presented { token, required_scopes, freshness, quota, min_revision }))
}

/// The place that an answer must reflect, if any.
fn revision(asked: &mut Asked, path: &str, revision: &str) -> Option<Position> {
    match revision {
        "" => None,
        text => asked.field(&format!("{path}min_revision"), text.parse()),
    }
}

/// Several tokens to authenticate.
pub(crate) fn batch(
    request: pb::BatchAuthenticateRequest,
    quota: Option<&Arc<Quota>>,
) -> Result<Vec<Presented>, Error> {
    if !(1..=MAX_BATCH).contains(&request.requests.len()) {
        return Err(Error::invalid("requests", "it has 1 to 100 requests"));
    }
    let mut violations = Vec::new();
    let mut all = Vec::with_capacity(request.requests.len());
    for (index, one) in request.requests.into_iter().enumerate() {
        match presented(one, &format!("requests[{index}]."), quota) {
            Ok(presented) => all.push(presented),
            Err(Error::Invalid(more)) => violations.extend(more),
            Err(other) => return Err(other),
        }
    }
    if violations.is_empty() { Ok(all) } else { Err(Error::Invalid(violations)) }
}

/// A token to issue.
pub(crate) fn issue(request: pb::IssueTokenRequest, issuer: Option<String>) -> Result<IssueRequest, Error> {
    let mut asked = Asked::default();
    let user = asked.field("user_id", request.user_id.parse::<UserId>());
    let lifetime = lifetime(&mut asked, request.expiration);
    asked.check("display_name", display_name(&request.display_name));
    asked.check("scopes", scopes(&request.scopes));
    let metadata = map(&mut asked, "metadata", request.metadata);
    let request_id = request_id(&mut asked, &request.request_id);
    let value = user.map(|user| IssueRequest {
        user,
        lifetime,
        display_name: request.display_name,
        scopes: request.scopes,
        metadata,
        issuer,
        request_id,
    });
    asked.answer(value)
}

fn lifetime(asked: &mut Asked, expiration: Option<pb::issue_token_request::Expiration>) -> Lifetime {
    use pb::issue_token_request::Expiration;
    let lifetime = match expiration {
        None | Some(Expiration::NeverExpires(false)) => Some(Lifetime::Default),
        Some(Expiration::NeverExpires(true)) => Some(Lifetime::Forever),
        Some(Expiration::Ttl(ttl)) => asked.field("ttl", positive(ttl)).map(Lifetime::For),
        Some(Expiration::ExpireTime(time)) => asked.field("expire_time", instant(time)).map(Lifetime::Until),
    };
    lifetime.unwrap_or(Lifetime::Default)
}

fn positive(ttl: prost_types::Duration) -> Result<Duration, &'static str> {
    let ttl = stretch(ttl).ok().filter(|ttl| !ttl.is_zero());
    ttl.ok_or("it is a valid google.protobuf.Duration of more than zero")
}

pub(super) fn stretch(time: prost_types::Duration) -> Result<Duration, &'static str> {
    let read = || {
        let seconds = u64::try_from(time.seconds).ok().filter(|seconds| *seconds <= 315_576_000_000)?;
        let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        Some(Duration::new(seconds, nanos))
    };
    read().ok_or("it is a valid google.protobuf.Duration that is not negative")
}

pub(super) fn instant(time: prost_types::Timestamp) -> Result<Timestamp, &'static str> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let valid = nanos.and_then(|nanos| Timestamp::from_timestamp(time.seconds, nanos));
    valid.ok_or("it is a valid google.protobuf.Timestamp")
}

pub(super) fn display_name(name: &str) -> Result<(), &'static str> {
    let fits = name.chars().count() <= MAX_DISPLAY_NAME && !name.chars().any(char::is_control);
    fits.then_some(()).ok_or("it has at most 128 characters, none of them a control character")
}

/// The characters of a scope are RFC 6749's, section 3.3.
pub(crate) fn scopes(scopes: &[String]) -> Result<(), &'static str> {
    let good = |scope: &String| {
        (1..=MAX_SCOPE).contains(&scope.len())
            && scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    let fits = scopes.len() <= MAX_SCOPES && scopes.iter().all(good);
    fits.then_some(()).ok_or("at most 64 scopes of 1 to 128 visible ASCII characters without \" and \\")
}

pub(super) fn map<M: IntoIterator<Item = (String, String)>>(
    asked: &mut Asked,
    field: &str,
    map: M,
) -> BTreeMap<String, String> {
    let map: BTreeMap<_, _> = map.into_iter().collect();
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    let nul = map.iter().any(|(key, value)| key.contains('\0') || value.contains('\0'));
    if bytes > MAX_MAP_BYTES || nul || map.contains_key("") {
        asked.refuse(field, "at most 4 KiB of keys and values in all, no empty key, no NUL");
    }
    map
}

pub(super) fn request_id(asked: &mut Asked, text: &str) -> Option<Uuid> {
    if text.is_empty() {
        return None;
    }
    let id = Uuid::try_parse(text).ok().filter(|id| !id.is_nil());
    asked.field("request_id", id.ok_or("it is a UUID that is not nil; a random one (version 4) is best"))
}

/// Which token to end; `None` for a secret that no issuer could have made, so that there is nothing to end.
pub(crate) fn target(target: Option<pb::revoke_request::Target>) -> Result<Option<Named>, Error> {
    use pb::revoke_request::Target;
    match target {
        None => Err(Error::invalid("target", "one of token and token_id is required")),
        Some(Target::Token(token)) => secret("token", token),
        Some(Target::TokenId(id)) => token_id(&id).map(Named::Id).map(Some),
    }
}

/// Which token to spare.
pub(crate) fn except(except: Option<pb::revoke_all_request::Except>) -> Result<Option<Named>, Error> {
    use pb::revoke_all_request::Except;
    match except {
        None => Ok(None),
        // A caller that names a token to spare and gets it wrong must not have it ended.
        Some(Except::ExceptToken(token)) => match secret("except_token", token)? {
            None => Err(Error::invalid("except_token", "no issuer could have made it")),
            spared => Ok(spared),
        },
        Some(Except::ExceptTokenId(id)) => {
            let id = id
                .parse()
                .map_err(|fault: crate::domain::InvalidTokenId| Error::invalid("except_token_id", fault.to_string()))?;
            Ok(Some(Named::Id(id)))
        }
    }
}

fn secret(field: &str, token: String) -> Result<Option<Named>, Error> {
    match Token::parse(token) {
        Ok(token) => Ok(Some(Named::Token(token))),
        Err(MalformedToken::Empty) => Err(Error::invalid(field, "it is required")),
        Err(MalformedToken::TooLong | MalformedToken::Character) => Ok(None),
    }
}

/// Why tokens are ended.
pub(crate) fn revocation_cause(reason: i32) -> Result<RevocationCause, Error> {
    match pb::RevocationReason::try_from(reason) {
        Ok(pb::RevocationReason::Unspecified) => Ok(RevocationCause::Unspecified),
        Ok(pb::RevocationReason::SignedOut) => Ok(RevocationCause::SignedOut),
        Ok(pb::RevocationReason::KeyCompromise) => Ok(RevocationCause::KeyCompromise),
        Ok(pb::RevocationReason::Superseded) => Ok(RevocationCause::Superseded),
        Ok(pb::RevocationReason::PrivilegeWithdrawn) => Ok(RevocationCause::PrivilegeWithdrawn),
        Err(_) => Err(Error::invalid("reason", "it is no value of RevocationReason")),
    }
}

/// A token's public name.
pub(crate) fn token_id(text: &str) -> Result<TokenId, Error> {
    text.parse().map_err(|fault: crate::domain::InvalidTokenId| Error::invalid("token_id", fault.to_string()))
}

/// An owner's name; `field` is its path.
pub(crate) fn user_id(field: &str, text: &str) -> Result<UserId, Error> {
    text.parse().map_err(|fault: crate::domain::InvalidUserId| Error::invalid(field, fault.to_string()))
}

/// A page of a user's tokens.
pub(crate) fn page(request: &pb::ListTokensRequest) -> Result<PageRequest, Error> {
    let mut asked = Asked::default();
    let user = asked.field("user_id", request.user_id.parse::<UserId>());
    let size = page_size(&mut asked, request.page_size);
    let states = states(&mut asked, &request.states);
    let after = match request.page_token.as_str() {
        "" => None,
        text => asked.field("page_token", page_token::read(text, &request.user_id, &states)),
    };
    asked.answer(user.map(|user| PageRequest { user, states, after, size }))
}

fn states(asked: &mut Asked, states: &[i32]) -> Vec<TokenState> {
    let mut wanted = Vec::new();
    for state in states {
        match pb::TokenState::try_from(*state) {
            Ok(pb::TokenState::Active) => wanted.push(TokenState::Active),
            Ok(pb::TokenState::Expired) => wanted.push(TokenState::Expired),
            Ok(pb::TokenState::Revoked) => wanted.push(TokenState::Revoked),
            Ok(pb::TokenState::Unspecified) | Err(_) => asked.refuse("states", "only ACTIVE, EXPIRED and REVOKED"),
        }
    }
    if wanted.is_empty() {
        wanted.push(TokenState::Active);
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// How many records a page has.
pub(super) fn page_size(asked: &mut Asked, size: i32) -> u32 {
    if !(0..=MAX_PAGE).contains(&size) {
        asked.refuse("page_size", "it is 0 to 1000");
    }
    u32::try_from(if size == 0 { DEFAULT_PAGE } else { size }).unwrap_or_default()
}

/// A user to create or change.
pub(crate) fn user_change(request: pb::UpsertUserRequest) -> Result<UserChange, Error> {
    let Some(user) = request.user else { return Err(Error::invalid("user", "it is required")) };
    let mut asked = Asked::default();
    let id = asked.field("user.user_id", user.user_id.parse::<UserId>());
    let attributes = map(&mut asked, "user.attributes", user.attributes);
    let paths = request.update_mask.unwrap_or_default().paths;
    let all = paths.is_empty();
    let named = |name: &str| all || paths.iter().any(|path| path == name);
    let (active, attributes) = (named("active").then_some(user.active), named("attributes").then_some(attributes));
    if paths.iter().any(|path| !matches!(path.as_str(), "active" | "attributes")) {
        asked.refuse("update_mask", "its paths are active and attributes");
    }
    asked.answer(id.map(|id| UserChange { id, active, attributes }))
}
