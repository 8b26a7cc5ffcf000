//! Our own token and user tables, in django-rest-knox's layout, for deployments that
//! have none yet.

use async_trait::async_trait;
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager,
    prelude::{Alias, DbErr, Table},
    sea_orm::DatabaseBackend,
    sea_query::TableCreateStatement,
};

use crate::{
    NativeTables, exact_text,
    m20261120_000001_initial::{column, create, index, table},
    moment, user_id,
};

pub(crate) struct Change(pub(crate) NativeTables);

// === impl Change ===

impl MigrationName for Change {
    fn name(&self) -> &'static str {
        "m20261120_000002_native_tables"
    }
}

#[async_trait]
impl MigrationTrait for Change {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        manager.create_table(self.users(backend)).await?;
        create(manager, self.tokens(backend), index(&self.0.token_table, &self.0.token_user)).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [&self.0.token_table, &self.0.user_table] {
            manager.drop_table(Table::drop().table(Alias::new(name)).if_exists().take()).await?;
        }
        Ok(())
    }
}

impl Change {
    fn users(&self, backend: DatabaseBackend) -> TableCreateStatement {
        let names = &self.0;
        table(&names.user_table, backend)
            .col(user_id(&mut column(&names.user_id), backend, names.user_id_type).not_null().primary_key())
            .col(column(&names.user_active).boolean().not_null())
            .col(column(&names.user_attributes).text().not_null())
            .take()
    }

    fn tokens(&self, backend: DatabaseBackend) -> TableCreateStatement {
        let names = &self.0;
        table(&names.token_table, backend)
            .col(exact_text(&mut column(&names.token_digest), backend, 128).not_null().primary_key())
            .col(column(&names.token_key).string_len(25).not_null())
            .col(user_id(&mut column(&names.token_user), backend, names.user_id_type).not_null())
            .col(moment(&mut column(&names.token_created), backend).not_null())
            .col(moment(&mut column(&names.token_expiry), backend).null())
            .take()
    }
}
