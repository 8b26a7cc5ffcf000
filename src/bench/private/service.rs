//! The service under load, or another program in its place.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    super::{Error, tokens::Owned, wire::Address},
    process::{Cpus, Process},
};

/// What the first line of output says before the address.
const LISTENING: &str = "tokenward listening on ";
const START_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks whether it listens; the measured time to start is this much too long at most.
const LOOK: Duration = Duration::from_millis(1);

/// A program to run, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// As reports name it.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    is_ours: bool,
}

/// A running one.
#[derive(Debug)]
pub(super) struct Service {
    process: Process,
    address: Address,
    startup: Duration,
    /// Where it runs.
    _dir: TempDir,
}

// === impl Contender ===

impl Contender {
    /// This program.
    ///
    /// # Errors
    /// When it does not know its own path.
    pub fn tokenward() -> io::Result<Self> {
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let command = [&program, "serve", "--listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
        Ok(Self { name: "tokenward".to_owned(), command, is_ours: true })
    }

    /// Another program: it is given the settings of `tokenward serve` as environment variables, and says on its first
    /// line of output where it listens, as that does.
    #[must_use]
    pub fn of(line: &str) -> Self {
        let command: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let words = command.iter().map(|word| word.rsplit('/').next().unwrap_or_default());
        Self { name: words.collect::<Vec<_>>().join(" "), command, is_ours: false }
    }

    /// Whether its answers say whose a token is.
    pub(in super::super) fn owned(&self) -> Owned {
        if self.is_ours { Owned::Always } else { Owned::IfTold }
    }

    /// Runs a verb of this program to its end.
    pub(super) fn run(&self, args: &[&str], dir: &Path, settings: &[(String, String)]) -> Result<(), Error> {
        let program = &self.command[0];
        let mut command = Command::new(program);
        command.args(args).current_dir(dir).env_clear().envs(settings.iter().cloned());
        let output = command.output().map_err(|source| Error::Start { program: program.clone(), source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Useless { program: "tokenward", tail: String::from_utf8_lossy(&output.stderr).into_owned() })
    }
}

// === impl Service ===

impl Service {
    /// Starts it, and waits until it listens.
    pub(super) async fn start(
        contender: &Contender,
        dir: &Path,
        settings: &[(String, String)],
        cpus: Option<&Cpus>,
    ) -> Result<Self, Error> {
        let (program, args) = contender.command.split_first().ok_or(Error::NoCommand)?;
        let failed = |source| Error::Start { program: program.clone(), source };
        let dir = tempfile::tempdir_in(dir).map_err(failed)?;
        let mut command = Command::new(found(program).map_err(failed)?);
        command.args(args).current_dir(dir.path()).env_clear().envs(settings.iter().cloned());
        let begin = Instant::now();
        let spawn = || Process::spawn(command, dir.path(), "service");
        let mut process = match cpus {
            Some(cpus) => cpus.starting(spawn)?,
            None => spawn()?,
        };
        let address = listening(&mut process, begin).await?;
        Ok(Self { process, address, startup: begin.elapsed(), _dir: dir })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn startup(&self) -> Duration {
        self.startup
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it at once: nobody asks it anything any more.
    pub(super) fn end(mut self) {
        self.process.end(Signal::KILL);
    }
}

async fn listening(process: &mut Process, begin: Instant) -> Result<Address, Error> {
    loop {
        let log = process.log();
        // Half a line is no line yet.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if let Some(url) = whole.lines().find_map(|line| line.strip_prefix(LISTENING)) {
            return url.parse();
        }
        if process.has_ended() || begin.elapsed() > START_LIMIT {
            return Err(process.complaint());
        }
        sleep(LOOK).await;
    }
}

/// A path is taken from where we are, and not from where the child will be.
fn found(program: &str) -> io::Result<PathBuf> {
    if program.contains('/') { Path::new(program).canonicalize() } else { Ok(program.into()) }
}
