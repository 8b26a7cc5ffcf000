//! `tokenward user set|get`.

use clap::{ArgGroup, Args, Subcommand};
use prost_types::FieldMask;

use super::{
    Ending, Failure, Target, print,
    show::{Block, Format, FormatArgs, bare, json, pairs, stretch},
    token::pair,
};
use crate::proto as pb;

/// What `user` takes.
#[derive(Args)]
pub(super) struct UserArgs {
    #[command(flatten)]
    format: FormatArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Create or change a user.
    Set(Set),
    /// Show a user.
    Get {
        /// As the user store spells it.
        #[arg(value_name = "USER")]
        user: String,
    },
}

/// Only what is named is changed.
#[derive(Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)))]
struct Set {
    /// As the user store spells it.
    #[arg(value_name = "USER")]
    user: String,
    /// Whether the user's tokens may be active; false makes all of them inactive at once.
    #[arg(long, group = "change", value_name = "BOOL")]
    active: Option<bool>,
    /// What callers are told about the user, in place of all that they were told; repeatable.
    #[arg(long = "attribute", group = "change", value_name = "KEY=VALUE", value_parser = pair)]
    attributes: Vec<(String, String)>,
}

// === impl UserArgs ===

impl UserArgs {
    pub(super) async fn run(self, target: &Target) -> Result<Ending, Failure> {
        match self.verb {
            Verb::Set(set) => set.run(target, self.format.format()).await,
            Verb::Get { user } => get(target, user, self.format.format()).await,
        }
    }
}

// === impl Set ===

impl Set {
    async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let remote = target.connect().await?;
        let response = remote.users().upsert_user(remote.request(self.request())).await?.into_inner();
        print(&match format {
            Format::Json => json("tokenward.v1.UpsertUserResponse", &response),
            Format::Human => propagation(block(response.user.as_ref()), response.propagation.as_ref())
                .with("revision", response.revision)
                .to_string(),
        })
    }

    fn request(self) -> pb::UpsertUserRequest {
        let named = [("active", self.active.is_some()), ("attributes", !self.attributes.is_empty())];
        let paths = named.into_iter().filter(|(_, named)| *named).map(|(path, _)| path.to_owned()).collect();
        let (active, attributes) = (self.active.unwrap_or(true), self.attributes.into_iter().collect());
        pb::UpsertUserRequest {
            user: Some(pb::User { user_id: self.user, active, attributes }),
            update_mask: Some(FieldMask { paths }),
        }
    }
}

async fn get(target: &Target, user_id: String, format: Format) -> Result<Ending, Failure> {
    let remote = target.connect().await?;
    let response = remote.users().get_user(remote.request(pb::GetUserRequest { user_id })).await?.into_inner();
    print(&match format {
        Format::Json => json("tokenward.v1.GetUserResponse", &response),
        Format::Human => block(response.user.as_ref()).to_string(),
    })
}

fn block(user: Option<&pb::User>) -> Block {
    let Some(user) = user else { return Block::default() };
    Block::default()
        .with("user", &user.user_id)
        .with("active", if user.active { "yes" } else { "no" })
        .with("attributes", pairs(&user.attributes))
}

/// Adds how far a change has spread.
pub(super) fn propagation(block: Block, propagation: Option<&pb::Propagation>) -> Block {
    let Some(propagation) = propagation else { return block };
    let state = bare(propagation.state().as_str_name(), "PROPAGATION_STATE_");
    block.with("propagation", state).with("max_staleness", stretch(propagation.max_staleness.as_ref()))
}
