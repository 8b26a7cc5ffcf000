//! The keys of django-rest-knox-redis: `{prefix}:token:{token_key}` and
//! `{prefix}:user:{user}:tokens`, past Django's own key prefix and version.

/// Writes the keys of one Django project.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Where a token is kept.
    pub(super) fn token(&self, token_key: &str) -> String {
        format!("{}:token:{token_key}", self.prefix)
    }

    /// The set of a user's `token_key`s.
    pub(super) fn user(&self, user: &str) -> String {
        format!("{}:user:{user}:tokens", self.prefix)
    }
}
