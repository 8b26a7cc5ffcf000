//! A Django project beside the service, on the same database, and a process that does in it what
//! it is told.
//!
//! What differs between two projects is a value here and reaches Python as an environment
//! variable: the packages, the database, the settings.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    eventually::report, mariadb::MariaDb, postgres::Postgres, python::environment, redis::Redis, server::directory,
};

/// Django 5.2 with django-rest-knox 5.1, and django-rest-knox-redis 0.1.3 for a project that has a Redis.
pub(crate) const KNOX_5: Packages = Packages { name: "django", requirements: include_str!("requirements.txt") };
/// The same with django-rest-knox 4.2, and without django-rest-knox-redis.
pub(crate) const KNOX_4: Packages =
    Packages { name: "django-knox-4", requirements: include_str!("requirements-knox-4.txt") };
/// The same as [`KNOX_5`] with django-rest-knox-redis 0.2.0.
pub(crate) const KNOX_REDIS_2: Packages =
    Packages { name: "django-knox-redis-2", requirements: include_str!("requirements-knox-redis-2.txt") };

/// What pip installs, and what the environment is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packages {
    pub(crate) name: &'static str,
    pub(crate) requirements: &'static str,
}

/// A project whose process does not run.
pub(crate) struct Project {
    programs: PathBuf,
    /// Django's `DATABASES["default"]`.
    database: Value,
    /// A Redis for django-rest-knox-redis.
    redis: Option<PathBuf>,
    /// The classes of the contract, for the example.
    generated: TempDir,
}

/// A running process of a project.
pub(crate) struct Django {
    child: Child,
    pipes: Arc<Mutex<Pipes>>,
    log: PathBuf,
}

struct Pipes {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Django's `DATABASES["default"]` for a PostgreSQL, past the relay.
pub(crate) fn on_postgres(server: &Postgres) -> Value {
    let host = server.socket().parent().expect("a socket is in a directory").to_owned();
    json!({ "ENGINE": "django.db.backends.postgresql", "HOST": host, "NAME": "tokenward", "USER": "tokenward" })
}

/// The same for a MariaDB.
pub(crate) fn on_mariadb(server: &MariaDb) -> Value {
    json!({ "ENGINE": "django.db.backends.mysql", "HOST": server.socket(), "NAME": "tokenward", "USER": "root" })
}

/// The same for a SQLite file.
pub(crate) fn on_sqlite(file: &Path) -> Value {
    json!({ "ENGINE": "django.db.backends.sqlite3", "NAME": file })
}

// === impl Project ===

impl Project {
    /// Installs the packages, unless they are there, and generates the example's classes.
    pub(crate) fn new(packages: Packages, database: Value) -> Self {
        let programs = environment(packages.name, packages.requirements);
        let generated = directory();
        let mut generate = Command::new(here("examples/django/generate"));
        run(generate.arg(generated.path()).env("PYTHON", programs.join("python")));
        Self { programs, database, redis: None, generated }
    }

    /// Processes that are started from now on use django-rest-knox-redis with this server.
    pub(crate) fn cache_in(&mut self, server: &Redis) {
        self.redis = Some(server.socket());
    }

    /// The same project with other packages.
    pub(crate) fn with(&self, packages: Packages) -> Self {
        Self { redis: self.redis.clone(), ..Self::new(packages, self.database.clone()) }
    }

    /// `manage.py migrate`.
    pub(crate) fn migrate(&self, extra: &Value) {
        run(self.python(extra).arg("migrate"));
    }

    /// Starts a process. `extra` are settings of Django's, which join or replace the project's.
    pub(crate) fn start(&self, extra: &Value) -> Django {
        let log = self.generated.path().join("django.err");
        let errors = File::options().create(true).append(true).open(&log).expect("a test's directory is writable");
        let mut command = self.python(extra);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("an installed program starts");
        let pipes = Pipes {
            commands: child.stdin.take().expect("standard input is a pipe"),
            answers: BufReader::new(child.stdout.take().expect("standard output is a pipe")),
        };
        Django { child, pipes: Arc::new(Mutex::new(pipes)), log }
    }

    fn python(&self, extra: &Value) -> Command {
        let paths = [self.generated.path().to_owned(), here("examples/django"), here("tests/it/django")];
        let mut command = Command::new(self.programs.join("python"));
        command.arg(here("tests/it/django/driver.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PYTHONPATH", std::env::join_paths(paths).expect("a path without a colon"));
        command.env("DJANGO_DATABASE", self.database.to_string()).env("DJANGO_EXTRA", extra.to_string());
        command.envs(self.redis.as_ref().map(|socket| ("DJANGO_REDIS", format!("unix://{}", socket.display()))));
        command
    }
}

// === impl Django ===

impl Django {
    /// Runs a command of `driver.py` with a JSON array of arguments.
    ///
    /// # Panics
    /// With Python's traceback, when it fails there.
    pub(crate) async fn call(&self, command: &str, arguments: Value) -> Value {
        let (pipes, line) = (Arc::clone(&self.pipes), json!([command, arguments]).to_string());
        // Without blocking the relays of the test.
        let told =
            tokio::task::spawn_blocking(move || pipes.lock().unwrap_or_else(PoisonError::into_inner).tell(&line));
        let answer = told.await.expect("it does not panic");
        assert!(answer["error"].is_null(), "{command}: {}", answer["error"].as_str().unwrap_or_default());
        answer
    }

    /// The same, for an answer that is a text.
    pub(crate) async fn text(&self, command: &str, arguments: Value) -> String {
        let answer = self.call(command, arguments).await;
        answer.as_str().unwrap_or_else(|| panic!("{command}: {answer}")).to_owned()
    }
}

impl Drop for Django {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            report(&format!("--- output of Django ---\n{log}--- end ---"));
        }
    }
}

// === impl Pipes ===

impl Pipes {
    fn tell(&mut self, line: &str) -> Value {
        let mut answer = String::new();
        let told = writeln!(self.commands, "{line}").and_then(|()| self.answers.read_line(&mut answer));
        match told {
            Ok(1..) => serde_json::from_str(&answer).unwrap_or_else(|error| json!({ "error": error.to_string() })),
            Ok(0) => json!({ "error": "the process has ended" }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
