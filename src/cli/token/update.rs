//! `tokenward token update`.

use chrono::{DateTime, FixedOffset};
use clap::{ArgGroup, Args};
use prost_types::FieldMask;

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
    /// When it ends, as RFC 3339 has it; in the past: it ends now.
    #[arg(long, group = "change", value_name = "RFC3339", value_parser = DateTime::parse_from_rfc3339)]
    expires_at: Option<DateTime<FixedOffset>>,
    /// It never ends, if the server allows that.
    #[arg(long, group = "change", conflicts_with = "expires_at")]
    never: bool,
}

// === impl Update ===

impl Update {
    pub(super) async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let remote = target.connect().await?;
        let response = remote.admin().update_token(remote.request(self.request())).await?.into_inner();
        print(&match format {
            Format::Json => json("tokenward.v1.UpdateTokenResponse", &response),
            Format::Human => {
                let block = record(Block::default(), response.token.as_ref());
                propagation(block, response.propagation.as_ref()).with("revision", response.revision).to_string()
            }
        })
    }

    fn request(self) -> pb::UpdateTokenRequest {
        let expires = self.expires_at.map(timestamp);
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
        pb::UpdateTokenRequest { token: Some(token), update_mask: Some(FieldMask { paths }) }
    }
}
