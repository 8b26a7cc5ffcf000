//! `tokenward token issue`.

use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use clap::{ArgGroup, Args};
use prost_types::Timestamp;
use uuid::Uuid;

use super::{Block, Ending, Failure, Format, Target, json, pair, print, record};
use crate::proto::{self as pb, issue_token_request::Expiration};

/// What `token issue` takes.
#[derive(Args)]
#[command(group(ArgGroup::new("expiration")))]
pub(super) struct Issue {
    /// The owner, as the user store spells it.
    #[arg(long, value_name = "USER")]
    user: String,
    /// How long it lives, such as `72h`; without, as long as the server says.
    #[arg(long, group = "expiration", value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// When it ends, as RFC 3339 has it.
    #[arg(long, group = "expiration", value_name = "RFC3339", value_parser = DateTime::parse_from_rfc3339)]
    expires_at: Option<DateTime<FixedOffset>>,
    /// It never ends, if the server allows that.
    #[arg(long, group = "expiration")]
    never: bool,
    /// A label for people.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    name: String,
    /// A scope to grant; repeatable.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// An annotation; repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Issue once, however often this is retried with the same UUID.
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
    /// Print the secret only.
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

// === impl Issue ===

impl Issue {
    pub(super) async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let quiet = self.quiet;
        let remote = target.connect().await?;
        let response = remote.tokens().issue_token(remote.request(self.request()?)).await?.into_inner();
        print(&match format {
            Format::Json => json("tokenward.v1.IssueTokenResponse", &response),
            Format::Human if quiet => response.secret + "\n",
            Format::Human => {
                record(Block::default().with("secret", response.secret), response.token.as_ref()).to_string()
            }
        })
    }

    fn request(self) -> Result<pb::IssueTokenRequest, Failure> {
        Ok(pb::IssueTokenRequest {
            expiration: self.expiration()?,
            user_id: self.user,
            display_name: self.name,
            scopes: self.scopes,
            metadata: self.metadata.into_iter().collect(),
            request_id: self.request_id.map(|id| id.to_string()).unwrap_or_default(),
        })
    }

    fn expiration(&self) -> Result<Option<Expiration>, Failure> {
        Ok(match (self.ttl, self.expires_at) {
            (Some(ttl), _) => {
                let ttl = ttl.try_into().map_err(|_| Failure::Usage("--ttl: is too long".to_owned()))?;
                Some(Expiration::Ttl(ttl))
            }
            (None, Some(time)) => Some(Expiration::ExpireTime(timestamp(time))),
            (None, None) => self.never.then_some(Expiration::NeverExpires(true)),
        })
    }
}

/// An instant, as the contract has it.
pub(super) fn timestamp(time: DateTime<FixedOffset>) -> Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).expect("nanoseconds of a second fit");
    let mut timestamp = Timestamp { seconds: time.timestamp(), nanos };
    // A leap second has more nanoseconds than a timestamp may have.
    timestamp.normalize();
    timestamp
}
