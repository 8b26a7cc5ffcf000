//! An administrator's SQL, past the relay.

use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbErr};

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
