//! A PostgreSQL of our own, on a port of 127.0.0.1.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sea_orm::{ConnectOptions, ConnectionTrait as _, DatabaseBackend, DatabaseConnection, DbErr, Statement};
use tokio::time::sleep;

use super::{
    super::Error,
    process::{Account, Process},
    redis::free_port,
};

const START_LIMIT: Duration = Duration::from_secs(30);
const ATTEMPTS: usize = 5;
/// Not counted when time is measured would be better; it costs a few percent of PostgreSQL's time, which is on the other core.
const COUNTING: &str = "pg_stat_statements";

/// A running cluster with a database `tokenward`, owned by the role `tokenward`.
#[derive(Debug)]
pub(super) struct Postgres {
    process: Process,
    dir: PathBuf,
    port: u16,
    account: Option<Account>,
    admin: DatabaseConnection,
    counts: bool,
}

// === impl Postgres ===

impl Postgres {
    /// Makes a cluster in a directory of its own, starts it, and waits until it answers.
    pub(super) async fn start(dir: &Path) -> Result<Self, Error> {
        let account = Account::unprivileged();
        initialise(dir, account)?;
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            let mut process = launch(dir, port, account)?;
            match Box::pin(provided(port, &mut process)).await {
                Ok((admin, counts)) => return Ok(Self { process, dir: dir.to_owned(), port, account, admin, counts }),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    /// The service's way to its database.
    pub(super) fn url(&self) -> String {
        url("tokenward", self.port, "tokenward")
    }

    /// Ends it as a crash would, but for the shared memory, which SIGKILL would leak, and for the counts of statements,
    /// which SIGQUIT has it write down.
    pub(super) fn kill(&mut self) {
        self.process.end(Signal::QUIT);
    }

    /// Starts it again after [`Self::kill`].
    pub(super) async fn restart(&mut self) -> Result<(), Error> {
        self.process = launch(&self.dir, self.port, self.account)?;
        answers(self.port, "tokenward", &mut self.process).await?;
        Ok(())
    }

    /// Statements that the service's role has run since the first start; `None` when they are not counted.
    pub(super) async fn statements(&self) -> Option<u64> {
        if !self.counts {
            return None;
        }
        let text = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE userid = 'tokenward'::regrole";
        let row = self.admin.query_one_raw(Statement::from_string(DatabaseBackend::Postgres, text)).await.ok()??;
        row.try_get_by_index::<i64>(0).ok().and_then(|calls| u64::try_from(calls).ok())
    }

    /// Runs statements as the administrator, in the service's database.
    pub(super) async fn execute(&self, statements: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Error> {
        for statement in statements {
            self.admin.execute_unprepared(statement.as_ref()).await?;
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn initialise(dir: &Path, account: Option<Account>) -> Result<(), Error> {
    let mut command = Command::new(program("initdb"));
    command.arg("-D").arg(dir.join("data")).args(["--username=postgres", "--auth=trust", "--encoding=UTF8"]);
    command.args(["--locale=C", "--no-sync"]);
    let failed = |source| Error::Start { program: "initdb".to_owned(), source };
    if let Some(account) = account {
        account.give(dir).map_err(failed)?;
        account.run(&mut command);
    }
    let output = command.output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Useless { program: "initdb", tail: String::from_utf8_lossy(&output.stderr).into_owned() })
}

fn launch(dir: &Path, port: u16, account: Option<Account>) -> Result<Process, Error> {
    let mut command = Command::new(program("postgres"));
    command.arg("-D").arg(dir.join("data")).arg("-k").arg(dir).args(["-p", &port.to_string()]);
    let preload = format!("shared_preload_libraries={}", if has_counting() { COUNTING } else { "" });
    for setting in [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "full_page_writes=off",
        "autovacuum=off",
        "max_wal_size=8GB",
        "shared_buffers=256MB",
        "max_connections=100",
        &preload,
    ] {
        command.args(["-c", setting]);
    }
    if let Some(account) = account {
        account.run(&mut command);
    }
    Process::spawn(command, dir, "postgres")
}

async fn provided(port: u16, process: &mut Process) -> Result<(DatabaseConnection, bool), Error> {
    let server = answers(port, "postgres", process).await?;
    for statement in ["CREATE ROLE tokenward LOGIN", "CREATE DATABASE tokenward OWNER tokenward"] {
        server.execute_unprepared(statement).await?;
    }
    server.close().await?;
    let admin = connect(port, "tokenward").await?;
    let counts = admin.execute_unprepared("CREATE EXTENSION pg_stat_statements").await.is_ok();
    Ok((admin, counts))
}

async fn answers(port: u16, database: &str, process: &mut Process) -> Result<DatabaseConnection, Error> {
    let start = Instant::now();
    loop {
        match connect(port, database).await {
            Ok(connection) => return Ok(connection),
            Err(_) if process.has_ended() || start.elapsed() > START_LIMIT => return Err(process.complaint()),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connect(port: u16, database: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url("postgres", port, database));
    options.max_connections(1).sqlx_logging(false).acquire_timeout(Duration::from_secs(5));
    // Boxed, as what it awaits is deep: the compiler gives up on the layout of what contains it.
    Box::pin(sea_orm::Database::connect(options)).await
}

fn url(role: &str, port: u16, database: &str) -> String {
    format!("postgres://{role}@127.0.0.1:{port}/{database}")
}

/// Debian keeps the server's programs out of the search path.
fn program(name: &str) -> PathBuf {
    let installed = versions().map(|version| version.join("bin").join(name)).filter(|path| path.exists());
    installed.max().unwrap_or_else(|| PathBuf::from(name))
}

fn has_counting() -> bool {
    versions().any(|version| version.join("lib").join(format!("{COUNTING}.so")).exists())
}

fn versions() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs so many statements as the service does.
    async fn ask(postgres: &Postgres, statements: usize) {
        let service = Box::pin(sea_orm::Database::connect(postgres.url())).await.unwrap();
        for _ in 0..statements {
            service.execute_unprepared("SELECT 1").await.unwrap();
        }
        service.close().await.unwrap();
    }

    #[tokio::test]
    async fn statements_from_before_a_kill_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut postgres = Box::pin(Postgres::start(dir.path())).await.unwrap();
        ask(&postgres, 40).await;
        let before = postgres.statements().await.expect("pg_stat_statements is installed");
        postgres.kill();
        postgres.restart().await.unwrap();
        ask(&postgres, 10).await;
        // A connection may begin with statements of its own.
        let after = postgres.statements().await.unwrap();
        assert!(before >= 40 && (10..30).contains(&(after - before)), "{before}, {after}");
    }
}
