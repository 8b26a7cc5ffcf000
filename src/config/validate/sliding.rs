//! What is refused of the settings of sliding expiry.

use super::{super::Tokens, Judge, text};

impl Judge<'_> {
    pub(super) fn sliding(&mut self, tokens: &Tokens) {
        self.more_than_none("tokens.refresh_interval", tokens.refresh_interval);
        if tokens.auto_refresh {
            self.slides(tokens);
        } else if !tokens.refresh_max_ttl.is_zero() {
            let remedy = "set tokens.auto_refresh = true, or remove it; tokens.max_ttl bounds tokens that do not slide";
            self.refuse(&["tokens.refresh_max_ttl", "tokens.auto_refresh"], "bounds nothing", remedy);
        }
    }

    /// What leaves nothing to move.
    fn slides(&mut self, tokens: &Tokens) {
        let ttl = text(tokens.ttl);
        if tokens.refresh_interval >= tokens.ttl {
            let problem = format!("is not shorter than tokens.ttl, {ttl}: no use of a token can gain that much");
            let keys = ["tokens.refresh_interval", "tokens.ttl", "tokens.auto_refresh"];
            self.refuse(&keys, problem, "shorten it, or raise tokens.ttl");
        }
        if !tokens.refresh_max_ttl.is_zero() && tokens.refresh_max_ttl <= tokens.ttl {
            let problem = format!("is not longer than tokens.ttl, {ttl}: no token can end later than at first");
            let keys = ["tokens.refresh_max_ttl", "tokens.ttl", "tokens.auto_refresh"];
            self.refuse(&keys, problem, "raise it, shorten tokens.ttl, or set tokens.auto_refresh = false");
        }
    }
}
