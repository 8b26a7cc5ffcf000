//! How connections are made: URL to driver options, with the server-side limits that end
//! a statement whose client has given up.

use std::{
    fs::OpenOptions,
    io::{Error as IoError, ErrorKind},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use chrono_tz::Tz;
use sea_orm::{
    DatabaseConnection,
    sqlx::{
        ConnectOptions as _, Database, Executor as _,
        mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode},
        pool::PoolOptions,
        postgres::{PgConnectOptions, PgPoolOptions, PgSslMode, Postgres},
        query,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};

use super::{OpenError, dialect::Dialect, schema::Schema};
use crate::config;

/// Longest wait for SQLite's lock, also while the schema is changed.
const MAX_BUSY: Duration = Duration::from_mins(1);

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections.
    pub(super) connections: u32,
    /// Longest wait for one.
    pub(super) acquire: Duration,
    /// Longest wait for a statement.
    pub(super) statement: Duration,
}

/// What a session on PostgreSQL is told beside its limits.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Settings and their values, for the tables of another program.
    settings: Vec<(&'static str, String)>,
}

/// Makes pools to one database. Holds the password: no `Debug`.
#[derive(Clone)]
pub(super) struct Connector {
    options: Options,
    session: Session,
}

#[derive(Clone)]
enum Options {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
    Mysql(MySqlConnectOptions),
}

// === impl Limits ===

impl Limits {
    pub(super) fn of(config: &config::Database) -> Self {
        Self {
            connections: config.max_connections,
            acquire: config.acquire_timeout,
            statement: config.statement_timeout,
        }
    }

    /// When the server gives a statement up: a little before the client does, so that the
    /// client's own limit means that the server, or the way to it, is hung.
    fn server_statement(self) -> Duration {
        self.statement.mul_f64(0.9).max(Duration::from_millis(1))
    }

    /// When the server gives up a transaction whose client is silent, and frees its locks.
    fn server_idle_transaction(self) -> Duration {
        self.statement.saturating_mul(5).max(Duration::from_secs(1))
    }
}

// === impl Session ===

impl Session {
    pub(super) fn of(schema: &Schema) -> Self {
        let mut settings = vec![];
        if schema.token.zone != Tz::UTC {
            settings.push(("TimeZone", schema.token.zone.name().to_owned()));
        }
        if !schema.search_path.is_empty() {
            let quoted = schema.search_path.iter().map(|name| Dialect::Postgres.quote(name));
            settings.push(("search_path", quoted.collect::<Vec<_>>().join(", ")));
        }
        Self { settings }
    }

    /// Bound once a connection is made: what stands in the options of a connection cannot be quoted,
    /// and the driver says that the zone is UTC.
    fn begin(&self, pool: PoolOptions<Postgres>) -> PoolOptions<Postgres> {
        if self.settings.is_empty() {
            return pool;
        }
        let settings = self.settings.clone();
        pool.after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                for (name, value) in settings {
                    let set = query("SELECT set_config($1, $2, false)").bind(name).bind(value);
                    set.execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
    }
}

// === impl Connector ===

impl Connector {
    /// Reads the URL. No I/O, except that a SQLite file that is missing is created, for
    /// its owner only.
    pub(super) fn new(config: &config::Database, session: Session) -> Result<Self, OpenError> {
        let url = config.url.expose();
        let options = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Options::Sqlite(sqlite(url)?),
            Some("postgres" | "postgresql") => Options::Postgres(postgres_tls(parse(url)?, config)),
            Some("mysql" | "mariadb") => Options::Mysql(mysql_tls(parse(url)?, config)),
            Some(_) | None => return Err(OpenError::Scheme),
        };
        Ok(Self { options, session })
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.options {
            Options::Sqlite(_) => Dialect::Sqlite,
            Options::Postgres(_) => Dialect::Postgres,
            Options::Mysql(_) => Dialect::Mysql,
        }
    }

    /// Where it connects to, without user name and password.
    pub(super) fn target(&self) -> String {
        match &self.options {
            Options::Sqlite(options) => options.get_filename().display().to_string(),
            Options::Postgres(options) => options.get_socket().map_or_else(
                || format!("{}:{}", options.get_host(), options.get_port()),
                |socket| socket.display().to_string(),
            ),
            Options::Mysql(options) => options.get_socket().map_or_else(
                || format!("{}:{}", options.get_host(), options.get_port()),
                |socket| socket.display().to_string(),
            ),
        }
    }

    /// The file of a SQLite database.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.options {
            Options::Sqlite(options) => Some(options.get_filename()),
            Options::Postgres(_) | Options::Mysql(_) => None,
        }
    }

    /// A pool that connects when it is first used.
    pub(super) fn pool(&self, limits: Limits) -> DatabaseConnection {
        match &self.options {
            Options::Sqlite(options) => {
                let options = options.clone().busy_timeout(limits.server_statement().min(MAX_BUSY));
                bounded(SqlitePoolOptions::new(), limits).connect_lazy_with(options).into()
            }
            Options::Postgres(options) => {
                let pool = self.session.begin(bounded(PgPoolOptions::new(), limits));
                pool.connect_lazy_with(postgres(options.clone(), limits)).into()
            }
            Options::Mysql(options) => {
                let options = options.clone().disable_statement_logging();
                mysql(MySqlPoolOptions::new(), limits).connect_lazy_with(options).into()
            }
        }
    }
}

fn parse<O: std::str::FromStr<Err = sea_orm::SqlxError>>(url: &str) -> Result<O, OpenError> {
    // `mariadb://` is MySQL's URL under another name.
    let url = url.strip_prefix("mariadb").map_or_else(|| url.to_owned(), |rest| format!("mysql{rest}"));
    O::from_str(&url).map_err(|error| not_a_url(&error))
}

/// The driver quotes values of the URL, where a password may have landed.
fn not_a_url(error: &sea_orm::SqlxError) -> OpenError {
    let text = error.to_string();
    OpenError::Url(match (text.find('"'), text.rfind('"')) {
        (Some(first), Some(last)) => format!("{}..{}", &text[..first], &text[last + 1..]),
        _ => text,
    })
}

/// The driver reads the files for each connection.
fn postgres_tls(options: PgConnectOptions, config: &config::Database) -> PgConnectOptions {
    let Some(ca) = &config.tls_ca else { return options };
    let options = options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(ca);
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => options.ssl_client_cert(cert).ssl_client_key(key),
        (None, _) | (_, None) => options,
    }
}

/// As for PostgreSQL.
fn mysql_tls(options: MySqlConnectOptions, config: &config::Database) -> MySqlConnectOptions {
    let Some(ca) = &config.tls_ca else { return options };
    let options = options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca(ca);
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => options.ssl_client_cert(cert).ssl_client_key(key),
        (None, _) | (_, None) => options,
    }
}

fn bounded<DB: Database>(options: PoolOptions<DB>, limits: Limits) -> PoolOptions<DB> {
    options.max_connections(limits.connections).acquire_timeout(limits.acquire).test_before_acquire(false)
}

fn sqlite(url: &str) -> Result<SqliteConnectOptions, OpenError> {
    let options = SqliteConnectOptions::from_str(url).map_err(|error| not_a_url(&error))?;
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(OpenError::InMemory);
    }
    create_private(options.get_filename())
        .map_err(|source| OpenError::File { path: options.get_filename().to_owned(), source })?;
    Ok(options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .disable_statement_logging())
}

/// The SQLite file that is configured and not there.
pub(super) fn missing_file(config: &config::Database) -> Option<PathBuf> {
    let url = config.url.expose();
    let options = url.starts_with("sqlite:").then(|| SqliteConnectOptions::from_str(url).ok())??;
    Some(options.get_filename().to_owned()).filter(|file| !file.exists())
}

/// SQLite gives its `-wal` and `-shm` files the mode of the database file.
fn create_private(path: &Path) -> Result<(), IoError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn postgres(options: PgConnectOptions, limits: Limits) -> PgConnectOptions {
    let milliseconds = |limit: Duration| limit.as_millis().to_string();
    let named = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("tokenward"),
    };
    named.disable_statement_logging().options([
        ("statement_timeout", milliseconds(limits.server_statement())),
        ("idle_in_transaction_session_timeout", milliseconds(limits.server_idle_transaction())),
        ("default_transaction_isolation", "read committed".to_owned()),
    ])
}

/// MySQL has no connection options for these. What stands in `/*M! */` MariaDB alone
/// reads, what stands in `/*!50708 */` MySQL alone. `READ COMMITTED` keeps `InnoDB` from
/// locking the gaps between keys, which makes inserts of neighbours deadlock.
fn mysql(options: PoolOptions<sea_orm::sqlx::MySql>, limits: Limits) -> PoolOptions<sea_orm::sqlx::MySql> {
    let statement = limits.server_statement();
    let settings = format!(
        "SET SESSION innodb_lock_wait_timeout = {lock} \
         /*M!100100 , SESSION max_statement_time = {seconds} , SESSION idle_transaction_timeout = {idle} */ \
         /*!50708 , SESSION max_execution_time = {milliseconds} */",
        lock = whole_seconds(statement),
        seconds = statement.as_secs_f64(),
        idle = whole_seconds(limits.server_idle_transaction()),
        milliseconds = statement.as_millis(),
    );
    bounded(options, limits).after_connect(move |connection, _| {
        let settings = settings.clone();
        Box::pin(async move {
            connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
            connection.execute(sea_orm::sqlx::AssertSqlSafe(settings)).await?;
            Ok(())
        })
    })
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_its_parts() {
        for (url, part) in [
            ("postgres://u:hunter2@h/d?sslmode=hunter2", "ssl_mode"),
            ("postgres://u:hunter2@h/d?sslmode=hun\"ter2", "ssl_mode"),
            ("postgres://u:hunter2@h:port/d", "port"),
            ("mysql://u:hunter2@h/d?ssl-mode=hunter2", "ssl_mode"),
            ("sqlite://file?mode=hunter2", "mode"),
        ] {
            let config = config::Database { url: config::SecretText::new(url), ..config::Database::default() };
            let session = Session::of(&Schema::resolve(&config::Config::default()).expect("the defaults are good"));
            let error = Connector::new(&config, session).err().expect(url);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(part) && !shown.contains("ter2"), "{shown}");
        }
    }
}
