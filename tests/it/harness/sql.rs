//! An administrator's SQL, past the relay.

use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, DbErr, Statement};

/// Django REST framework's table of keys in clear.
const PLAINTEXT: &str = "authtoken_token";

/// One connection, that fails rather than waits.
pub(crate) async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    options.connect_timeout(Duration::from_secs(1)).acquire_timeout(Duration::from_secs(1));
    Database::connect(options).await
}

/// Runs one statement on a connection of its own.
pub(crate) async fn execute(url: &str, statement: &str) -> Result<(), DbErr> {
    let connection = connect(url).await?;
    connection.execute_unprepared(statement).await?;
    connection.close().await
}

/// Every row of every table, as text or bytes, by table.
pub(crate) async fn everything(url: &str) -> Vec<(String, Vec<u8>)> {
    some_of_everything(url, usize::MAX >> 1).await.expect("the administrator may read")
}

/// The same, of so many rows of each table.
pub(crate) async fn some_of_everything(url: &str, rows: usize) -> Result<Vec<(String, Vec<u8>)>, DbErr> {
    let connection = connect(url).await?;
    let backend = connection.get_database_backend();
    let mut all = Vec::new();
    for row in connection.query_all_raw(Statement::from_string(backend, tables(backend))).await? {
        let (table, columns): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        if table == PLAINTEXT {
            continue;
        }
        let found = connection.query_all_raw(Statement::from_string(backend, content(backend, &table, &columns, rows)));
        let texts = found.await?.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<Vec<u8>>, _>>()?;
        all.push((table, texts.join(&b'\n')));
    }
    connection.close().await?;
    Ok(all)
}

/// The name of each table, and its columns as [`content`] needs them.
fn tables(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => {
            "SELECT table_name::text, '' FROM information_schema.tables \
             WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        }
        DbBackend::MySql => {
            "SELECT table_name, GROUP_CONCAT('`', column_name, '`') FROM information_schema.columns \
             WHERE table_schema = DATABASE() GROUP BY table_name"
        }
        _ => {
            "SELECT t.name, group_concat('quote(\"' || c.name || '\")', ' || '' '' || ') \
             FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' GROUP BY t.name"
        }
    }
}

fn content(backend: DbBackend, table: &str, columns: &str, rows: usize) -> String {
    match backend {
        DbBackend::Postgres => format!("SELECT convert_to(t::text, 'UTF8') FROM \"{table}\" t LIMIT {rows}"),
        DbBackend::MySql => format!("SELECT CAST(CONCAT_WS(' ', {columns}) AS BINARY) FROM `{table}` LIMIT {rows}"),
        _ => format!("SELECT CAST({columns} AS BLOB) FROM \"{table}\" LIMIT {rows}"),
    }
}
