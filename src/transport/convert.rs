//! Protobuf to domain and back. Requests are checked here, all fields at once;
//! `request.rs` reads, `response.rs` writes, `page_token.rs` does both for one field.

mod page_token;
mod request;
mod response;

pub(super) use request::{
    batch, except, issue, page, presented, revocation_cause, scopes, target, token_id, user_change, user_id,
};
pub(super) use response::{authenticated, duration, listed, propagation, timestamp, token, user};
