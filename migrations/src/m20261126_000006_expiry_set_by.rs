//! The detail of a token says who gave it its end, when that was neither its issuer nor its
//! use: `update` (an administrator) or `rotation` (it has a successor). Use does not move such an end.

use async_trait::async_trait;
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager,
    prelude::{Alias, DbErr, Table},
};

use crate::{DETAIL_TABLE, m20261120_000001_initial::column};

const COLUMN: &str = "expiry_set_by";

pub(crate) struct Change;

// === impl Change ===

impl MigrationName for Change {
    fn name(&self) -> &'static str {
        "m20261126_000006_expiry_set_by"
    }
}

#[async_trait]
impl MigrationTrait for Change {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.has_column(DETAIL_TABLE, COLUMN).await? {
            return Ok(());
        }
        let mut table = Table::alter();
        manager
            .alter_table(table.table(Alias::new(DETAIL_TABLE)).add_column(column(COLUMN).string_len(16).null()).take())
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column(DETAIL_TABLE, COLUMN).await? {
            return Ok(());
        }
        let mut table = Table::alter();
        manager.alter_table(table.table(Alias::new(DETAIL_TABLE)).drop_column(Alias::new(COLUMN)).take()).await
    }
}
