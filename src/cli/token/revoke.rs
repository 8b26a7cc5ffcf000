//! `tokenward token revoke` and `revoke-all`.

use clap::{Args, ValueEnum};

use super::{
    super::{
        stdin::{self, Words},
        user::propagation,
    },
    Block, Ending, Failure, Format, Target, json, print,
};
use crate::proto::{self as pb, revoke_all_request::Except, revoke_request::Target as Revoked};

/// What `token revoke` takes.
#[derive(Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    words: Words,
    /// The one with this id, instead of the one on standard input.
    #[arg(long, value_name = "TOKEN_ID", conflicts_with = "token")]
    id: Option<String>,
    /// Why; kept with the token.
    #[arg(long, value_enum)]
    reason: Option<Reason>,
}

/// What `token revoke-all` takes.
#[derive(Args)]
pub(super) struct RevokeAll {
    /// Whose tokens.
    #[arg(long, value_name = "USER")]
    user: String,
    /// Spare the one with this id.
    #[arg(long, value_name = "TOKEN_ID")]
    except_id: Option<String>,
    /// Spare the one on standard input.
    #[arg(long, conflicts_with = "except_id")]
    except_stdin: bool,
    /// Why; kept with the tokens.
    #[arg(long, value_enum)]
    reason: Option<Reason>,
}

/// Why tokens are ended (after RFC 5280, section 5.3.1).
#[derive(Clone, Copy, ValueEnum)]
enum Reason {
    /// The owner signed out.
    SignedOut,
    /// The secret leaked, or may have.
    KeyCompromise,
    /// Replaced by another token.
    Superseded,
    /// An administrator withdrew it.
    PrivilegeWithdrawn,
}

// === impl Revoke ===

impl Revoke {
    pub(super) async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let revoked = match self.id {
            Some(id) => Revoked::TokenId(id),
            None => Revoked::Token(self.words.read()?.expose().to_owned()),
        };
        let request = pb::RevokeRequest { target: Some(revoked), reason: wire(self.reason) };
        let remote = target.connect().await?;
        let response = remote.tokens().revoke(remote.request(request)).await?.into_inner();
        print(&match format {
            Format::Json => json("tokenward.v1.RevokeResponse", &response),
            Format::Human => {
                let revoked = if response.revoked { "yes" } else { "no: there was no such active token" };
                propagation(Block::default().with("revoked", revoked), response.propagation.as_ref())
                    .with("revision", response.revision)
                    .to_string()
            }
        })
    }
}

// === impl RevokeAll ===

impl RevokeAll {
    pub(super) async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let except = self.except()?;
        let request = pb::RevokeAllRequest { user_id: self.user, except, reason: wire(self.reason) };
        let remote = target.connect().await?;
        let response = remote.tokens().revoke_all(remote.request(request)).await?.into_inner();
        print(&match format {
            Format::Json => json("tokenward.v1.RevokeAllResponse", &response),
            Format::Human => {
                let count = Block::default().with("revoked", response.revoked_count.to_string());
                propagation(count, response.propagation.as_ref()).with("revision", response.revision).to_string()
            }
        })
    }

    fn except(&self) -> Result<Option<Except>, Failure> {
        Ok(match &self.except_id {
            Some(id) => Some(Except::ExceptTokenId(id.clone())),
            None if self.except_stdin => Some(Except::ExceptToken(stdin::read()?.expose().to_owned())),
            None => None,
        })
    }
}

fn wire(reason: Option<Reason>) -> i32 {
    let reason = match reason {
        None => pb::RevocationReason::Unspecified,
        Some(Reason::SignedOut) => pb::RevocationReason::SignedOut,
        Some(Reason::KeyCompromise) => pb::RevocationReason::KeyCompromise,
        Some(Reason::Superseded) => pb::RevocationReason::Superseded,
        Some(Reason::PrivilegeWithdrawn) => pb::RevocationReason::PrivilegeWithdrawn,
    };
    reason.into()
}
