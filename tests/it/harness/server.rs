//! The compiled service.

use std::{
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::{
    canary,
    client::Client,
    eventually::{eventually, report},
    held,
    process::Process,
    template,
};

/// What the first line on standard output says before the address.
const LISTENING: &str = "tokenward listening on ";

/// What the line about the second listener says before the address.
const HTTP: &str = "probes, metrics and status on ";
/// Settings whose values are secrets as a whole.
const SECRET: [&str; 4] = [
    "TOKENWARD_CACHE__MAC_KEY",
    "TOKENWARD_CACHE__MAC_KEY_PREVIOUS",
    "TOKENWARD_REDIS__PASSWORD",
    "TOKENWARD_KNOX_REDIS__PASSWORD",
];

/// Settings as environment variables: `("TOKENWARD_TOKENS__TTL", "72h")`.
pub(crate) type Settings = Vec<(String, String)>;

/// `tokenward serve` on a free port.
pub(crate) struct Server {
    process: Process,
    url: String,
    tls: Option<ClientTlsConfig>,
    channel: Channel,
    /// Its working directory.
    dir: TempDir,
}

// === impl Server ===

impl Server {
    /// Starts the service in an empty directory and waits until it listens.
    pub(crate) async fn start(settings: &Settings) -> Self {
        Self::start_in(template::directory(), settings).await
    }

    /// Starts the service in a directory and waits until it listens.
    pub(crate) async fn start_in(dir: TempDir, settings: &Settings) -> Self {
        Self::start_on(dir, settings, "127.0.0.1:0", None).await
    }

    /// Starts the service at an address of its own, with its clients speaking TLS or not.
    pub(crate) async fn start_on(dir: TempDir, settings: &Settings, at: &str, tls: Option<ClientTlsConfig>) -> Self {
        Self::launch(tokenward(dir.path(), settings), dir, at, tls).await
    }

    /// Starts another build of the service.
    pub(crate) async fn start_program(binary: &Path, settings: &Settings) -> Self {
        let dir = template::directory();
        Self::launch(program(binary, dir.path(), settings), dir, "127.0.0.1:0", None).await
    }

    async fn launch(mut command: Command, dir: TempDir, at: &str, tls: Option<ClientTlsConfig>) -> Self {
        command.args(["serve", "--listen", at]).envs(wanted_log());
        let mut process = Process::spawn(command, dir.path(), "tokenward");
        let listening = async || listening_on(&process).or_else(|| process.exited().map(|_| String::new()));
        let url = eventually("tokenward listens", listening).await;
        assert!(!url.is_empty(), "tokenward ended at its start:\n{}{}", process.stdout(), process.stderr());
        let channel = connect(&url, tls.as_ref()).await.expect("who listens accepts");
        Self { process, url, tls, channel, dir }
    }

    /// Where it serves: `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where the second listener is: `http://127.0.0.1:PORT`. The settings have to ask for one.
    pub(crate) fn http(&self) -> String {
        let out = self.process.stdout();
        let url = out.lines().find_map(|line| line.strip_prefix(HTTP));
        url.unwrap_or_else(|| panic!("the second line says where: {out}")).to_owned()
    }

    /// Its working directory, with the SQLite file of the embedded default.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The connection that [`Self::client`] uses.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The clients of every service, on one connection.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.channel())
    }

    /// The clients of every service, on a connection of their own.
    pub(crate) async fn new_connection(&self) -> Result<Client, tonic::transport::Error> {
        Ok(Client::new(connect(&self.url, self.tls.as_ref()).await?))
    }

    /// The clients of every service, on a connection with TLS of its own.
    pub(crate) async fn connect_with(&self, tls: &ClientTlsConfig) -> Result<Client, tonic::transport::Error> {
        Ok(Client::new(connect(&self.url, Some(tls)).await?))
    }

    /// Its memory that is in RAM, in MiB.
    pub(crate) fn resident(&self) -> u64 {
        self.process.resident()
    }

    /// What the host's other users see of how it was started.
    pub(crate) fn command_line(&self) -> Vec<u8> {
        self.process.command_line()
    }

    /// What it holds open.
    pub(crate) fn descriptors(&self) -> usize {
        self.process.descriptors()
    }

    /// What it logged and printed.
    pub(crate) fn output(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }

    /// Stops it with its sockets open.
    pub(crate) fn pause(&self) {
        self.process.pause();
    }

    /// Undoes [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.process.resume();
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.end(Signal::SIGKILL);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub(crate) async fn exit(&mut self, deadline: Duration) -> (ExitStatus, Duration) {
        self.process.exit(deadline).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(&format!("--- output of tokenward ---\n{}--- end ---", self.output()));
        } else {
            canary::assert_unseen(self.output().as_bytes(), "the output of tokenward");
            held::assert_file_holds_no_secret(&self.dir().join("tokenward.db"));
        }
    }
}

/// What the whole suite is to log, where that was asked for.
fn wanted_log() -> Option<(&'static str, String)> {
    std::env::var("TOKENWARD_TEST_LOG").ok().map(|level| ("TOKENWARD_LOG__LEVEL", level))
}

/// The program, with these settings and none of the developer's own. What of them is secret, its output must not hold.
pub(crate) fn tokenward(dir: &Path, settings: &Settings) -> Command {
    // For measurements: another build of it than the tests' own.
    let other = std::env::var_os("TOKENWARD_TEST_PROGRAM");
    program(Path::new(other.as_deref().unwrap_or(env!("CARGO_BIN_EXE_tokenward").as_ref())), dir, settings)
}

/// Another build of the program, likewise.
pub(crate) fn program(binary: &Path, dir: &Path, settings: &Settings) -> Command {
    for (name, value) in settings {
        if SECRET.contains(&name.as_str()) {
            canary::know(value);
        }
    }
    let mut command = Command::new(binary);
    command.current_dir(dir).env_clear().envs(settings.iter().cloned());
    command
}

/// An empty directory for one test.
pub(crate) use super::template::directory;

/// One setting.
pub(crate) fn setting(key: &str, value: impl Into<String>) -> (String, String) {
    (key.to_owned(), value.into())
}

fn listening_on(process: &Process) -> Option<String> {
    let out = process.stdout();
    // Half a line is no line yet.
    let (first, _) = out.split_once('\n')?;
    let url = first.strip_prefix(LISTENING);
    Some(url.unwrap_or_else(|| panic!("the first line says where it listens: {first:?}")).to_owned())
}

async fn connect(url: &str, tls: Option<&ClientTlsConfig>) -> Result<Channel, tonic::transport::Error> {
    let mut endpoint = Endpoint::from_shared(url.to_owned()).expect("the service prints a URL");
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls.clone())?;
    }
    endpoint.connect_timeout(Duration::from_secs(5)).timeout(Duration::from_secs(20)).connect().await
}
