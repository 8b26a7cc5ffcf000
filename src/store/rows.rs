//! Rows to domain types, in the column order of `statements.rs`.

use std::collections::BTreeMap;

use sea_orm::QueryResult;
use serde::de::DeserializeOwned;

use super::{
    dialect::Dialect,
    error::StoreError,
    schema::{Attributes, Schema},
    statements::RECORD_COLUMNS,
    time::{self, Times},
    user_key,
};
use crate::domain::{Digest, Label, Position, Timestamp, TokenRecord, User, UserId};

/// Reads rows of one database in one schema.
#[derive(Clone, Copy)]
pub(super) struct Rows<'s> {
    pub(super) dialect: Dialect,
    pub(super) schema: &'s Schema,
    /// How the times of the table are kept that `created` and `expiry` are of.
    pub(super) times: Times,
}

/// A token's row without its user's.
pub(super) struct RecordRow {
    pub(super) digest: Digest,
    pub(super) user: UserId,
    pub(super) created: Timestamp,
    expiry: Option<Timestamp>,
    last_used: Option<Timestamp>,
    pub(super) revoked: Option<Timestamp>,
    label: Label,
}

/// What is kept of a token that ends.
pub(super) struct EndedRow {
    pub(super) digest: Digest,
    pub(super) user: UserId,
    pub(super) created: Timestamp,
    pub(super) expiry: Option<Timestamp>,
    /// knox's selector; empty where the table has none.
    pub(super) key: String,
}

// === impl Rows ===

impl Rows<'_> {
    /// From column `at` on; `None` when the token is not there, or its row has no digest: it
    /// can be found by no token, whatever a database takes for equal.
    pub(super) fn record(self, row: &QueryResult, at: usize) -> Result<Option<RecordRow>, StoreError> {
        let digest: Option<String> = row.try_get_by_index(at)?;
        let Some(digest) = digest.and_then(|digest| Digest::from_hex(&digest).ok()) else { return Ok(None) };
        let user: String = row.try_get_by_index(at + 1)?;
        Ok(Some(RecordRow {
            digest,
            user: user_key::read(&user, self.schema.user.id_type)?,
            created: self.created(row, at + 2)?,
            expiry: self.times.read(row, at + 3)?,
            label: label(row, at + 4)?,
            last_used: time::read(self.dialect, row, at + 8)?,
            revoked: self.revoked(row, at)?,
        }))
    }

    /// When the detail row of the record at column `at` says the token was revoked.
    pub(super) fn revoked(self, row: &QueryResult, at: usize) -> Result<Option<Timestamp>, StoreError> {
        time::read(self.dialect, row, at + RECORD_COLUMNS - 1)
    }

    /// From column `at` on; `None` when the user is not there.
    pub(super) fn user(self, row: &QueryResult, at: usize) -> Result<Option<User>, StoreError> {
        let Some(id) = row.try_get_by_index::<Option<String>>(at)? else { return Ok(None) };
        let active: i64 = row.try_get_by_index(at + 1)?;
        Ok(Some(User {
            id: user_key::read(&id, self.schema.user.id_type)?,
            active: active != 0,
            attributes: self.attributes(row, at + 2)?,
        }))
    }

    /// A record and its user, who is inactive when gone.
    pub(super) fn owned(self, record: RecordRow, row: &QueryResult, at: usize) -> Result<TokenRecord, StoreError> {
        let user = self.user(row, at)?.unwrap_or_else(|| gone(record.user.clone()));
        Ok(record.with(user))
    }

    /// `None` as [`Self::record`] has it.
    pub(super) fn ended(self, row: &QueryResult) -> Result<Option<EndedRow>, StoreError> {
        let Some(digest) = digest(row)? else { return Ok(None) };
        let user: String = row.try_get_by_index(1)?;
        Ok(Some(EndedRow {
            digest,
            user: user_key::read(&user, self.schema.user.id_type)?,
            created: self.created(row, 2)?,
            expiry: self.times.read(row, 3)?,
            key: row.try_get_by_index::<Option<String>>(4)?.unwrap_or_default(),
        }))
    }

    fn created(self, row: &QueryResult, index: usize) -> Result<Timestamp, StoreError> {
        self.times.read(row, index)?.ok_or(StoreError::Row("when a token was created"))
    }

    fn attributes(self, row: &QueryResult, at: usize) -> Result<BTreeMap<String, String>, StoreError> {
        match &self.schema.user.attributes {
            Attributes::Json(_) => json(row.try_get_by_index(at)?, "a user's attributes"),
            Attributes::Columns(columns) => {
                let mut attributes = BTreeMap::new();
                for (index, column) in columns.iter().enumerate() {
                    if let Some(value) = row.try_get_by_index(at + index)? {
                        attributes.insert(column.clone(), value);
                    }
                }
                Ok(attributes)
            }
        }
    }
}

/// The clock's row as `Dialect::position` selected it, from column 0 on.
///
/// # Errors
/// [`StoreError::Row`] also where a replica answered: what it holds may be old.
pub(super) fn position(row: Option<&QueryResult>) -> Result<Position, StoreError> {
    let row = row.ok_or(StoreError::Row("the clock: run `tokenward migrate up`"))?;
    primary_position(row)?.ok_or(StoreError::Row("a position: it is a replica's, or read-only"))
}

/// As [`position`]; `None` where a replica answered. The timeline is part of the epoch.
pub(super) fn primary_position(row: &QueryResult) -> Result<Option<Position>, StoreError> {
    let Some(timeline) = row.try_get_by_index::<Option<String>>(2)? else { return Ok(None) };
    let (epoch, seq): (String, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let epoch = u128::from_str_radix(&epoch, 16).map_err(|_| StoreError::Row("an epoch"))?;
    let timeline = u128::from_str_radix(&timeline, 16).map_err(|_| StoreError::Row("a timeline"))?;
    Ok(Some(Position { epoch: epoch ^ timeline, seq: place(seq)? }))
}

/// A count that the database keeps as a signed integer.
pub(super) fn place(seq: i64) -> Result<u64, StoreError> {
    u64::try_from(seq).map_err(|_| StoreError::Row("a place in the journal"))
}

/// A digest in column 0; `None` when it is none.
pub(super) fn digest(row: &QueryResult) -> Result<Option<Digest>, StoreError> {
    let text: String = row.try_get_by_index(0)?;
    Ok(Digest::from_hex(&text).ok())
}

/// A user that is not there: its tokens are as good as a disabled one's.
pub(super) fn gone(id: UserId) -> User {
    User { id, active: false, attributes: BTreeMap::new() }
}

// === impl RecordRow ===

impl RecordRow {
    /// What the issuer wrote on it.
    pub(super) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.label.metadata
    }

    pub(super) fn with(self, user: User) -> TokenRecord {
        TokenRecord {
            digest: self.digest,
            user,
            created: self.created,
            expiry: self.expiry,
            revoked: self.revoked,
            last_used: self.last_used,
            label: self.label,
        }
    }
}

/// A token that another program issued has no label.
fn label(row: &QueryResult, at: usize) -> Result<Label, StoreError> {
    Ok(Label {
        display_name: row.try_get_by_index::<Option<String>>(at)?.unwrap_or_default(),
        scopes: json(row.try_get_by_index(at + 1)?, "a token's scopes")?,
        metadata: json(row.try_get_by_index(at + 2)?, "a token's metadata")?,
        hint: row.try_get_by_index::<Option<String>>(at + 3)?.unwrap_or_default(),
    })
}

fn json<T: DeserializeOwned + Default>(text: Option<String>, what: &'static str) -> Result<T, StoreError> {
    text.map_or_else(|| Ok(T::default()), |text| serde_json::from_str(&text).map_err(|_| StoreError::Row(what)))
}
