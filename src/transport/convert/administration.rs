//! Requests of the management surface, checked as those of `request.rs` are.

use crate::{
    domain::{
        Error, Hashing, InvalidRevision, MalformedToken, Position, Replacement, Target, Token, TokenId, Update, UserId,
    },
    proto as pb,
};

use super::{
    page_token,
    request::{Asked, display_name, instant, map, page_size, request_id, scopes, stretch, token_id, user_id},
};

/// Most paths of a mask.
const MAX_PATHS: usize = 64;

/// A page of users: after which one, and how many.
pub(crate) fn user_page(request: &pb::ListUsersRequest) -> Result<(Option<UserId>, u32), Error> {
    let mut asked = Asked::default();
    let size = page_size(&mut asked, request.page_size);
    let after = match request.page_token.as_str() {
        "" => None,
        text => asked.field("page_token", page_token::read_user(text)),
    };
    asked.answer(Some((after, size)))
}

/// Whose facts to flush; `None` for everyone's.
pub(crate) fn flushed_user(text: &str) -> Result<Option<UserId>, Error> {
    if text.is_empty() { Ok(None) } else { user_id("user_id", text).map(Some) }
}

/// Which token to look for in the caches.
pub(crate) fn inspected(target: Option<pb::inspect_cache_request::Target>, hashing: Hashing) -> Result<Target, Error> {
    use pb::inspect_cache_request::Target as Asked;
    match target {
        None => Err(Error::invalid("target", "one of token and token_id is required")),
        Some(Asked::TokenId(id)) => token_id(&id).map(Target::Id),
        Some(Asked::Token(token)) => match Token::parse(token) {
            Ok(token) => Ok(hashing.digests(&token).into()),
            Err(MalformedToken::Empty) => Err(Error::invalid("token", "it is required")),
            Err(MalformedToken::TooLong | MalformedToken::Character) => {
                Err(Error::invalid("token", "no issuer could have made it, so no cache is asked for it"))
            }
        },
    }
}

/// Where to follow from.
pub(crate) fn start_revision(text: &str) -> Result<Option<Position>, Error> {
    let invalid = |fault: InvalidRevision| Error::invalid("start_revision", fault.to_string());
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(invalid) }
}

/// A token to change, and how. `*` means all that can be changed (AIP-134); what the server alone sets is
/// ignored then, as it is in any message.
pub(crate) fn update(request: pb::UpdateTokenRequest) -> Result<(TokenId, Update), Error> {
    let Some(token) = request.token else { return Err(Error::invalid("token", "it is required")) };
    let mut asked = Asked::default();
    let id = asked.field("token.token_id", token.token_id.parse::<TokenId>());
    let paths = mask(&mut asked, request.update_mask.unwrap_or_default().paths);
    let named = |path: &str| paths.iter().any(|named| named == path || named == "*");
    let mut update = Update::default();
    if named("display_name") {
        asked.check("token.display_name", display_name(&token.display_name));
        update.display_name = Some(token.display_name);
    }
    if named("scopes") {
        asked.check("token.scopes", scopes(&token.scopes));
        update.scopes = Some(token.scopes);
    }
    if named("metadata") {
        update.metadata = Some(map(&mut asked, "token.metadata", token.metadata));
    }
    if named("expire_time") {
        let expiry = token.expire_time.map(|time| asked.field("token.expire_time", instant(time)));
        update.expiry = Some(expiry.flatten().into());
    }
    asked.answer(id.map(|id| (id, update)))
}

/// The paths of an `update_mask` for a token.
fn mask(asked: &mut Asked, paths: Vec<String>) -> Vec<String> {
    const CHANGEABLE: [&str; 4] = ["display_name", "scopes", "metadata", "expire_time"];
    const FIXED: [&str; 7] = ["token_id", "user_id", "state", "create_time", "last_used_time", "revoke_time", "hint"];
    if paths.is_empty() {
        asked.refuse("update_mask", "it is required: some of display_name, scopes, metadata, expire_time, or *");
    }
    if paths.len() > 1 && paths.iter().any(|path| path == "*") {
        asked.refuse("update_mask", "* stands alone");
    }
    for (index, path) in paths.iter().enumerate().take(MAX_PATHS) {
        let field = || format!("update_mask.paths[{index}]");
        match path.as_str() {
            "*" => {}
            known if CHANGEABLE.contains(&known) => {}
            fixed if FIXED.contains(&fixed) => asked.refuse(field(), "this field cannot be changed"),
            nested if nested.starts_with("metadata.") => asked.refuse(field(), "metadata is changed as a whole"),
            _ => asked.refuse(field(), "there is no such field that can be changed"),
        }
    }
    if paths.len() > MAX_PATHS {
        asked.refuse("update_mask", "it has at most 64 paths");
    }
    paths
}

/// A token to rotate, how long the old one goes on, and what makes a retry return the first successor.
pub(crate) fn rotation(request: &pb::RotateTokenRequest, issuer: Option<String>) -> Result<Replacement, Error> {
    let mut asked = Asked::default();
    let id = asked.field("token_id", request.token_id.parse::<TokenId>());
    let overlap = request.overlap.map(|overlap| asked.field("overlap", stretch(overlap)));
    let request_id = request_id(&mut asked, &request.request_id);
    let overlap = overlap.flatten().unwrap_or_default();
    asked.answer(id.map(|token| Replacement { token, overlap, issuer, request_id }))
}
