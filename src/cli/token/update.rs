//! `tokenward token update`.

use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};
use clap::{ArgGroup, Args};
use prost_types::{FieldMask, Timestamp};

use super::{
    super::user::propagation, Block, Ending, Failure, Format, Target, issue::timestamp, json, pair, print, record,
};
use crate::proto as pb;

/// Only what is named is changed.
#[derive(Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)))]
pub(super) struct Update {
    /// Which one.
    #[arg(value_name = "TOKEN_ID")]
    token_id: String,
    /// A label for people.
    #[arg(long, group = "change", value_name = "NAME")]
    name: Option<String>,
    /// A scope to grant, in place of all that are granted; repeatable.
    #[arg(long = "scope", group = "change", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Grant no scope.
    #[arg(long, group = "change", conflicts_with = "scopes")]
    no_scopes: bool,
    /// An annotation, in place of all that there are; repeatable.
    #[arg(long, group = "change", value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Drop all annotations.
    #[arg(long, group = "change", conflicts_with = "metadata")]
    no_metadata: bool,
    /// How long from now on it lives, such as `72h`.
    #[arg(long, group = "change", value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// When it ends, as RFC 3339 has it; in the past: it ends now.
    #[arg(long, group = "change", conflicts_with = "ttl", value_name = "RFC3339", value_parser = DateTime::parse_from_rfc3339)]
    expires_at: Option<DateTime<FixedOffset>>,
    /// It never ends, if the server allows that.
    #[arg(long, group = "change", conflicts_with_all = ["ttl", "expires_at"])]
    never: bool,
}

// === impl Update ===

impl Update {
    pub(super) async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let remote = target.connect().await?;
        let response = remote.admin().update_token(remote.request(self.request()?)).await?.into_inner();
        print(&match format {
            Format::Json => json("tokenward.v1.UpdateTokenResponse", &response),
            Format::Human => {
                let block = record(Block::default(), response.token.as_ref());
                propagation(block, response.propagation.as_ref()).with("revision", response.revision).to_string()
            }
        })
    }

    fn request(self) -> Result<pb::UpdateTokenRequest, Failure> {
        let expires = self.expires()?;
        let named = [
            ("display_name", self.name.is_some()),
            ("scopes", self.no_scopes || !self.scopes.is_empty()),
            ("metadata", self.no_metadata || !self.metadata.is_empty()),
            ("expire_time", self.never || expires.is_some()),
        ];
        let token = pb::Token {
            token_id: self.token_id,
            display_name: self.name.unwrap_or_default(),
            scopes: self.scopes,
            metadata: self.metadata.into_iter().collect(),
            expire_time: expires,
            ..pb::Token::default()
        };
        let paths = named.into_iter().filter(|(_, named)| *named).map(|(path, _)| path.to_owned()).collect();
        Ok(pb::UpdateTokenRequest { token: Some(token), update_mask: Some(FieldMask { paths }) })
    }

    fn expires(&self) -> Result<Option<Timestamp>, Failure> {
        let Some(ttl) = self.ttl else { return Ok(self.expires_at.map(timestamp)) };
        let end = chrono::TimeDelta::from_std(ttl).ok().and_then(|ttl| now().checked_add_signed(ttl));
        let end = end.ok_or_else(|| Failure::Usage("--ttl: is too long".to_owned()))?;
        Ok(Some(timestamp(end.fixed_offset())))
    }
}

#[expect(clippy::disallowed_methods, reason = "a time that a person gives from now on is of the person's clock")]
fn now() -> DateTime<Utc> {
    Utc::now()
}
