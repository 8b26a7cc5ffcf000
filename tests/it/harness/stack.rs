//! The service with the servers behind it, each behind a relay.

use std::path::Path;

use super::{
    client::Client,
    mariadb::MariaDb,
    postgres::Postgres,
    redis::Redis,
    relay::Relay,
    server::{Server, Settings, setting, tokenward},
    template,
};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// A file in the service's directory.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// Which cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    /// The service's own memory.
    Memory,
    /// Redis.
    Redis,
}

/// A running service and what it depends on.
pub(crate) struct Stack {
    // Dropped first, so that the service does not log the loss of its servers.
    pub(crate) server: Server,
    database: Database,
    redis: Option<Behind<Redis>>,
    settings: Settings,
}

/// A server and the relay in front of it.
pub(crate) struct Behind<S> {
    /// The server.
    pub(crate) server: S,
    /// The relay.
    pub(crate) relay: Relay,
}

enum Database {
    Sqlite,
    Postgres(Behind<Postgres>),
    MariaDb(Behind<MariaDb>),
}

// === impl Stack ===

impl Stack {
    /// Starts everything, migrates the database, and waits until the service listens.
    pub(crate) async fn start(on: On, with: With) -> Self {
        Self::start_with(on, with, &[]).await
    }

    /// The same, with settings of the service.
    pub(crate) async fn start_with(on: On, with: With, extra: &[(&str, &str)]) -> Self {
        let redis = match with {
            With::Memory => None,
            With::Redis => Some(redis().await),
        };
        Self::on(Database::start(on).await, redis, extra).await
    }

    /// The same, with a Redis in whatever condition it is.
    pub(crate) async fn start_before(on: On, redis: Behind<Redis>) -> Self {
        Self::on(Database::start(on).await, Some(redis), &[]).await
    }

    async fn on(database: Database, redis: Option<Behind<Redis>>, extra: &[(&str, &str)]) -> Self {
        let mut settings: Settings = extra.iter().map(|(key, value)| setting(key, *value)).collect();
        settings.extend(database.url().map(|url| setting("TOKENWARD_DATABASE__URL", url)));
        let address = redis.as_ref().map(|redis| redis.relay.address());
        settings.extend(address.map(|address| setting("TOKENWARD_REDIS__URL", format!("redis://{address}"))));
        let dir = template::directory();
        database.migrate(dir.path(), &settings);
        Self { server: Server::start_in(dir, &settings).await, database, redis, settings }
    }

    /// Clients on the service's first connection.
    pub(crate) fn client(&self) -> Client {
        self.server.client()
    }

    /// One more service with the same settings: a replica, or with SQLite, whose file is in
    /// the service's own directory, another deployment on the same Redis.
    pub(crate) async fn another_server(&self) -> Server {
        Server::start(&self.settings).await
    }

    /// Redis, in a stack that has it.
    pub(crate) fn redis(&mut self) -> &mut Behind<Redis> {
        self.redis.as_mut().expect("this stack has Redis")
    }

    /// PostgreSQL, in a stack that has it.
    pub(crate) fn postgres(&mut self) -> &mut Behind<Postgres> {
        match &mut self.database {
            Database::Postgres(postgres) => postgres,
            Database::Sqlite | Database::MariaDb(_) => panic!("this stack has no PostgreSQL"),
        }
    }

    /// MariaDB, in a stack that has it.
    pub(crate) fn mariadb(&mut self) -> &mut Behind<MariaDb> {
        match &mut self.database {
            Database::MariaDb(mariadb) => mariadb,
            Database::Sqlite | Database::Postgres(_) => panic!("this stack has no MariaDB"),
        }
    }
}

// === impl Database ===

impl Database {
    async fn start(on: On) -> Self {
        match on {
            On::Sqlite => Self::Sqlite,
            On::Postgres => Self::Postgres(postgres().await),
            On::MariaDb => Self::MariaDb(mariadb().await),
        }
    }

    fn url(&self) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(postgres) => Some(format!("postgres://tokenward@{}/tokenward", postgres.relay.address())),
            Self::MariaDb(mariadb) => Some(format!("mysql://root@{}/tokenward", mariadb.relay.address())),
        }
    }

    /// `serve` does this by itself on SQLite.
    fn migrate(&self, dir: &Path, settings: &Settings) {
        if !matches!(self, Self::Sqlite) {
            template::run(tokenward(dir, settings).args(["migrate", "up"]));
        }
    }
}

/// PostgreSQL behind a relay.
pub(crate) async fn postgres() -> Behind<Postgres> {
    let server = Postgres::start().await;
    Behind { relay: Relay::to(server.socket()).await, server }
}

/// MariaDB behind a relay.
pub(crate) async fn mariadb() -> Behind<MariaDb> {
    let server = MariaDb::start().await;
    Behind { relay: Relay::to(server.socket()).await, server }
}

/// Redis behind a relay.
pub(crate) async fn redis() -> Behind<Redis> {
    let server = Redis::start().await;
    Behind { relay: Relay::to(server.socket()).await, server }
}
