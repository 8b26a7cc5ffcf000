//! `tokenward token list`.

use clap::{Args, ValueEnum, value_parser};

use super::{
    super::{
        Remote,
        show::{Table, second},
    },
    Ending, Failure, Format, Target, json, print, state,
};
use crate::proto as pb;

/// The largest page that the contract allows.
const PAGE: usize = 1000;

/// What `token list` takes.
#[derive(Args)]
pub(super) struct List {
    /// Whose tokens.
    #[arg(long, value_name = "USER")]
    user: String,
    /// Only tokens in this state; repeatable. Without, active ones.
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<State>,
    /// At most so many; without, all.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// Where a token is in its life.
#[derive(Clone, Copy, ValueEnum)]
enum State {
    Active,
    Expired,
    Revoked,
}

// === impl List ===

impl List {
    pub(super) async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let tokens = self.pages(&target.connect().await?).await?;
        print(&match format {
            Format::Human => table(&tokens).to_string(),
            Format::Json => {
                let all = pb::ListTokensResponse { tokens, next_page_token: String::new() };
                json("tokenward.v1.ListTokensResponse", &all)
            }
        })
    }

    /// Follows the pages up to the limit.
    async fn pages(&self, remote: &Remote) -> Result<Vec<pb::Token>, Failure> {
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let (mut tokens, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = self.request(PAGE.min(limit - tokens.len()), page_token);
            let page = remote.admin().list_tokens(remote.request(request)).await?.into_inner();
            tokens.extend(page.tokens);
            tokens.truncate(limit);
            page_token = page.next_page_token;
            if page_token.is_empty() || tokens.len() == limit {
                return Ok(tokens);
            }
        }
    }

    fn request(&self, page_size: usize, page_token: String) -> pb::ListTokensRequest {
        pb::ListTokensRequest {
            user_id: self.user.clone(),
            page_size: i32::try_from(page_size).expect("a page is small"),
            page_token,
            states: self.states.iter().map(|&state| pb::TokenState::from(state).into()).collect(),
        }
    }
}

// === impl State ===

impl From<State> for pb::TokenState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Expired => Self::Expired,
            State::Revoked => Self::Revoked,
        }
    }
}

fn table(tokens: &[pb::Token]) -> Table {
    let head = ["TOKEN_ID", "STATE", "NAME", "HINT", "SCOPES", "CREATED", "EXPIRES", "LAST_USED"];
    let mut table = Table::new(&head);
    for token in tokens {
        table.push([
            token.token_id.clone(),
            state(token),
            token.display_name.clone(),
            token.hint.clone(),
            token.scopes.join(" "),
            second(token.create_time.as_ref(), ""),
            second(token.expire_time.as_ref(), "never"),
            second(token.last_used_time.as_ref(), "-"),
        ]);
    }
    table
}
