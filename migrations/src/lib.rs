//! The schema's history: one dated file per change, expand first, contract a version later.
//!
//! [`Migrator`] holds what a change has to know of the deployment: in a `native` schema
//! the token and user tables are ours to create, in an adopted one (django-rest-knox's)
//! they belong to another program and only the side tables are ours. Each change works on
//! SQLite, PostgreSQL and MySQL or MariaDB, and is written so that running it again
//! after a crash half-way ends well, since MySQL commits each DDL statement by itself.

pub use std::collections::HashSet;

use sea_orm_migration::{
    MigrationTrait, MigratorTraitSelf, SchemaManager,
    prelude::{Alias, DbErr, DynIden, IntoIden as _},
    sea_orm::{ConnectionTrait as _, DatabaseBackend, DatabaseTransaction},
    sea_query::{ColumnDef, Query},
};

mod m20261120_000001_initial;
mod m20261120_000002_native_tables;
mod m20261120_000003_journal;
mod m20261121_000004_upkeep;
mod m20261126_000005_audit;
mod m20261126_000006_expiry_set_by;
mod triggers;

pub use triggers::{Installed, Outcome, Triggers};

/// The table that remembers which changes were applied.
pub const MIGRATION_TABLE: &str = "tokenward_migrations";
/// What the issuer wrote on a token, and how the token ended.
pub const DETAIL_TABLE: &str = "tokenward_token_detail";
/// Which `request_id` issued which token.
pub const REQUEST_TABLE: &str = "tokenward_issue_request";
/// One row: the database's incarnation and the place in its journal.
pub const CLOCK_TABLE: &str = "tokenward_clock";
/// What has ended, in the order of commits.
pub const JOURNAL_TABLE: &str = "tokenward_journal";
/// PostgreSQL's channel on which each record is announced when it is committed.
pub const CHANNEL: &str = "tokenward_journal";
/// Ended tokens that django-rest-knox-redis has yet to be told of.
pub const OUTBOX_TABLE: &str = "tokenward_outbox";
/// What one replica does at a time, who does it, and when it was last done.
pub const CHORE_TABLE: &str = "tokenward_chore";
/// Who changed what, and who was not let through.
pub const AUDIT_TABLE: &str = "tokenward_audit";
/// What [`Migrator::apply`] names when it put triggers up that were gone.
const TRIGGERS: &str = "triggers of the journal";

/// A record that outdates every fact.
const NOTE_EVERYTHING: &str = "INSERT INTO tokenward_journal (digest, user_id) VALUES (NULL, NULL)";

/// The changes that a deployment needs, in their order.
#[derive(Clone, Debug)]
pub struct Migrator {
    /// Our own token and user tables; `None` where they are another program's.
    pub native: Option<NativeTables>,
    /// What writes the journal.
    pub triggers: Triggers,
}

/// Names of the token and user tables that a `native` schema creates.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the column or table of that name")]
pub struct NativeTables {
    pub token_table: String,
    pub token_digest: String,
    pub token_key: String,
    pub token_user: String,
    pub token_created: String,
    pub token_expiry: String,
    pub user_table: String,
    pub user_id: String,
    pub user_id_type: IdType,
    pub user_active: String,
    pub user_attributes: String,
}

/// Type of the user table's primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdType {
    /// 32-bit integer.
    Int,
    /// 64-bit integer.
    Bigint,
    /// The database's UUID type; 32 hexadecimal characters on SQLite, MySQL, and MariaDB before 10.7.
    Uuid,
    /// 32 hexadecimal characters.
    Char32,
    /// Text of at most 128 bytes.
    Text,
}

/// A change, and whether a database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, which begins with its date.
    pub name: String,
    /// Whether it was applied.
    pub applied: bool,
}

// === impl Migrator ===

impl Migrator {
    /// Every change that this version knows, in order. Changes that the database has from
    /// a newer version are passed over: a newer schema serves older versions too.
    ///
    /// # Errors
    /// [`DbErr`].
    pub async fn steps(&self, database: &DatabaseTransaction) -> Result<Vec<Step>, DbErr> {
        let applied = applied(database).await?;
        let step = |name: String| Step { applied: applied.contains(&name), name };
        Ok(self.migrations().iter().map(|change| step(change.name().to_owned())).collect())
    }

    /// Applies what is pending, and puts triggers up again that were dropped, disabled or
    /// made for another configuration; gives the names. What triggers that were gone have
    /// missed is made good by a record of everything.
    ///
    /// # Errors
    /// [`DbErr`].
    pub async fn apply(&self, database: &DatabaseTransaction) -> Result<Vec<String>, DbErr> {
        let pending = self.steps(database).await?.into_iter().filter(|step| !step.applied);
        let mut applied: Vec<_> = pending.map(|step| step.name).collect();
        if !applied.is_empty() {
            self.up(database, None).await?;
        }
        if self.triggers.install(database).await? == Outcome::PutUp {
            // While they were gone anything may have ended, and no replica need have noticed.
            database.execute_unprepared(NOTE_EVERYTHING).await?;
            applied.push(TRIGGERS.to_owned());
        }
        Ok(applied)
    }

    /// Undoes the last `count` changes that were applied; gives the names, the last one first.
    ///
    /// # Errors
    /// [`DbErr`], also when a newer version has changed the schema since.
    pub async fn undo(&self, database: &DatabaseTransaction, count: u32) -> Result<Vec<String>, DbErr> {
        let applied = self.steps(database).await?.into_iter().rev().filter(|step| step.applied);
        let names = applied.take(count as usize).map(|step| step.name).collect();
        self.down(database, Some(count)).await?;
        Ok(names)
    }
}

async fn applied(database: &DatabaseTransaction) -> Result<HashSet<String>, DbErr> {
    if !SchemaManager::new(database).has_table(MIGRATION_TABLE).await? {
        return Ok(HashSet::new());
    }
    let names = Query::select().column(Alias::new("version")).from(Alias::new(MIGRATION_TABLE)).take();
    database.query_all(&names).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

impl MigratorTraitSelf for Migrator {
    fn migrations(&self) -> Vec<Box<dyn MigrationTrait>> {
        let mut changes: Vec<Box<dyn MigrationTrait>> = vec![Box::new(m20261120_000001_initial::Change)];
        if let Some(tables) = &self.native {
            changes.push(Box::new(m20261120_000002_native_tables::Change(tables.clone())));
        }
        changes.push(Box::new(m20261120_000003_journal::Change(self.triggers.clone())));
        changes.push(Box::new(m20261121_000004_upkeep::Change));
        changes.push(Box::new(m20261126_000005_audit::Change));
        changes.push(Box::new(m20261126_000006_expiry_set_by::Change));
        changes
    }

    fn migration_table_name(&self) -> DynIden {
        Alias::new(MIGRATION_TABLE).into_iden()
    }
}

// === columns that differ between databases ===

/// Text that compares byte by byte. On MySQL the table's collation sees to that, on SQLite it is the default.
fn exact_text(column: &mut ColumnDef, backend: DatabaseBackend, length: u32) -> &mut ColumnDef {
    column.string_len(length);
    if backend == DatabaseBackend::Postgres {
        column.extra("COLLATE \"C\"");
    }
    column
}

/// A moment to the microsecond: `timestamptz`, `datetime(6)` in UTC, or text as Django writes it.
fn moment(column: &mut ColumnDef, backend: DatabaseBackend) -> &mut ColumnDef {
    match backend {
        DatabaseBackend::Postgres => column.timestamp_with_time_zone(),
        DatabaseBackend::MySql => column.custom(Alias::new("datetime(6)")),
        _ => column.text(),
    }
}

/// A column that holds a user's primary key.
fn user_id(column: &mut ColumnDef, backend: DatabaseBackend, kind: IdType) -> &mut ColumnDef {
    match kind {
        IdType::Int => column.integer(),
        IdType::Bigint => column.big_integer(),
        IdType::Uuid if backend == DatabaseBackend::Postgres => column.uuid(),
        IdType::Uuid if backend == DatabaseBackend::MySql => column.custom(Alias::new("uuid")),
        IdType::Uuid | IdType::Char32 => column.char_len(32),
        IdType::Text => exact_text(column, backend, 128),
    }
}
