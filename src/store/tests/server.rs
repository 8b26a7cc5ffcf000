//! Private database servers: a directory of their own, a Unix socket, no TCP, gone with the test.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User, chown},
};
use sea_orm::{ConnectionTrait as _, Database};
use tempfile::TempDir;

/// Generous: two servers may start on a busy machine.
const START: Duration = Duration::from_mins(1);

pub(super) struct Server {
    kind: Kind,
    directory: TempDir,
    process: Option<Child>,
    databases: AtomicU32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

// === impl Server ===

impl Server {
    pub(super) fn sqlite() -> Self {
        Self::new(Kind::Sqlite)
    }

    pub(super) async fn postgres() -> Self {
        let mut server = Self::new(Kind::Postgres);
        let data = server.data();
        let initdb = as_nobody(&postgres_program("initdb"))
            .args(["-A", "trust", "-U", "tokenward", "-E", "UTF8", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb is installed");
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        server.start().await;
        server
    }

    pub(super) async fn mariadb() -> Self {
        let mut server = Self::new(Kind::Mariadb);
        let install = as_nobody(Path::new("mariadb-install-db"))
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", server.data().display()))
            .output()
            .expect("mariadb-install-db is installed");
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        server.start().await;
        server
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sqlite => "SQLite",
            Kind::Postgres => "PostgreSQL",
            Kind::Mariadb => "MariaDB",
        }
    }

    /// The URL of a new, empty database.
    pub(super) async fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("case_{number}");
        if self.kind != Kind::Sqlite {
            let admin = Database::connect(self.url(self.admin())).await.expect("the server is up");
            admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a new database");
            admin.close().await.expect("closed");
        }
        self.url(&name)
    }

    /// The URL of a database that listens elsewhere, behind a relay.
    pub(super) fn url_at(&self, socket: &Path, url: &str) -> String {
        match self.kind {
            Kind::Sqlite => url.to_owned(),
            Kind::Postgres => {
                let directory = socket.parent().expect("a file in a directory");
                url.replace(&self.directory.path().display().to_string(), &directory.display().to_string())
            }
            Kind::Mariadb => url.replace(&self.socket().display().to_string(), &socket.display().to_string()),
        }
    }

    /// Where the server listens.
    pub(super) fn socket(&self) -> PathBuf {
        match self.kind {
            Kind::Sqlite | Kind::Postgres => self.directory.path().join(".s.PGSQL.5432"),
            Kind::Mariadb => self.directory.path().join("mariadb.sock"),
        }
    }

    /// Starts the server, again if it ran before, and waits until it answers.
    pub(super) async fn start(&mut self) {
        self.process = Some(self.command().spawn().expect("the server is installed"));
        let url = self.url(self.admin());
        let answers = async {
            while Database::connect(&url).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(START, answers).await.expect("the server starts");
    }

    /// Ends the server at once, as a crash does.
    pub(super) fn crash(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        self.resume_all(&process);
        // PostgreSQL leaks its shared memory after SIGKILL; SIGQUIT ends it as abruptly.
        let signal = if self.kind == Kind::Postgres { Signal::SIGQUIT } else { Signal::SIGKILL };
        let _ = kill(pid(&process), signal);
        let _ = process.wait();
    }

    /// Hangs the server: it keeps its connections and answers nothing.
    pub(super) fn hang(&self) {
        let process = self.process.as_ref().expect("a running server");
        for member in family(process) {
            kill(member, Signal::SIGSTOP).expect("it can be stopped");
            while !is_stopped(member) {
                std::thread::yield_now();
            }
        }
    }

    /// Ends [`Self::hang`].
    pub(super) fn resume(&self) {
        self.resume_all(self.process.as_ref().expect("a running server"));
    }

    fn new(kind: Kind) -> Self {
        let directory = TempDir::with_prefix("tw").expect("a temporary directory");
        if let Some(user) = unprivileged() {
            chown(directory.path(), Some(user.uid), Some(user.gid)).expect("root may give files away");
        }
        Self { kind, directory, process: None, databases: AtomicU32::new(0) }
    }

    fn resume_all(&self, process: &Child) {
        if self.kind != Kind::Sqlite {
            for member in family(process) {
                let _ = kill(member, Signal::SIGCONT);
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn admin(&self) -> &'static str {
        if self.kind == Kind::Postgres { "postgres" } else { "mysql" }
    }

    fn url(&self, name: &str) -> String {
        let directory = self.directory.path().display();
        match self.kind {
            Kind::Sqlite => format!("sqlite://{directory}/{name}.db"),
            Kind::Postgres => format!("postgres://tokenward:swordfish@localhost/{name}?host={directory}"),
            Kind::Mariadb => format!("mysql://root@localhost/{name}?socket={}", self.socket().display()),
        }
    }

    fn command(&self) -> Command {
        let log = fs::File::create(self.directory.path().join("log")).expect("a log file");
        let mut command = match self.kind {
            Kind::Sqlite => unreachable!("SQLite has no server"),
            Kind::Postgres => {
                let mut command = as_nobody(&postgres_program("postgres"));
                command.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]);
                command.arg("-k").arg(self.directory.path()).arg("-D").arg(self.data());
                command
            }
            Kind::Mariadb => {
                let mut command = as_nobody(Path::new("/usr/sbin/mariadbd"));
                command.args(["--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=2"]);
                command.arg(format!("--datadir={}", self.data().display()));
                command.arg(format!("--socket={}", self.socket().display()));
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

fn pid(process: &Child) -> Pid {
    Pid::from_raw(i32::try_from(process.id()).expect("a process id"))
}

/// A server process and its children: PostgreSQL has one for each connection.
fn family(process: &Child) -> Vec<Pid> {
    let parent = pid(process);
    let children = fs::read_dir("/proc").expect("Linux").filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let id: i32 = name.to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // `pid (name) state ppid ..`, where the name may hold anything.
        let ppid: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (ppid == parent.as_raw()).then(|| Pid::from_raw(id))
    });
    std::iter::once(parent).chain(children).collect()
}

/// A thread runs on for a moment after the signal was sent.
fn is_stopped(process: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a process").flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok()).all(|stat| stat.contains(") T "))
}

/// Neither server runs as root.
fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = unprivileged() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir("/");
    command
}

fn unprivileged() -> Option<User> {
    let root = Uid::effective().is_root();
    root.then(|| User::from_name("nobody").expect("a user database").expect("a user nobody"))
}

fn postgres_program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut programs: Vec<_> = versions.flatten().map(|version| version.path().join("bin").join(name)).collect();
    programs.sort();
    programs.pop().expect("a version of PostgreSQL")
}
