//! A Redis of our own, on a port of 127.0.0.1.

use std::{
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{super::Error, process::Process};

/// The longest that it may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How often another free port is tried.
const ATTEMPTS: usize = 5;
/// Commands of ours, and of nobody's check.
const OURS: [&str; 4] = ["info", "config|resetstat", "flushall", "ping"];

/// A running `redis-server`, without persistence.
#[derive(Debug)]
pub(super) struct Redis {
    process: Process,
    port: u16,
    /// What processes did that it was before.
    earlier: Spent,
}

/// What a Redis has done; `None` is what could not be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    /// Commands, but ours.
    pub(super) commands: Option<u64>,
    /// Processor time.
    pub(super) cpu: Option<Duration>,
}

// === impl Redis ===

impl Redis {
    /// Starts a server in a directory of its own, and waits until it answers.
    pub(super) async fn start(dir: &Path) -> Result<Self, Error> {
        for _ in 1..ATTEMPTS {
            if let Ok(redis) = Self::start_on(dir, free_port()?).await {
                return Ok(redis);
            }
        }
        Self::start_on(dir, free_port()?).await
    }

    async fn start_on(dir: &Path, port: u16) -> Result<Self, Error> {
        let mut redis = Self { process: launch(dir, port)?, port, earlier: Spent::NOTHING };
        redis.answers().await?;
        Ok(redis)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would, with its counters in mind: those of the next process begin anew.
    pub(super) async fn kill(&mut self) {
        self.earlier = self.spent().await;
        self.process.end(Signal::KILL);
    }

    /// Starts it again after [`Self::kill`], empty.
    pub(super) async fn restart(&mut self, dir: &Path) -> Result<(), Error> {
        self.process = launch(dir, self.port)?;
        self.answers().await
    }

    pub(super) fn pause(&self) {
        self.process.pause();
    }

    pub(super) fn resume(&self) {
        self.process.resume();
    }

    /// Forgets every key.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        match self.ask("FLUSHALL").await {
            Some(answer) if answer.starts_with("+OK") => Ok(()),
            Some(_) | None => Err(self.process.complaint()),
        }
    }

    /// What it has done since it was first started.
    pub(super) async fn spent(&self) -> Spent {
        let now = Spent { cpu: self.process.cpu(), commands: self.commands().await };
        self.earlier.and(now)
    }

    /// Commands since this process was started, but ours; `None` when it does not answer.
    async fn commands(&self) -> Option<u64> {
        let info = self.ask("INFO commandstats").await?;
        let entries = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
        let others = entries.filter(|(name, _)| !OURS.contains(name));
        Some(others.filter_map(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok()).sum())
    }

    async fn answers(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        while self.ask("PING").await.is_none_or(|answer| !answer.starts_with("+PONG")) {
            if self.process.has_ended() || start.elapsed() > START_LIMIT {
                return Err(self.process.complaint());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Sends an inline command, and reads until its answer is there as a whole.
    async fn ask(&self, command: &str) -> Option<String> {
        let asking = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            stream.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
            let mut answer = Vec::new();
            while !is_whole(&answer) {
                if stream.read_buf(&mut answer).await.ok()? == 0 {
                    return None;
                }
            }
            String::from_utf8(answer).ok()
        };
        timeout(ANSWER_LIMIT, asking).await.ok()?
    }
}

// === impl Spent ===

impl Spent {
    const NOTHING: Self = Self { commands: Some(0), cpu: Some(Duration::ZERO) };

    fn and(self, more: Self) -> Self {
        let commands = self.commands.zip(more.commands).map(|(one, other)| one + other);
        let cpu = self.cpu.zip(more.cpu).map(|(one, other)| one + other);
        Self { commands, cpu }
    }
}

/// Whether these bytes are one reply: a line, or a string whose length its first line tells.
fn is_whole(reply: &[u8]) -> bool {
    let Some(end) = reply.windows(2).position(|two| two == b"\r\n") else { return false };
    if !reply.starts_with(b"$") {
        return true;
    }
    let length = std::str::from_utf8(&reply[1..end]).ok().and_then(|text| text.parse::<usize>().ok());
    length.is_none_or(|length| reply.len() >= end + 2 + length + 2)
}

fn launch(dir: &Path, port: u16) -> Result<Process, Error> {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(dir);
    Process::spawn(command, dir, "redis")
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> Result<u16, Error> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|source| Error::Start { program: "a port".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_it_did_before_it_was_killed_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut redis = Redis::start(dir.path()).await.unwrap();
        for _ in 0..3 {
            redis.ask("GET key").await.unwrap();
        }
        redis.kill().await;
        redis.restart(dir.path()).await.unwrap();
        // More than before, so that the new counter alone does not look as if it had gone back.
        for _ in 0..5 {
            redis.ask("GET key").await.unwrap();
        }
        let spent = redis.spent().await;
        assert_eq!(spent.commands, Some(8));
        assert!(spent.cpu >= redis.earlier.cpu && spent.cpu.is_some());
    }

    #[test]
    fn a_reply_is_whole_with_its_last_byte() {
        assert!(is_whole(b"+PONG\r\n") && is_whole(b"$3\r\nabc\r\n"));
        assert!(!is_whole(b"+PONG") && !is_whole(b"$3\r\nabc\r") && !is_whole(b""));
    }
}
