//! A private MariaDB on a Unix socket.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{eventually::eventually, held, process::Process, sql, template};

/// A running server with a database `tokenward`; `root` needs no password.
pub(crate) struct MariaDb {
    process: Process,
    dir: TempDir,
    options: Vec<String>,
}

// === impl MariaDb ===

impl MariaDb {
    /// Starts a server and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_with(&["--skip-networking"], &[]).await
    }

    /// The same with options of its own, which may name files: those are in its directory, and its own.
    pub(crate) async fn start_with(options: &[&str], files: &[(&str, &str)]) -> Self {
        let version = template::run(template::unprivileged(program()).arg("--version"));
        let name: String = version
            .split("Ver ")
            .nth(1)
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(16)
            .collect();
        let dir = template::copy_of(&format!("mariadb{name}"), initialise);
        for (name, content) in files {
            template::private(&dir.path().join("data").join(name), content);
        }
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let mariadb = Self { process: launch(dir.path(), &options), dir, options };
        mariadb.answers().await;
        mariadb.execute("CREATE DATABASE tokenward").await;
        mariadb
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("mariadb.sock")
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.end(Signal::SIGKILL);
    }

    /// Starts it again after [`Self::kill`].
    pub(crate) async fn restart(&mut self) {
        self.process = launch(self.dir.path(), &self.options);
        self.answers().await;
    }

    /// Stops it with its sockets open.
    pub(crate) fn pause(&self) {
        self.process.pause();
    }

    /// Undoes [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.process.resume();
    }

    /// Runs one statement as the administrator.
    pub(crate) async fn execute(&self, statement: &str) {
        sql::execute(&self.url(), statement).await.expect("the administrator's SQL is right");
    }

    /// How many bytes of general log there are: a place for [`Self::statements_since`].
    pub(crate) fn log_position(&self) -> usize {
        self.log().len()
    }

    /// The statements that clients had executed after this place in the log.
    pub(crate) fn statements_since(&self, position: usize) -> Vec<String> {
        let log = self.log();
        let lines = log.get(position..).expect("a log only grows").lines();
        // "[time]\t<connection> Execute\t<SQL>"; "Query" is the text protocol.
        let entries = lines.filter_map(|line| line.split_once(" Execute\t").or_else(|| line.split_once(" Query\t")));
        entries.map(|(_, sql)| sql.to_owned()).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("data/general.log")).expect("the general log is on")
    }

    /// The administrator's way to the service's database, past the relay.
    pub(crate) fn admin_url(&self) -> String {
        format!("mysql://root@localhost/tokenward?socket={}", self.socket().display())
    }

    fn url(&self) -> String {
        format!("mysql://root@localhost/?socket={}", self.socket().display())
    }

    async fn answers(&self) {
        let url = self.url();
        eventually("MariaDB answers", async || sql::execute(&url, "SELECT 1").await.ok()).await;
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if self.process.runs() {
            held::assert_rows_hold_no_secret(&self.admin_url());
        }
    }
}

fn initialise(data: &Path) {
    let mut command = template::unprivileged("mariadb-install-db");
    command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
    // Servers that share a directory for temporary tables delete each other's.
    command.arg(format!("--tmpdir={}", data.display()));
    command.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=4M"]);
    template::run(&mut command);
}

fn launch(dir: &Path, options: &[String]) -> Process {
    let mut command = template::unprivileged(program());
    command.arg("--no-defaults").arg(format!("--datadir={}", dir.join("data").display()));
    command.arg(format!("--tmpdir={}", dir.join("data").display()));
    command.arg(format!("--socket={}", dir.join("mariadb.sock").display()));
    command.arg(format!("--pid-file={}", dir.join("mariadb.pid").display()));
    command.args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M"]);
    command.args(["--performance-schema=off", "--general-log=1", "--general-log-file=general.log"]).args(options);
    Process::spawn(command, dir, "mariadb")
}

/// Debian keeps the server's program where only root's search path leads.
fn program() -> PathBuf {
    let installed = PathBuf::from("/usr/sbin/mariadbd");
    if installed.exists() { installed } else { PathBuf::from("mariadbd") }
}
