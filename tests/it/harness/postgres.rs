//! A private PostgreSQL on a Unix socket.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use sea_orm::DatabaseConnection;
use tempfile::TempDir;

use super::{eventually::eventually, held, process::Process, sql, template};

/// Connections that the server allows; three of them are kept for the administrator.
const MAX_CONNECTIONS: usize = 40;

/// A running cluster with a database `tokenward`, owned by the role `tokenward`, which is
/// no superuser.
pub(crate) struct Postgres {
    process: Process,
    dir: TempDir,
    options: Vec<String>,
}

/// Ends the server gently although a look at what it holds fails.
struct Ended<'a>(&'a mut Process);

// === impl Postgres ===

impl Postgres {
    /// Starts a cluster and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], &[]).await
    }

    /// The same with settings of its own, which may name files: those are in its directory, and its own.
    pub(crate) async fn start_with(options: &[&str], files: &[(&str, &str)]) -> Self {
        let version = template::run(template::unprivileged(program("postgres")).arg("--version"));
        let name: String = version.chars().filter(char::is_ascii_alphanumeric).collect();
        let dir = template::copy_of(&name, initialise);
        for (name, content) in files {
            template::private(&dir.path().join("data").join(name), content);
        }
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let postgres = Self { process: launch(dir.path(), &options), dir, options };
        postgres.answers().await;
        postgres.provide().await;
        postgres
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join(".s.PGSQL.5432")
    }

    /// Ends it as a power cut would, but for the shared memory, which SIGKILL would leak.
    pub(crate) fn kill(&mut self) {
        self.process.end(Signal::SIGQUIT);
    }

    /// Starts it again after [`Self::kill`].
    pub(crate) async fn restart(&mut self) {
        self.process = launch(self.dir.path(), &self.options);
        self.answers().await;
    }

    /// Stops it and all its backends with their sockets open.
    pub(crate) fn pause(&self) {
        self.process.pause();
    }

    /// Undoes [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.process.resume();
    }

    /// Takes every connection that an ordinary role can have. Dropping them gives them back.
    pub(crate) async fn exhaust(&self) -> Vec<DatabaseConnection> {
        let mut taken = Vec::new();
        while let Ok(connection) = sql::connect(&self.url("tokenward", "tokenward")).await {
            taken.push(connection);
            assert!(taken.len() <= MAX_CONNECTIONS, "the server has a limit");
        }
        taken
    }

    /// Runs one statement as the administrator, in the service's database.
    pub(crate) async fn execute(&self, statement: &str) {
        sql::execute(&self.url("postgres", "tokenward"), statement).await.expect("the administrator's SQL is right");
    }

    /// Runs statements as the service's role, which then owns what they make.
    pub(crate) async fn execute_as_owner(&self, statements: &str) {
        sql::execute(&self.url("tokenward", "tokenward"), statements).await.expect("the owner's SQL is right");
    }

    /// The same, where it may fail.
    pub(crate) async fn try_execute_as_owner(&self, statements: &str) -> Result<(), sea_orm::DbErr> {
        sql::execute(&self.url("tokenward", "tokenward"), statements).await
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        self.process.stderr()
    }

    /// How many bytes of log there are: a place for [`Self::statements_since`].
    pub(crate) fn log_position(&self) -> usize {
        self.process.stderr().len()
    }

    /// The statements that clients had executed after this place in the log.
    ///
    /// A backend writes the line before it executes the statement, so what a client has
    /// an answer to is here.
    pub(crate) fn statements_since(&self, position: usize) -> Vec<String> {
        let log = self.process.stderr();
        let lines = log.get(position..).expect("a log only grows").lines();
        lines
            .filter_map(|line| line.strip_prefix("LOG:  statement: ").or_else(|| executed(line)))
            .map(str::to_owned)
            .collect()
    }

    /// The administrator's way to the service's database, past the relay.
    pub(crate) fn admin_url(&self) -> String {
        self.url("postgres", "tokenward")
    }

    /// A second server with the same content, that follows this one. From now on a commit
    /// here waits until it is there as well.
    pub(crate) async fn standby(&self) -> Self {
        let dir = template::directory();
        let mut command = template::unprivileged(program("pg_basebackup"));
        command.arg("-D").arg(dir.path().join("data")).arg("-h").arg(self.dir.path());
        template::run(command.args(["-U", "postgres", "-R", "-c", "fast", "--no-sync"]));
        let standby = Self { process: launch(dir.path(), &[]), dir, options: vec![] };
        standby.answers().await;
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        self.execute("SELECT pg_reload_conf()").await;
        standby
    }

    /// Ends a standby's recovery: it takes writes from then on.
    pub(crate) async fn promote(&self) {
        self.execute("ALTER SYSTEM RESET synchronous_standby_names").await;
        self.execute("SELECT pg_promote()").await;
    }

    fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@localhost/{database}?host={}", self.dir.path().display())
    }

    async fn answers(&self) {
        let url = self.url("postgres", "postgres");
        eventually("PostgreSQL answers", async || sql::execute(&url, "SELECT 1").await.ok()).await;
    }

    async fn provide(&self) {
        for statement in ["CREATE ROLE tokenward LOGIN", "CREATE DATABASE tokenward OWNER tokenward"] {
            sql::execute(&self.url("postgres", "postgres"), statement).await.expect("a new cluster takes a database");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let url = self.admin_url();
        if self.process.exited().is_none() {
            let ended = Ended(&mut self.process);
            if ended.0.runs() {
                held::assert_rows_hold_no_secret(&url);
            }
        }
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end(Signal::SIGQUIT);
    }
}

/// `LOG:  execute NAME: SQL`, as the extended protocol is logged.
fn executed(line: &str) -> Option<&str> {
    line.strip_prefix("LOG:  execute ")?.split_once(": ").map(|(_, sql)| sql)
}

fn initialise(data: &Path) {
    let mut command = template::unprivileged(program("initdb"));
    command.arg("-D").arg(data).args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
    template::run(command.args(["--no-sync", "--wal-segsize=1"]));
}

fn launch(dir: &Path, options: &[String]) -> Process {
    let mut command = template::unprivileged(program("postgres"));
    command.arg("-D").arg(dir.join("data")).arg("-k").arg(dir);
    for setting in [
        "listen_addresses=",
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=16MB",
        "log_statement=all",
        "log_line_prefix=",
        &format!("max_connections={MAX_CONNECTIONS}"),
    ] {
        command.args(["-c", setting]);
    }
    for option in options {
        command.args(["-c", option]);
    }
    Process::spawn(command, dir, "postgres")
}

/// Debian keeps the server's programs out of the search path.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists());
    installed.max().unwrap_or_else(|| PathBuf::from(name))
}
