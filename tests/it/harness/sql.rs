//! An administrator's SQL, past the relay.

use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbErr, Statement};

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

/// Every row of every table of a PostgreSQL database, as text, by table.
pub(crate) async fn everything(url: &str) -> Vec<(String, String)> {
    let connection = connect(url).await.expect("the administrator may connect");
    let rows = async |sql: String| -> Vec<String> {
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let rows = connection.query_all_raw(statement).await.expect("the administrator may read");
        rows.iter().map(|row| row.try_get_by_index(0).expect("a text")).collect()
    };
    let named = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let mut all = Vec::new();
    for table in rows(named.to_owned()).await {
        let text = rows(format!("SELECT t::text FROM \"{table}\" t")).await.join("\n");
        all.push((table, text));
    }
    all
}
