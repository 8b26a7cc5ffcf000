//! `tokenward user set|get|list|delete`.

use clap::{ArgGroup, Args, Subcommand, value_parser};
use prost_types::FieldMask;

use super::{
    Ending, Failure, Remote, Target, print,
    show::{Block, Format, FormatArgs, Table, bare, json, pairs, stretch},
    stdin::confirm,
    token::pair,
};
use crate::proto as pb;

/// The largest page that the contract allows.
const PAGE: usize = 1000;

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
    /// List all users.
    List {
        /// At most so many; without, all.
        #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Revoke all tokens of a user and remove the user.
    Delete {
        /// As the user store spells it.
        #[arg(value_name = "USER")]
        user: String,
        /// Do not ask first.
        #[arg(long)]
        yes: bool,
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
            Verb::List { limit } => list(target, limit, self.format.format()).await,
            Verb::Delete { user, yes } => {
                if !yes {
                    confirm(&format!("remove {user} and end all of its tokens?"))?;
                }
                delete(target, user, self.format.format()).await
            }
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

async fn list(target: &Target, limit: Option<u32>, format: Format) -> Result<Ending, Failure> {
    let users = pages(&target.connect().await?, limit).await?;
    print(&match format {
        Format::Json => {
            json("tokenward.v1.ListUsersResponse", &pb::ListUsersResponse { users, next_page_token: String::new() })
        }
        Format::Human => {
            let mut table = Table::new(&["USER", "ACTIVE", "ATTRIBUTES"]);
            for user in &users {
                table.push([user.user_id.clone(), active(user).to_owned(), pairs(&user.attributes)]);
            }
            table.to_string()
        }
    })
}

/// Follows the pages up to the limit.
async fn pages(remote: &Remote, limit: Option<u32>) -> Result<Vec<pb::User>, Failure> {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let (mut users, mut page_token) = (Vec::new(), String::new());
    loop {
        let page_size = i32::try_from(PAGE.min(limit - users.len())).expect("a page is small");
        let request = remote.request(pb::ListUsersRequest { page_size, page_token });
        let page = remote.users().list_users(request).await?.into_inner();
        users.extend(page.users);
        page_token = page.next_page_token;
        if page_token.is_empty() || users.len() >= limit {
            return Ok(users);
        }
    }
}

async fn delete(target: &Target, user_id: String, format: Format) -> Result<Ending, Failure> {
    let remote = target.connect().await?;
    let response = remote.users().delete_user(remote.request(pb::DeleteUserRequest { user_id })).await?.into_inner();
    print(&match format {
        Format::Json => json("tokenward.v1.DeleteUserResponse", &response),
        Format::Human => {
            let count = Block::default().with("revoked", response.revoked_count.to_string());
            propagation(count, response.propagation.as_ref()).with("revision", response.revision).to_string()
        }
    })
}

fn active(user: &pb::User) -> &'static str {
    if user.active { "yes" } else { "no" }
}

fn block(user: Option<&pb::User>) -> Block {
    let Some(user) = user else { return Block::default() };
    Block::default()
        .with("user", &user.user_id)
        .with("active", active(user))
        .with("attributes", pairs(&user.attributes))
}

/// Adds how far a change has spread.
pub(super) fn propagation(block: Block, propagation: Option<&pb::Propagation>) -> Block {
    let Some(propagation) = propagation else { return block };
    let state = bare(propagation.state().as_str_name(), "PROPAGATION_STATE_");
    block.with("propagation", state).with("max_staleness", stretch(propagation.max_staleness.as_ref()))
}
