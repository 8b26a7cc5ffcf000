//! `tokenward token rotate`.

use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use super::{super::user::propagation, Block, Ending, Failure, Format, Target, instant, json, print, record};
use crate::proto as pb;

/// What `token rotate` takes.
#[derive(Args)]
pub(super) struct Rotate {
    /// Which one to replace.
    #[arg(value_name = "TOKEN_ID")]
    token_id: String,
    /// How long the old one stays valid beside the new one, such as `1h`; without, it is revoked now.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    overlap: Option<Duration>,
    /// Rotate once, however often this is retried with the same UUID.
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    /// Print the new secret only.
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

// === impl Rotate ===

impl Rotate {
    pub(super) async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let quiet = self.quiet;
        let remote = target.connect().await?;
        let response = remote.admin().rotate_token(remote.request(self.request()?)).await?.into_inner();
        print(&match format {
            Format::Json => json("tokenward.v1.RotateTokenResponse", &response),
            Format::Human if quiet => response.secret + "\n",
            Format::Human => human(response).to_string(),
        })
    }

    fn request(self) -> Result<pb::RotateTokenRequest, Failure> {
        let too_long = |_| Failure::Usage("--overlap: is too long".to_owned());
        Ok(pb::RotateTokenRequest {
            token_id: self.token_id,
            overlap: self.overlap.map(TryInto::try_into).transpose().map_err(too_long)?,
            request_id: self.request_id.map(|id| id.to_string()).unwrap_or_default(),
        })
    }
}

fn human(response: pb::RotateTokenResponse) -> Block {
    let old = response.superseded.unwrap_or_default();
    let end = old.revoke_time.as_ref().or(old.expire_time.as_ref());
    let block = record(Block::default().with("secret", response.secret), response.token.as_ref())
        .with("replaces", format!("{}, which ends {}", old.token_id, instant(end, "never")));
    propagation(block, response.propagation.as_ref()).with("revision", response.revision)
}
