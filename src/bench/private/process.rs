//! A child process: where it may run, what it costs, its signals, its end.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    process::{Pid, Signal, geteuid, getpid, kill_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use super::super::Error;

/// Units of the times in proc(5)'s `stat`, on every architecture that Linux has for servers.
const TICKS_PER_SECOND: u32 = 100;
/// Where `utime` and `stime` are, counted from the field after the program's name.
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;
const PARENT: usize = 1;
/// Accounts that may run a server which refuses to run as root.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// A child that does not outlive its owner.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

/// An account that is not root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    user: u32,
    group: u32,
}

// === impl Process ===

impl Process {
    /// Starts `command`; what it writes goes to `NAME.log` in `dir`, but standard output where `command` says otherwise.
    pub(super) fn spawn(mut command: Command, dir: &Path, name: &'static str) -> Result<Self, Error> {
        let failed = |source| Error::Start { program: command_name(&command), source };
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let out = file.try_clone().map_err(|source| Error::Start { program: name.to_owned(), source })?;
        command.stdin(Stdio::null()).stdout(out).stderr(file);
        let child = command.spawn().map_err(|source| Error::Start { program: command_name(&command), source })?;
        Ok(Self { child, name, log })
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it wrote.
    pub(super) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// What it wrote last, as the reason why it is of no use.
    pub(super) fn complaint(&self) -> Error {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(10).collect();
        let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        Error::Useless { program: self.name, tail }
    }

    /// Processor time that it has used, of its threads that have ended too.
    pub(super) fn cpu(&self) -> Option<Duration> {
        cpu(self.pid())
    }

    /// Its memory that is in RAM, in bytes.
    pub(super) fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    /// Stops it and its children with their sockets open.
    pub(super) fn pause(&self) {
        signal(self.pid(), Signal::STOP);
        for child in children(self.pid()) {
            signal(child, Signal::STOP);
        }
    }

    /// Undoes [`Self::pause`].
    pub(super) fn resume(&self) {
        for child in children(self.pid()) {
            signal(child, Signal::CONT);
        }
        signal(self.pid(), Signal::CONT);
    }

    /// Sends a signal that ends it, and waits until it has ended.
    pub(super) fn end(&mut self, with: Signal) {
        if self.has_ended() {
            return;
        }
        self.resume();
        signal(self.pid(), with);
        // It is our child, so it can be waited for.
        let _ = self.child.wait();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}

fn command_name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn signal(pid: Pid, signal: Signal) {
    // One that has just ended cannot be signalled, which is as good.
    let _ = kill_process(pid, signal);
}

/// Processor time that this program has used.
pub(in super::super) fn own_cpu() -> Option<Duration> {
    cpu(getpid())
}

fn cpu(pid: Pid) -> Option<Duration> {
    let stat = stat(pid)?;
    let ticks = |at: usize| stat.get(at)?.parse::<u32>().ok();
    Some(Duration::from_secs(1) * (ticks(USER_TIME)? + ticks(SYSTEM_TIME)?) / TICKS_PER_SECOND)
}

/// The fields of proc(5)'s `stat` after the program's name, which stands in parentheses and may hold anything.
fn stat(pid: Pid) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn children(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let parent = parent.as_raw_nonzero().to_string();
    pids.filter(|pid| stat(*pid).is_some_and(|stat| stat.get(PARENT) == Some(&parent))).collect()
}

// === impl Account ===

impl Account {
    /// Who runs a server that refuses to run as root; `None` when we are not root.
    pub(super) fn unprivileged() -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let accounts = fs::read_to_string("/etc/passwd").ok()?;
        ACCOUNTS.iter().find_map(|name| accounts.lines().find_map(|line| Self::named(name, line)))
    }

    /// Makes a directory its own.
    pub(super) fn give(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.user), Some(self.group))
    }

    /// Has a command run as it.
    pub(super) fn run(self, command: &mut Command) {
        command.uid(self.user).gid(self.group);
    }

    fn named(name: &str, line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let [first, _, user, group, ..] = fields.as_slice() else { return None };
        if *first != name {
            return None;
        }
        Some(Self { user: user.parse().ok()?, group: group.parse().ok()? })
    }
}

/// Processors that something may run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

impl std::str::FromStr for Cpus {
    type Err = String;

    /// `0`, `0,2` or `1-3`.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.trim().parse::<usize>() {
            Ok(number) if number < CpuSet::MAX_CPU => Ok(number),
            _ => Err(format!("{text:?} is no processor's number")),
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((first, last)) => cpus.extend(number(first)?..=number(last)?),
                None => cpus.push(number(part)?),
            }
        }
        Ok(Self(cpus))
    }
}

impl Cpus {
    /// Keeps this thread, and what it starts from now on, on these processors.
    ///
    /// # Errors
    /// When the machine has none of them.
    pub(in super::super) fn pin(&self) -> io::Result<()> {
        let mut set = CpuSet::new();
        self.0.iter().for_each(|cpu| set.set(*cpu));
        sched_setaffinity(None, &set).map_err(io::Error::from)
    }

    /// Starts something on these processors, and comes back to where this thread was.
    pub(super) fn starting<T>(&self, start: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let before = sched_getaffinity(None).map_err(|error| Error::Pin(error.into()))?;
        self.pin().map_err(Error::Pin)?;
        let started = start();
        sched_setaffinity(None, &before).map_err(|error| Error::Pin(error.into()))?;
        started
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_numbers_and_ranges() {
        assert_eq!("0".parse(), Ok(Cpus(vec![0])));
        assert_eq!("0,2-4".parse(), Ok(Cpus(vec![0, 2, 3, 4])));
        assert!("".parse::<Cpus>().is_err());
        assert!("99999".parse::<Cpus>().is_err());
    }

    #[test]
    fn an_account_is_found_by_its_name() {
        let line = "postgres:x:105:112:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash";
        assert!(matches!(Account::named("postgres", line), Some(Account { user: 105, group: 112 })));
        assert!(Account::named("post", line).is_none());
    }

    #[test]
    fn a_process_tells_what_it_costs_and_ends_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut process = Process::spawn(command, dir.path(), "sleep").unwrap();
        assert!(!process.has_ended() && process.cpu().is_some() && process.resident().is_some());
        let pid = process.pid();
        drop(process);
        assert!(stat(pid).is_none());
    }
}
