//! The audit trail: a record for each call that changed something, and for calls that were not let through.
//!
//! A record is named by a UUID that grows with time, and written at most once. Who serves with `audit.table` needs
//! `SELECT`, `INSERT` and `DELETE` on it; whoever must not be able to change what is recorded is given `INSERT` and
//! `SELECT` alone, with `audit.retention = "0s"`. Times are as in the other tables.

use async_trait::async_trait;
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager,
    prelude::{Alias, DbErr, Table},
    sea_orm::{ConnectionTrait as _, DatabaseBackend},
};

use crate::AUDIT_TABLE;

pub(crate) struct Change;

/// The chore of deleting what is past its retention.
const REMOVE_CHORE: &str = "DELETE FROM tokenward_chore WHERE name = 'audit'";

// === impl Change ===

impl MigrationName for Change {
    fn name(&self) -> &'static str {
        "m20261126_000005_audit"
    }
}

#[async_trait]
impl MigrationTrait for Change {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in statements(manager.get_database_backend()) {
            manager.get_connection().execute_unprepared(&statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(REMOVE_CHORE).await?;
        manager.drop_table(Table::drop().table(Alias::new(AUDIT_TABLE)).if_exists().take()).await
    }
}

/// What callers send is bounded before it is recorded, and the columns are as wide as the widest there is: a
/// record that the table refuses would be in the way of all after it.
fn statements(backend: DatabaseBackend) -> Vec<String> {
    let (time, number, end) = match backend {
        DatabaseBackend::Postgres => ("timestamptz", "bigint", ")"),
        DatabaseBackend::MySql => (
            "datetime(6)",
            "bigint",
            ", INDEX tokenward_audit_time (time)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        ),
        _ => ("text", "integer", ")"),
    };
    let table = format!(
        "CREATE TABLE IF NOT EXISTS {AUDIT_TABLE} (id varchar(36) NOT NULL PRIMARY KEY, time {time} NOT NULL, \
         event varchar(32) NOT NULL, caller text NOT NULL, peer text NOT NULL, certificate text NOT NULL, \
         request_id varchar(128) NOT NULL, method text, token_id varchar(32), successor varchar(32), user_id varchar(128), \
         code varchar(32) NOT NULL, reason varchar(64) NOT NULL, revoked {number}, revocation_reason varchar(32), \
         user_active {number}, suppressed {number} NOT NULL{end}"
    );
    let mut statements = vec![table];
    if backend != DatabaseBackend::MySql {
        statements.push(format!("CREATE INDEX IF NOT EXISTS tokenward_audit_time ON {AUDIT_TABLE} (time)"));
    }
    statements.push(match backend {
        DatabaseBackend::MySql => "INSERT IGNORE INTO tokenward_chore VALUES ('audit', '', 0, 0)".to_owned(),
        _ => "INSERT INTO tokenward_chore VALUES ('audit', '', 0, 0) ON CONFLICT (name) DO NOTHING".to_owned(),
    });
    statements
}
