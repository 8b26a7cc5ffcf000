//! Private database servers: a directory of their own, a Unix socket, no TCP, gone with the test.

use std::{
    fs,
    io::Write as _,
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
    process: Option<Running>,
    databases: AtomicU32,
}

struct Running {
    server: Child,
    watch: Child,
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
            .arg(format!("--tmpdir={}", server.data().display()))
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
        let server = self.command().spawn().expect("the server is installed");
        let watch = watch(&server, self.end(), self.directory.path());
        self.process = Some(Running { server, watch });
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
        let Some(Running { mut server, mut watch }) = self.process.take() else { return };
        resume(&server);
        let _ = kill(pid(&server), self.end());
        let _ = server.wait();
        let _ = watch.stdin.take().expect("a pipe").write_all(b"ended\n");
        let _ = watch.wait();
    }

    /// Hangs the server: it keeps its connections and answers nothing.
    pub(super) fn hang(&self) {
        for member in family(self.running()) {
            kill(member, Signal::SIGSTOP).expect("it can be stopped");
            while !is_stopped(member) {
                std::thread::yield_now();
            }
        }
    }

    /// Ends [`Self::hang`].
    pub(super) fn resume(&self) {
        resume(self.running());
    }

    fn running(&self) -> &Child {
        &self.process.as_ref().expect("a running server").server
    }

    /// PostgreSQL leaks its shared memory after SIGKILL; SIGQUIT ends it as abruptly.
    fn end(&self) -> Signal {
        if self.kind == Kind::Postgres { Signal::SIGQUIT } else { Signal::SIGKILL }
    }

    fn new(kind: Kind) -> Self {
        let directory = TempDir::with_prefix("tw").expect("a temporary directory");
        if let Some(user) = unprivileged() {
            chown(directory.path(), Some(user.uid), Some(user.gid)).expect("root may give files away");
        }
        Self { kind, directory, process: None, databases: AtomicU32::new(0) }
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
                command.arg(format!("--tmpdir={}", self.data().display()));
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

fn resume(process: &Child) {
    for member in family(process) {
        let _ = kill(member, Signal::SIGCONT);
    }
}

fn pid(process: &Child) -> Pid {
    Pid::from_raw(i32::try_from(process.id()).expect("a process id"))
}

/// A server process and its children: PostgreSQL has one for each connection.
fn family(process: &Child) -> Vec<Pid> {
    let parent = pid(process);
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let children: Vec<i32> = children.split_whitespace().map(|id| id.parse().expect("a process id")).collect();
    std::iter::once(parent).chain(children.into_iter().map(Pid::from_raw)).collect()
}

/// A thread runs on for a moment after the signal was sent.
fn is_stopped(process: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a process").flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok()).all(|stat| stat.contains(") T "))
}

/// A test that is killed drops nothing, and its server would stay behind, perhaps hung.
/// So a shell waits for the end of the test, told by the end of its input, and ends the
/// server then. On the usual way out it is sent a line and does nothing.
fn watch(server: &Child, signal: Signal, directory: &Path) -> Child {
    let script = r#"read -r line && exit
        kill -CONT $(cat "/proc/$1/task/$1/children") "$1"; kill -s "$2" "$1"
        for _ in $(seq 50); do kill -0 "$1" && sleep 0.1; done; rm -rf "$3""#;
    Command::new("sh")
        .args(["-c", script, "watch", &server.id().to_string(), signal.as_str().trim_start_matches("SIG")])
        .arg(directory)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell")
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
