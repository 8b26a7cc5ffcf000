//! The side tables, beside whichever token and user tables there are: what a token's
//! issuer wrote on it and how it ended, idempotent requests, and the clock that places
//! every read in the order of invalidations.

use async_trait::async_trait;
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager,
    prelude::{Alias, DbErr, Index, Table},
    sea_orm::{ConnectionTrait as _, DatabaseBackend},
    sea_query::{ColumnDef, IndexCreateStatement, TableCreateStatement},
};

use crate::{CLOCK_TABLE, DETAIL_TABLE, REQUEST_TABLE, exact_text, moment};

pub(crate) struct Change;

// === impl Change ===

impl MigrationName for Change {
    fn name(&self) -> &'static str {
        "m20261120_000001_initial"
    }
}

#[async_trait]
impl MigrationTrait for Change {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        create(manager, detail(backend), index(DETAIL_TABLE, "user_id")).await?;
        create(manager, request(backend), index(REQUEST_TABLE, "created")).await?;
        manager.create_table(clock(backend)).await?;
        manager.get_connection().execute_unprepared(first_tick(backend)).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [CLOCK_TABLE, REQUEST_TABLE, DETAIL_TABLE] {
            manager.drop_table(Table::drop().table(Alias::new(table)).if_exists().take()).await?;
        }
        Ok(())
    }
}

fn detail(backend: DatabaseBackend) -> TableCreateStatement {
    table(DETAIL_TABLE, backend)
        .col(exact_text(&mut column("digest"), backend, 128).not_null().primary_key())
        .col(exact_text(&mut column("user_id"), backend, 128).not_null())
        .col(column("display_name").text().not_null())
        .col(column("scopes").text().not_null())
        .col(column("metadata").text().not_null())
        .col(column("hint").string_len(32).not_null())
        .col(column("issuer").string_len(128).null())
        .col(moment(&mut column("created"), backend).not_null())
        .col(moment(&mut column("expiry"), backend).null())
        .col(moment(&mut column("last_used_at"), backend).null())
        .col(moment(&mut column("revoked_at"), backend).null())
        .col(column("revocation_reason").string_len(32).null())
        .take()
}

fn request(backend: DatabaseBackend) -> TableCreateStatement {
    table(REQUEST_TABLE, backend)
        .col(exact_text(&mut column("id"), backend, 64).not_null().primary_key())
        .col(column("body").string_len(64).not_null())
        .col(column("sealed").string_len(128).not_null())
        .col(exact_text(&mut column("digest"), backend, 128).not_null())
        .col(moment(&mut column("created"), backend).not_null())
        .take()
}

fn clock(backend: DatabaseBackend) -> TableCreateStatement {
    table(CLOCK_TABLE, backend)
        .col(column("id").small_integer().not_null().primary_key())
        .col(column("epoch").string_len(32).not_null())
        .col(column("seq").big_integer().not_null())
        .col(column("floor").big_integer().not_null())
        .take()
}

/// The clock's only row. The epoch needs to differ between databases, not to be secret.
fn first_tick(backend: DatabaseBackend) -> &'static str {
    match backend {
        DatabaseBackend::Postgres => {
            "INSERT INTO tokenward_clock (id, epoch, seq, floor) \
             VALUES (1, replace(gen_random_uuid()::text, '-', ''), 0, 0) ON CONFLICT (id) DO NOTHING"
        }
        DatabaseBackend::MySql => {
            "INSERT IGNORE INTO tokenward_clock (id, epoch, seq, floor) \
             VALUES (1, md5(concat(uuid(), rand(), connection_id())), 0, 0)"
        }
        _ => {
            "INSERT INTO tokenward_clock (id, epoch, seq, floor) \
             VALUES (1, lower(hex(randomblob(16))), 0, 0) ON CONFLICT (id) DO NOTHING"
        }
    }
}

// === shared with the other changes ===

pub(crate) fn column(name: &str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
}

/// On MySQL the table's collation makes keys compare exactly.
pub(crate) fn table(name: &str, backend: DatabaseBackend) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(Alias::new(name)).if_not_exists();
    if backend == DatabaseBackend::MySql {
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    table
}

pub(crate) fn index(table: &str, on: &str) -> IndexCreateStatement {
    // PostgreSQL cuts names at 63 bytes, and sea-query does not escape an index's name.
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    let name: String = format!("tokenward_{on}_idx_{table}").chars().filter(plain).take(63).collect();
    Index::create().name(name).table(Alias::new(table)).col(Alias::new(on)).if_not_exists().take()
}

/// MySQL knows no `CREATE INDEX IF NOT EXISTS`, the others no index inside `CREATE TABLE`.
pub(crate) async fn create(
    manager: &SchemaManager<'_>,
    mut table: TableCreateStatement,
    mut index: IndexCreateStatement,
) -> Result<(), DbErr> {
    if manager.get_database_backend() == DatabaseBackend::MySql {
        return manager.create_table(table.index(&mut index).take()).await;
    }
    manager.create_table(table).await?;
    manager.create_index(index).await
}
