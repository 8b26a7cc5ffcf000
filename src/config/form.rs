//! How tokens are written, which two settings decide together.

use super::{TokenFormat, Tokens};
use crate::domain::{self, TokenForm};

// === impl Tokens ===

impl Tokens {
    /// How tokens are written; `None` for a prefix that is none, or that does not suit the format.
    #[must_use]
    pub fn form(&self) -> Option<TokenForm> {
        let format = match self.format {
            TokenFormat::Knox => domain::TokenFormat::Knox,
            TokenFormat::Checksummed => domain::TokenFormat::Checksummed,
        };
        TokenForm::new(self.prefix.parse().ok()?, format).ok()
    }
}
