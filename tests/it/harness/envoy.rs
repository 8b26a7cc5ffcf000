//! A real Envoy, from the Python package that carries its binary.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{eventually::eventually, process::Process, python, template};

const REQUIREMENTS: &str = include_str!("envoy/requirements.txt");
/// What every bootstrap needs and no test cares about.
const ADMIN: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n";

/// A running proxy; it ends with its value.
pub(crate) struct Envoy {
    process: Process,
    admin: SocketAddr,
    _dir: TempDir,
}

// === impl Envoy ===

impl Envoy {
    /// Starts it with a bootstrap in YAML that lacks only `admin`, and waits until its listeners are
    /// there. Listeners take `port_value: 0`: [`Self::listener`] tells the port.
    pub(crate) async fn start(bootstrap: &str) -> Self {
        Self::start_in(template::directory(), bootstrap).await
    }

    /// The same in a directory that holds the files which the bootstrap names.
    pub(crate) async fn start_in(dir: TempDir, bootstrap: &str) -> Self {
        let file = dir.path().join("envoy.yaml");
        fs::write(&file, format!("{ADMIN}{bootstrap}")).expect("a test's directory is writable");
        let mut process = Process::spawn(command(dir.path(), &file), dir.path(), "envoy");
        let told = dir.path().join("admin.txt");
        let admin = eventually("Envoy tells where its administration listens", async || {
            assert!(process.exited().is_none(), "Envoy ended at its start:\n{}", process.stderr());
            fs::read_to_string(&told).ok()?.parse().ok()
        });
        let admin = admin.await;
        let envoy = Self { process, admin, _dir: dir };
        let ready = async || (envoy.try_get("/ready").await?.trim() == "LIVE").then_some(());
        eventually("Envoy is ready", ready).await;
        envoy
    }

    /// Where a listener of this name listens.
    pub(crate) async fn listener(&self, name: &str) -> SocketAddr {
        let listed = async || {
            let listeners = self.try_get("/listeners").await?;
            let line = listeners.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("::"));
            line.and_then(|address| address.parse().ok())
        };
        eventually("Envoy has the listener", listed).await
    }

    /// A counter or gauge by its full name, such as `cluster.NAME.membership_healthy`; 0 when there is none.
    pub(crate) async fn stat(&self, name: &str) -> u64 {
        let stats = self.try_get(&format!("/stats?filter={name}")).await.expect("Envoy's administration answers");
        let value = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.map_or(0, |value| value.trim().parse().expect("a whole number"))
    }

    /// A page of the administration, such as `/clusters`.
    pub(crate) async fn try_get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Some(if chunked { unchunked(body) } else { body.to_owned() })
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        self.process.stderr()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            super::eventually::report(&format!("--- log of Envoy ---\n{}--- end ---", self.log()));
        }
        // It has nothing to save, and says goodbye for seconds.
        if self.process.exited().is_none() {
            self.process.end(Signal::SIGKILL);
        }
    }
}

/// The binary itself rather than the script around it, so that signals reach it.
fn command(dir: &Path, bootstrap: &Path) -> Command {
    let python = python::environment("envoy", REQUIREMENTS).join("python");
    let find = "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin' / 'envoy')";
    let program = template::run(Command::new(python).args(["-c", find]));
    let mut command = Command::new(program.trim());
    command.current_dir(dir).arg("--config-path").arg(bootstrap);
    command.arg("--admin-address-path").arg(dir.join("admin.txt"));
    // Hot restart would share memory between the proxies of tests that run side by side.
    command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]);
    command
}

/// RFC 9112, section 7.1, without extensions.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || size > rest.len() {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
