//! `tokenward config check`: whether the database has what the settings say.
//!
//! Everything that does not fit is found in one pass, each with the setting that is wrong and what to do. Only
//! catalogs are read, and whether a token table is empty; nothing is changed. What a catalog
//! says stands in `catalog.rs`, what is made of it in `judge.rs`.

use std::fmt;

use super::{Database, Inner, SchemaError, connect, error::StoreError};
use crate::{
    config::Config,
    domain::{self, Journal as _, Triggers},
};

mod catalog;
mod judge;

use catalog::Catalog;
use judge::Judge;

/// Something in the database that does not fit the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The setting that it shows against.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The service would not work.
    Fault,
    /// It would, and perhaps not as is meant.
    Warning,
}

// === impl Database ===

impl Database {
    /// Whether the settings name a SQLite file that does not exist; opening the database would create it.
    #[must_use]
    pub fn is_yet_to_be_created(config: &Config) -> bool {
        connect::missing_file(&config.database).is_some()
    }

    /// Compares the settings with the database.
    ///
    /// # Errors
    /// [`SchemaError::Database`] when it cannot be asked.
    pub async fn check(&self) -> Result<Vec<Finding>, SchemaError> {
        let unanswered = |error: StoreError| SchemaError::Database(Box::new(error));
        let mut findings = tables(&self.0).await.map_err(unanswered)?;
        findings.extend(self.own_tables().await?);
        Ok(findings)
    }

    async fn own_tables(&self) -> Result<Option<Finding>, SchemaError> {
        let problem = match self.require_current_schema().await {
            Ok(()) => {
                match self.intact().await.map_err(|error: domain::Error| SchemaError::Database(Box::new(error)))? {
                    Triggers::Enabled => return Ok(None),
                    Triggers::Missing(names) => format!("lacks triggers of the journal: {names}"),
                }
            }
            Err(SchemaError::Behind { pending }) => format!("lacks changes: {}", pending.join(", ")),
            Err(error) => return Err(error),
        };
        Ok(Some(Finding::fault("database.url", problem, "run `tokenward migrate up`")))
    }
}

async fn tables(inner: &Inner) -> Result<Vec<Finding>, StoreError> {
    let catalog = Catalog::new(inner);
    let schema = &inner.schema;
    let (tokens, users) = (catalog.columns(&schema.token.table).await?, catalog.columns(&schema.user.table).await?);
    let mut judge = Judge::new(inner.dialect, schema, inner.digest_chars);
    judge.tokens(&tokens);
    judge.users(&users);
    if !tokens.is_empty() {
        judge.rights(&catalog.missing_rights(schema).await?);
        judge.swapped(&catalog.fuller_tables(schema).await?);
    }
    Ok(judge.findings)
}

// === impl Finding ===

impl Finding {
    /// One of [`Severity::Fault`].
    pub(crate) fn fault(key: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Fault, key, problem: problem.into(), remedy: remedy.into() }
    }

    fn warning(key: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::fault(key, problem, remedy) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, key, problem, remedy } = self;
        match severity {
            Severity::Fault => write!(f, "{key}: {problem}\n    {remedy}"),
            Severity::Warning => write!(f, "warning: {key}: {problem}\n    {remedy}"),
        }
    }
}
