//! Protobuf to domain and back. Requests are checked here, all fields at once;
//! `request.rs` and `administration.rs` read, `response.rs` writes, `page_token.rs` does both for one field.

mod administration;
mod page_token;
mod request;
mod response;

pub(super) use administration::{flushed_user, inspected, rotation, start_revision, update, user_page};
pub(super) use page_token::after_user;
pub(super) use request::{
    batch, except, issue, page, presented, revocation_cause, scopes, target, token_id, user_change, user_id,
};
pub(super) use response::{
    authenticated, cache_stats, duration, event, inspection, listed, propagation, rotated, timestamp, token, user,
};
