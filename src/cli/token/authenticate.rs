//! `tokenward token authenticate`.

use clap::Args;

use super::{
    super::{show::stretch, stdin::Words},
    Block, Ending, Failure, Format, Target, bare, json, pairs, print, record,
};
use crate::proto as pb;

/// What `token authenticate` takes.
#[derive(Args)]
pub(super) struct Authenticate {
    #[command(flatten)]
    words: Words,
    /// A scope that must be granted; repeatable.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
}

// === impl Authenticate ===

impl Authenticate {
    pub(super) async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let token = self.words.read()?.expose().to_owned();
        let remote = target.connect().await?;
        let request = pb::AuthenticateRequest { token, required_scopes: self.scopes, ..Default::default() };
        let response = remote.tokens().authenticate(remote.request(request)).await?.into_inner();
        print(&match format {
            Format::Json => json("tokenward.v1.AuthenticateResponse", &response),
            Format::Human => human(&response).to_string(),
        })?;
        Ok(if response.active { Ending::Done } else { Ending::Inactive })
    }
}

fn human(response: &pb::AuthenticateResponse) -> Block {
    let block = Block::default().with("active", if response.active { "yes" } else { "no" });
    let block = match response.inactive_reason() {
        pb::InactiveReason::Unspecified => block,
        reason => block.with("reason", bare(reason.as_str_name(), "INACTIVE_REASON_")),
    };
    record(block, response.token.as_ref())
        .with("attributes", response.user.as_ref().map(|user| pairs(&user.attributes)).unwrap_or_default())
        .with("source", bare(response.source().as_str_name(), "ANSWER_SOURCE_"))
        .with("age", stretch(response.age.as_ref()))
        .with("cacheable_for", stretch(response.cacheable_for.as_ref()))
}
