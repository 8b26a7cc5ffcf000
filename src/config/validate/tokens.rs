//! What is refused of the tokens that are issued.

use std::time::Duration;

use super::{super::Tokens, Judge, text};
use crate::domain::TokenPrefix;

/// Longest time that a client may go on with an answer.
const MAX_CLIENT_CACHE_TTL: Duration = Duration::from_mins(5);

impl Judge<'_> {
    pub(super) fn tokens(&mut self, tokens: &Tokens) {
        self.more_than_none("tokens.ttl", tokens.ttl);
        if !tokens.max_ttl.is_zero() && tokens.ttl > tokens.max_ttl {
            let problem = format!("is {}, longer than tokens.max_ttl, {}", text(tokens.ttl), text(tokens.max_ttl));
            self.refuse(&["tokens.ttl", "tokens.max_ttl"], problem, "shorten tokens.ttl or raise tokens.max_ttl");
        }
        match tokens.prefix.parse::<TokenPrefix>() {
            Err(error) => self.refuse(&["tokens.prefix"], "is no token prefix", error),
            // What begins with it and has no right checksum is refused, so nothing else may begin with it.
            Ok(_) if tokens.form().is_none() => {
                let problem = "does not tell tokens with a checksum from tokens of hexadecimal digits";
                let remedy = "end it in a character other than 0-9 and a-f, as in tw_; or set tokens.format = \"knox\"";
                self.refuse(&["tokens.prefix", "tokens.format"], problem, remedy);
            }
            Ok(_) => {}
        }
        self.at_most("tokens.client_cache_ttl", tokens.client_cache_ttl, MAX_CLIENT_CACHE_TTL);
        self.more_than_none("tokens.request_id_retention", tokens.request_id_retention);
    }
}
