//! Which tables and columns hold tokens and users: a preset, and the names that the
//! configuration puts in place of the preset's.

use chrono_tz::Tz;
use tokenward_migrations::{IdType, Migrator, NativeTables};

use super::{OpenError, dialect::Dialect, extra::Extra, time::Times, triggers};
use crate::config::{Config, SchemaNames, SchemaPreset, UserIdType};

/// PostgreSQL's limit on an identifier, the lowest of the three databases.
const MAX_IDENTIFIER_BYTES: usize = 63;

/// The tables and columns of this deployment, as configured and not yet quoted.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) preset: SchemaPreset,
    pub(super) token: TokenTable,
    pub(super) user: UserTable,
    /// Where PostgreSQL looks for tables; empty for where it does unless told otherwise.
    pub(super) search_path: Vec<String>,
}

/// The token table.
#[derive(Clone, Debug)]
pub(super) struct TokenTable {
    pub(super) table: String,
    pub(super) digest: String,
    pub(super) key: String,
    pub(super) user: String,
    pub(super) created: String,
    pub(super) expiry: String,
    /// Further columns, and what goes into them.
    pub(super) extra: Extra,
    /// Zone of the times in `created` and `expiry`.
    pub(super) zone: Tz,
}

/// The user table.
#[derive(Clone, Debug)]
pub(super) struct UserTable {
    pub(super) table: String,
    pub(super) id: String,
    pub(super) id_type: UserIdType,
    /// `None`: every user that exists is active.
    pub(super) active: Option<String>,
    pub(super) attributes: Attributes,
}

/// Where a user's attributes are.
#[derive(Clone, Debug)]
pub(super) enum Attributes {
    /// In one column, as a JSON object of strings.
    Json(String),
    /// In columns of their own names.
    Columns(Vec<String>),
}

// === impl UserTable ===

impl UserTable {
    /// Columns that `rows::user` reads: the id, whether it is active, the attributes.
    pub(super) fn columns(&self) -> usize {
        2 + match &self.attributes {
            Attributes::Json(_) => 1,
            Attributes::Columns(columns) => columns.len(),
        }
    }
}

// === impl Schema ===

impl Schema {
    /// # Errors
    /// [`OpenError::Schema`] for the first name that no database takes.
    pub(super) fn resolve(config: &Config) -> Result<Self, OpenError> {
        let names = &config.schema;
        validate(names)?;
        let schema = match config.database.schema {
            SchemaPreset::Native => Self::native(names)?,
            SchemaPreset::Knox => Self::knox(names)?,
        };
        Ok(schema)
    }

    fn native(names: &SchemaNames) -> Result<Self, OpenError> {
        if names.user_attributes.is_some() {
            return Err(fault("user_attributes", "is for schema `knox`; native users keep any attributes"));
        }
        if names.user_active.as_deref() == Some("") {
            return Err(fault("user_active", "can be empty in schema `knox` only"));
        }
        Ok(Self {
            preset: SchemaPreset::Native,
            token: TokenTable::named(names, "tokenward_token")?,
            user: UserTable {
                table: or(names.user_table.as_ref(), "tokenward_user"),
                id: or(names.user_id.as_ref(), "id"),
                id_type: names.user_id_type.unwrap_or(UserIdType::Text),
                active: Some(or(names.user_active.as_ref(), "active")),
                attributes: Attributes::Json("attributes".to_owned()),
            },
            search_path: names.search_path.clone(),
        })
    }

    fn knox(names: &SchemaNames) -> Result<Self, OpenError> {
        let attributes = names.user_attributes.clone();
        Ok(Self {
            preset: SchemaPreset::Knox,
            token: TokenTable::named(names, "knox_authtoken")?,
            user: UserTable {
                table: or(names.user_table.as_ref(), "auth_user"),
                id: or(names.user_id.as_ref(), "id"),
                id_type: names.user_id_type.unwrap_or(UserIdType::Int),
                active: Some(or(names.user_active.as_ref(), "is_active")).filter(|column| !column.is_empty()),
                attributes: Attributes::Columns(
                    attributes.unwrap_or_else(|| vec!["username".to_owned(), "email".to_owned()]),
                ),
            },
            search_path: names.search_path.clone(),
        })
    }

    /// The same with every name quoted.
    pub(super) fn quoted(&self, dialect: Dialect) -> Self {
        let quote = |name: &String| dialect.quote(name);
        let Self { token, user, .. } = self;
        Self {
            preset: self.preset,
            search_path: self.search_path.iter().map(quote).collect(),
            token: TokenTable {
                table: quote(&token.table),
                digest: quote(&token.digest),
                key: quote(&token.key),
                user: quote(&token.user),
                created: quote(&token.created),
                expiry: quote(&token.expiry),
                extra: token.extra.quoted(dialect),
                zone: token.zone,
            },
            user: UserTable {
                table: quote(&user.table),
                id: quote(&user.id),
                id_type: user.id_type,
                active: user.active.as_ref().map(quote),
                attributes: match &user.attributes {
                    Attributes::Json(column) => Attributes::Json(quote(column)),
                    Attributes::Columns(columns) => Attributes::Columns(columns.iter().map(quote).collect()),
                },
            },
        }
    }

    /// The changes that bring a database to this schema. `home` is the quoted name of
    /// PostgreSQL's schema that the side tables are in.
    pub(super) fn migrator(&self, dialect: Dialect, home: &str) -> Migrator {
        Migrator {
            triggers: triggers::triggers(dialect, self, home),
            native: match (&self.user.active, &self.user.attributes) {
                (Some(active), Attributes::Json(attributes)) => Some(self.native_tables(active, attributes)),
                (Some(_) | None, Attributes::Columns(_)) | (None, Attributes::Json(_)) => None,
            },
        }
    }

    fn native_tables(&self, active: &str, attributes: &str) -> NativeTables {
        let Self { token, user, .. } = self;
        NativeTables {
            token_table: token.table.clone(),
            token_digest: token.digest.clone(),
            token_key: token.key.clone(),
            token_user: token.user.clone(),
            token_created: token.created.clone(),
            token_expiry: token.expiry.clone(),
            user_table: user.table.clone(),
            user_id: user.id.clone(),
            user_id_type: match user.id_type {
                UserIdType::Int => IdType::Int,
                UserIdType::Bigint => IdType::Bigint,
                UserIdType::Uuid => IdType::Uuid,
                UserIdType::Char32 => IdType::Char32,
                UserIdType::Text => IdType::Text,
            },
            user_active: active.to_owned(),
            user_attributes: attributes.to_owned(),
        }
    }
}

// === impl TokenTable ===

impl TokenTable {
    fn named(names: &SchemaNames, table: &str) -> Result<Self, OpenError> {
        let token = Self {
            table: or(names.token_table.as_ref(), table),
            digest: or(names.token_digest.as_ref(), "digest"),
            key: or(names.token_key.as_ref(), "token_key"),
            user: or(names.token_user.as_ref(), "user_id"),
            created: or(names.token_created.as_ref(), "created"),
            expiry: or(names.token_expiry.as_ref(), "expiry"),
            extra: Extra::parse(&names.token_extra).ok_or(fault("token_extra", "is COLUMN=VALUE"))?,
            zone: zone(names)?,
        };
        let own = [&token.digest, &token.key, &token.user, &token.created, &token.expiry];
        let filled = |column: &str| own.iter().any(|own| own.eq_ignore_ascii_case(column));
        if token.extra.columns().any(filled) {
            return Err(fault("token_extra", "names a column that this service fills by itself"));
        }
        Ok(token)
    }

    /// How the table's own times are kept.
    pub(super) fn times(&self, dialect: Dialect) -> Times {
        Times::of(dialect, self.zone)
    }
}

fn or(configured: Option<&String>, preset: &str) -> String {
    configured.cloned().unwrap_or_else(|| preset.to_owned())
}

fn zone(names: &SchemaNames) -> Result<Tz, OpenError> {
    let zone = names.time_zone.as_deref().unwrap_or("UTC");
    zone.parse().map_err(|_| fault("time_zone", "must be a name of the IANA database, such as Europe/Berlin"))
}

fn validate(names: &SchemaNames) -> Result<(), OpenError> {
    let single = [
        ("token_table", &names.token_table),
        ("token_digest", &names.token_digest),
        ("token_key", &names.token_key),
        ("token_user", &names.token_user),
        ("token_created", &names.token_created),
        ("token_expiry", &names.token_expiry),
        ("user_table", &names.user_table),
        ("user_id", &names.user_id),
    ];
    let mut given: Vec<(&'static str, &str)> =
        single.iter().filter_map(|(key, name)| Some((*key, name.as_deref()?))).collect();
    given.extend(names.user_active.as_deref().filter(|name| !name.is_empty()).map(|name| ("user_active", name)));
    given.extend(names.user_attributes.iter().flatten().map(|name| ("user_attributes", name.as_str())));
    given.extend(names.search_path.iter().map(|name| ("search_path", name.as_str())));
    given.extend(names.token_extra.iter().filter_map(|extra| Some(("token_extra", extra.split_once('=')?.0))));
    match given.into_iter().find(|(_, name)| !is_identifier(name)) {
        Some((key, _)) => Err(fault(key, "must be a name of 1 to 63 bytes without NUL")),
        None => Ok(()),
    }
}

fn is_identifier(name: &str) -> bool {
    (1..=MAX_IDENTIFIER_BYTES).contains(&name.len()) && !name.contains('\0')
}

fn fault(key: &'static str, remedy: &'static str) -> OpenError {
    OpenError::Schema { key, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(preset: SchemaPreset, names: SchemaNames) -> Result<Schema, OpenError> {
        let mut config = Config { schema: names, ..Config::default() };
        config.database.schema = preset;
        Schema::resolve(&config)
    }

    #[test]
    fn presets_give_the_names_that_are_not_configured() {
        let names = SchemaNames { token_table: Some("app_token".to_owned()), ..SchemaNames::default() };
        let schema = resolve(SchemaPreset::Knox, names).expect("a schema");
        assert_eq!(schema.token.table, "app_token");
        assert_eq!(schema.token.key, "token_key");
        assert_eq!(schema.user.table, "auth_user");
        assert_eq!(schema.user.id_type, UserIdType::Int);
        assert!(schema.migrator(Dialect::Sqlite, "").native.is_none(), "Django's tables are not ours to create");
        let native = resolve(SchemaPreset::Native, SchemaNames::default()).expect("a schema");
        assert_eq!(native.migrator(Dialect::Sqlite, "").native.expect("ours").token_table, "tokenward_token");
    }

    #[test]
    fn names_that_no_database_takes_are_refused_by_their_key() {
        for bad in [String::new(), "a\0b".to_owned(), "x".repeat(64)] {
            let names = SchemaNames { token_user: Some(bad), ..SchemaNames::default() };
            let refused = resolve(SchemaPreset::Knox, names).expect_err("a bad name");
            assert!(refused.to_string().starts_with("schema.token_user "), "{refused}");
        }
        let none = SchemaNames { user_active: Some(String::new()), ..SchemaNames::default() };
        assert!(resolve(SchemaPreset::Knox, none.clone()).expect("a schema").user.active.is_none());
        assert!(resolve(SchemaPreset::Native, none).is_err());
    }
}
