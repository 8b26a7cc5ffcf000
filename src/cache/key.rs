//! The only place that writes a Redis key: `{prefix}:token:{token_id}`, one key a token.
//!
//! One key a token, and no command with two of them, is what lets every command run on
//! a Redis Cluster. The key holds the token's public name and never its digest or text.

use crate::domain::TokenId;

/// Writes the keys of one deployment.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    head: String,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { head: format!("{prefix}:token:") }
    }

    /// Each look-up writes one: no formatting machinery, one allocation.
    pub(super) fn of(&self, id: TokenId) -> String {
        let digits = id.digits();
        let mut key = String::with_capacity(self.head.len() + digits.len());
        key.push_str(&self.head);
        key.extend(digits.into_iter().map(char::from));
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_prefix_and_the_token_id() {
        let id = "ad2981aa58beca63a49b8831274b89d8".parse().expect("a token_id");
        assert_eq!(Keys::new("acme").of(id), "acme:token:ad2981aa58beca63a49b8831274b89d8");
    }
}
