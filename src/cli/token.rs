//! `tokenward token issue|authenticate|revoke|revoke-all|list|show|update|rotate`.

use clap::{Args, Subcommand};

use super::{
    Ending, Failure, Target, print,
    show::{Block, Format, FormatArgs, bare, instant, json, pairs},
};
use crate::proto as pb;

mod authenticate;
mod issue;
mod list;
mod revoke;
mod rotate;
mod update;

/// What `token` takes.
#[derive(Args)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    format: FormatArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Issue a token; its secret is shown this once.
    Issue(issue::Issue),
    /// Say whether the token on standard input is active. Exits 0 if it is and 1 if it is not.
    Authenticate(authenticate::Authenticate),
    /// Revoke the token on standard input, or one by its id.
    Revoke(revoke::Revoke),
    /// Revoke every token of a user, or every other.
    RevokeAll(revoke::RevokeAll),
    /// Change a token's label, scopes, annotations or end.
    Update(update::Update),
    /// Replace a token by a new one; its secret is shown this once.
    Rotate(rotate::Rotate),
    /// List a user's tokens, newest first.
    List(list::List),
    /// Show a token's public record.
    Show {
        /// Which one.
        #[arg(value_name = "TOKEN_ID")]
        token_id: String,
    },
}

// === impl TokenArgs ===

impl TokenArgs {
    pub(super) async fn run(self, target: &Target) -> Result<Ending, Failure> {
        let format = self.format.format();
        match self.verb {
            Verb::Issue(issue) => issue.run(target, format).await,
            Verb::Authenticate(authenticate) => authenticate.run(target, format).await,
            Verb::Revoke(revoke) => revoke.run(target, format).await,
            Verb::RevokeAll(revoke) => revoke.run(target, format).await,
            Verb::Update(update) => update.run(target, format).await,
            Verb::Rotate(rotate) => rotate.run(target, format).await,
            Verb::List(list) => list.run(target, format).await,
            Verb::Show { token_id } => show(target, token_id, format).await,
        }
    }
}

async fn show(target: &Target, token_id: String, format: Format) -> Result<Ending, Failure> {
    let remote = target.connect().await?;
    let response = remote.admin().get_token(remote.request(pb::GetTokenRequest { token_id })).await?.into_inner();
    print(&match format {
        Format::Json => json("tokenward.v1.GetTokenResponse", &response),
        Format::Human => record(Block::default(), response.token.as_ref()).to_string(),
    })
}

/// Adds a token's public record.
pub(super) fn record(block: Block, token: Option<&pb::Token>) -> Block {
    let Some(token) = token else { return block };
    block
        .with("token_id", &token.token_id)
        .with("user", &token.user_id)
        .with("name", &token.display_name)
        .with("state", state(token))
        .with("scopes", token.scopes.join(" "))
        .with("metadata", pairs(&token.metadata))
        .with("created", instant(token.create_time.as_ref(), ""))
        .with("expires", instant(token.expire_time.as_ref(), "never"))
        .with("last used", instant(token.last_used_time.as_ref(), ""))
        .with("revoked", instant(token.revoke_time.as_ref(), ""))
        .with("hint", &token.hint)
}

fn state(token: &pb::Token) -> String {
    bare(token.state().as_str_name(), "TOKEN_STATE_")
}

/// Reads `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not KEY=VALUE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_split_at_its_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(pair("=b").is_err() && pair("ab").is_err());
    }
}
