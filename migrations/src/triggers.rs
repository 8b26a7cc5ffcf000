//! The triggers that write the journal: put up, taken down, looked for.
//!
//! They sit on tables that may be another program's, and what they watch is configured.
//! So they are no fixed step of the schema's history: their names carry a fingerprint of
//! their definition, and whatever is missing or of another fingerprint is put up anew.

use sea_orm_migration::{
    prelude::DbErr,
    sea_orm::{ConnectionTrait, DatabaseBackend, Statement},
};

/// The triggers of one deployment, as SQL.
#[derive(Clone, Debug)]
pub struct Triggers {
    /// The names of the triggers, each with its table, unquoted.
    pub names: Vec<Installed>,
    /// What puts them up, in this order, where there are none.
    pub create: Vec<String>,
    /// Functions that they call, for PostgreSQL to drop them with all that call them.
    pub functions: Vec<String>,
    /// Gives the name and the table of each of our triggers that fires.
    pub catalog: String,
}

/// A trigger and its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The trigger.
    pub name: String,
    /// Its table.
    pub table: String,
}

// === impl Triggers ===

impl Triggers {
    /// Puts up the triggers where any is missing, disabled or of another definition; says whether it had to.
    ///
    /// # Errors
    /// [`DbErr`], also when a table that they watch is not there.
    pub async fn install(&self, database: &impl ConnectionTrait) -> Result<Outcome, DbErr> {
        let found = self.found(database).await?;
        if self.missing(&found).is_empty() && found.len() == self.names.len() {
            return Ok(Outcome::Intact);
        }
        self.remove(database).await?;
        for statement in &self.create {
            database.execute_unprepared(statement).await?;
        }
        Ok(Outcome::PutUp)
    }

    /// Takes down every trigger of ours, whatever its definition.
    ///
    /// # Errors
    /// [`DbErr`].
    pub async fn remove(&self, database: &impl ConnectionTrait) -> Result<(), DbErr> {
        if database.get_database_backend() == DatabaseBackend::Postgres {
            for function in &self.functions {
                database.execute_unprepared(&format!("DROP FUNCTION IF EXISTS {function}() CASCADE")).await?;
            }
            return Ok(());
        }
        for Installed { name, .. } in self.found(database).await? {
            database.execute_unprepared(&format!("DROP TRIGGER IF EXISTS {name}")).await?;
        }
        Ok(())
    }

    /// Which of the triggers are not among those `found`. Databases differ in whether
    /// they keep the case of a table's name.
    #[must_use]
    pub fn missing(&self, found: &[Installed]) -> Vec<String> {
        let is_found = |wanted: &&Installed| {
            found.iter().any(|it| it.name == wanted.name && it.table.eq_ignore_ascii_case(&wanted.table))
        };
        self.names.iter().filter(|wanted| !is_found(wanted)).map(|wanted| wanted.name.clone()).collect()
    }

    async fn found(&self, database: &impl ConnectionTrait) -> Result<Vec<Installed>, DbErr> {
        let statement = Statement::from_string(database.get_database_backend(), self.catalog.as_str());
        let rows = database.query_all_raw(statement).await?;
        let read = |row: &sea_orm_migration::sea_orm::QueryResult| {
            Ok(Installed { name: row.try_get_by_index(0)?, table: row.try_get_by_index(1)? })
        };
        rows.iter().map(read).collect()
    }
}

/// What [`Triggers::install`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: all were there.
    Intact,
    /// It put them up.
    PutUp,
}
