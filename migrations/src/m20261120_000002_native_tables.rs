//! Our own token and user tables, in django-rest-knox's layout, for deployments that
//! have none yet.

use async_trait::async_trait;
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager,
    prelude::{Alias, DbErr, Table},
    sea_orm::{ConnectionTrait as _, DatabaseBackend, Statement},
    sea_query::TableCreateStatement,
};

use crate::{
    IdType, NativeTables, exact_text,
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
        let keys = user_id_type(manager, self.0.user_id_type).await?;
        manager.create_table(self.users(backend, keys)).await?;
        create(manager, self.tokens(backend, keys), index(&self.0.token_table, &self.0.token_user)).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [&self.0.token_table, &self.0.user_table] {
            manager.drop_table(Table::drop().table(Alias::new(name)).if_exists().take()).await?;
        }
        Ok(())
    }
}

impl Change {
    fn users(&self, backend: DatabaseBackend, keys: IdType) -> TableCreateStatement {
        let names = &self.0;
        table(&names.user_table, backend)
            .col(user_id(&mut column(&names.user_id), backend, keys).not_null().primary_key())
            .col(column(&names.user_active).boolean().not_null())
            .col(column(&names.user_attributes).text().not_null())
            .take()
    }

    fn tokens(&self, backend: DatabaseBackend, keys: IdType) -> TableCreateStatement {
        let names = &self.0;
        table(&names.token_table, backend)
            .col(exact_text(&mut column(&names.token_digest), backend, 128).not_null().primary_key())
            .col(column(&names.token_key).string_len(25).not_null())
            .col(user_id(&mut column(&names.token_user), backend, keys).not_null())
            .col(moment(&mut column(&names.token_created), backend).not_null())
            .col(moment(&mut column(&names.token_expiry), backend).null())
            .take()
    }
}

/// MySQL has no UUID type, nor has MariaDB before 10.7.
async fn user_id_type(manager: &SchemaManager<'_>, wanted: IdType) -> Result<IdType, DbErr> {
    if wanted != IdType::Uuid || manager.get_database_backend() != DatabaseBackend::MySql {
        return Ok(wanted);
    }
    let version = Statement::from_string(DatabaseBackend::MySql, "SELECT CAST(VERSION() AS CHAR)");
    let row = manager.get_connection().query_one_raw(version).await?;
    let version = row.map(|row| row.try_get_by_index::<String>(0)).transpose()?.unwrap_or_default();
    Ok(if has_uuid(&version) { IdType::Uuid } else { IdType::Char32 })
}

fn has_uuid(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    let release = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    version.contains("MariaDB") && release >= (10, 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mariadb_has_a_uuid_type_and_only_since_10_7() {
        for version in ["10.7.1-MariaDB", "10.11.14-MariaDB-0+deb12u2", "11.4.2-MariaDB-log", "12.0.1-MariaDB"] {
            assert!(has_uuid(version), "{version}");
        }
        for version in ["10.6.18-MariaDB", "8.4.0", "9.1.0-commercial", "11.0.0", ""] {
            assert!(!has_uuid(version), "{version}");
        }
    }
}
