//! How the tables of another program are made: names, types, digests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Table and column names, where they differ from the preset that `database.schema` names.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct SchemaNames {
    /// The token table.
    pub token_table: Option<String>,
    /// The token table's primary key column.
    pub token_digest: Option<String>,
    /// The token table's selector column.
    pub token_key: Option<String>,
    /// The token table's owner column.
    pub token_user: Option<String>,
    /// The token table's creation column.
    pub token_created: Option<String>,
    /// The token table's expiry column.
    pub token_expiry: Option<String>,
    /// The user table.
    pub user_table: Option<String>,
    /// The user table's primary key column.
    pub user_id: Option<String>,
    /// Type of the user table's primary key.
    pub user_id_type: Option<UserIdType>,
    /// The user table's active column; empty where there is none.
    pub user_active: Option<String>,
    /// Columns of the user table that Authenticate returns as attributes.
    pub user_attributes: Option<Vec<String>>,
    /// What IssueToken writes into further columns of a swapped token model, each as `COLUMN=VALUE`.
    pub token_extra: Vec<String>,
    /// Time zone of times that the database keeps without one (Django's `USE_TZ = False`), such as
    /// `Europe/Berlin`; UTC where unset.
    pub time_zone: Option<String>,
    /// PostgreSQL schemas in which tables are looked for, the first of which gets our own; the database's where unset.
    pub search_path: Vec<String>,
}

/// Type of a user table's primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserIdType {
    /// 32-bit integer.
    Int,
    /// 64-bit integer.
    Bigint,
    /// A database UUID.
    Uuid,
    /// A UUID as 32 hexadecimal characters.
    Char32,
    /// Text.
    Text,
}

/// Hash function of digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenHash {
    /// SHA-512.
    #[default]
    Sha512,
    /// SHA-256.
    Sha256,
    /// SHA3-512.
    #[serde(rename = "sha3-512")]
    Sha3,
    /// `BLAKE2b` with 64 bytes.
    #[serde(rename = "blake2b-512")]
    Blake2b,
}

/// What follows a token's prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenFormat {
    /// 64 hexadecimal digits.
    #[default]
    Knox,
    /// 43 digits of base 62 and a checksum.
    Checksummed,
}

/// How a digest is made of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DigestForm {
    /// Of its text, as knox 5 does.
    Knox5,
    /// Of the bytes that its hexadecimal digits stand for, as knox 4.2 did.
    Knox4,
}
