//! A server process: its output in files, its signals, its end.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::eventually::within;

/// Where [`field`] finds the parent of a process.
const PARENT: usize = 1;

/// A child that never outlives its owner.
///
/// It stays in the test's process group, so that a test runner that gives up on the
/// test ends it too.
pub(crate) struct Process {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

// === impl Process ===

impl Process {
    /// Starts `command` with its output appended to `NAME.out` and `NAME.err` in `dir`.
    pub(crate) fn spawn(mut command: Command, dir: &Path, name: &str) -> Self {
        let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&out))
            .stderr(append(&err))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self { child, out, err }
    }

    /// What it wrote to standard output.
    pub(crate) fn stdout(&self) -> String {
        read(&self.out)
    }

    /// What it wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        read(&self.err)
    }

    /// Sends a signal to this process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        self::signal(&[self.pid()], signal);
    }

    /// Stops the process and its children, and waits until they have: they keep their
    /// sockets and answer nothing.
    pub(crate) fn pause(&self) {
        // The parent first, so that it has no more children while they are listed.
        self.signal(Signal::SIGSTOP);
        wait_until_stopped(self.pid());
        let children = children(self.pid());
        signal(&children, Signal::SIGSTOP);
        children.into_iter().for_each(wait_until_stopped);
    }

    /// Undoes [`Self::pause`].
    pub(crate) fn resume(&self) {
        signal(&children(self.pid()), Signal::SIGCONT);
        self.signal(Signal::SIGCONT);
    }

    /// How it ended, or `None` while it runs.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Whether it runs, and is not paused.
    pub(crate) fn runs(&mut self) -> bool {
        self.exited().is_none() && !is_stopped(self.pid())
    }

    /// Waits for its end and says how long that took.
    pub(crate) async fn exit(&mut self, deadline: Duration) -> (ExitStatus, Duration) {
        within("the process has ended", deadline, async || self.exited()).await
    }

    /// Sends a signal that ends it, and waits until it has ended.
    pub(crate) fn end(&mut self, signal: Signal) {
        self.resume();
        self.signal(signal);
        self.child.wait().expect("a child can be waited for");
    }

    /// Its memory that is in RAM, in MiB: the second field of proc(5)'s `statm`, in pages of 4 KiB.
    pub(crate) fn resident(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("the process runs");
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("it has seven fields");
        pages * 4 / 1024
    }

    /// How it was started, as everybody on the host can see it: proc(5)'s `cmdline`.
    pub(crate) fn command_line(&self) -> Vec<u8> {
        fs::read(format!("/proc/{}/cmdline", self.pid())).expect("the process runs")
    }

    /// How many files and sockets it holds open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process runs").count()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is positive and small"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end(Signal::SIGKILL);
        }
    }
}

fn signal(pids: &[Pid], signal: Signal) {
    for pid in pids {
        // A process that has just ended cannot be signalled, which is no fault here.
        let _ = kill(*pid, signal);
    }
}

/// Each thread runs on until it has seen the signal.
fn wait_until_stopped(pid: Pid) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_stopped(pid) {
        assert!(Instant::now() < deadline, "process {pid} does not stop");
        std::thread::yield_now();
    }
}

/// Whether every thread is: by proc(5), `T` in the third field of its `stat`. One that has ended counts.
fn is_stopped(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    stats.filter_map(|stat| Some(stat.rsplit_once(") ")?.1.starts_with(['T', 'Z', 'X']))).all(|stopped| stopped)
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a test's directory is writable")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("a process has its output files")).into_owned()
}

/// The direct children of a process, by proc(5): the fourth field of `stat` is the parent.
fn children(parent: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("proc is mounted");
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent.as_raw())).map(Pid::from_raw).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    field(pid, PARENT)?.parse().ok()
}

/// A field of proc(5)'s `stat`, counted from the one after the program's name; `None` when the process is gone.
fn field(pid: i32, number: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(number).map(str::to_owned)
}
