//! A private Redis on a Unix socket.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

use super::{eventually::eventually, held, process::Process, template};

mod cluster;
mod sentinel;

pub(crate) use self::{cluster::RedisCluster, sentinel::Sentinel};

/// Servers that have to agree with each other may take this long on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// The first values there are, each with its key, whatever the type.
const SOME: &str = r"
    local all = {}
    for i, key in ipairs(redis.call('KEYS', '*')) do
        if i > tonumber(ARGV[1]) then break end
        local kind = redis.call('TYPE', key).ok
        local value = ''
        if kind == 'string' then value = redis.call('GETRANGE', key, 0, 65535)
        elseif kind == 'hash' then value = table.concat(redis.call('HGETALL', key), ' ')
        elseif kind == 'list' then value = table.concat(redis.call('LRANGE', key, 0, 100), ' ')
        elseif kind == 'set' then value = table.concat(redis.call('SRANDMEMBER', key, 100), ' ')
        elseif kind == 'zset' then value = table.concat(redis.call('ZRANGE', key, 0, 100), ' ')
        else value = redis.call('DUMP', key) end
        table.insert(all, key)
        table.insert(all, value)
    end
    return all";

/// A running `redis-server`, without persistence unless asked for.
pub(crate) struct Redis {
    process: Process,
    dir: TempDir,
    options: Vec<String>,
    password: Option<String>,
}

/// PEM files with which servers speak TLS, and nothing else, with each other and with clients.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) ca: String,
}

/// What Redis answers (RESP2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A status, an integer or a string.
    Text(String),
    /// A string that is no text.
    Bytes(Vec<u8>),
    /// An error, its code first.
    Error(String),
    /// Nothing.
    Nil,
    /// Several.
    Array(Vec<Reply>),
}

/// Calls by command, in lower case, since the server's start.
pub(crate) type Calls = BTreeMap<String, u64>;

// === impl Redis ===

impl Redis {
    /// Starts a server and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with options of its own, which a restart keeps.
    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let dir = template::directory();
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let redis = Self { process: launch(&dir, &options, &[]), dir, options, password: None };
        redis.answers().await;
        redis
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// Where it keeps its files.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.end(Signal::SIGKILL);
    }

    /// Starts it again on the same socket: empty, unless it was saved.
    pub(crate) async fn restart(&mut self) {
        self.process = launch(&self.dir, &self.options, &[]);
        self.password = None;
        self.answers().await;
    }

    /// Writes all it holds to its disk, where [`Self::restart`] finds it.
    pub(crate) async fn save(&self) {
        self.command(&["SAVE"]).await;
    }

    /// Restarts it with a data set that takes minutes to load: until
    /// [`Self::finish_loading`] every command is answered with LOADING.
    pub(crate) async fn restart_loading(&mut self) {
        let fill = "for i = 1, 20000 do redis.call('SET', 'filler:' .. i, i) end";
        self.command(&["EVAL", fill, "0"]).await;
        self.command(&["SAVE"]).await;
        self.kill();
        // Microseconds a key, and how much is read between two looks at the clients.
        let slow = ["--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"];
        self.process = launch(&self.dir, &self.options, &slow);
        let loading = async || {
            matches!(self.try_command(&["GET", "x"]).await?, Reply::Error(text) if text.starts_with("LOADING"))
                .then_some(())
        };
        eventually("Redis is loading", loading).await;
    }

    /// Lets [`Self::restart_loading`] come to its end.
    pub(crate) async fn finish_loading(&self) {
        self.command(&["CONFIG", "SET", "key-load-delay", "0"]).await;
    }

    /// Stops it with its sockets open.
    pub(crate) fn pause(&self) {
        self.process.pause();
    }

    /// Undoes [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.process.resume();
    }

    /// Demands a password from now on, and drops who is connected.
    pub(crate) async fn set_password(&mut self, password: &str) {
        self.command(&["CONFIG", "SET", "requirepass", password]).await;
        self.password = (!password.is_empty()).then(|| password.to_owned());
        self.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    }

    /// Runs one administrator's command.
    ///
    /// # Panics
    /// When Redis answers with an error.
    pub(crate) async fn command(&self, words: &[&str]) -> Reply {
        let reply = self.try_command(words).await.unwrap_or_else(|| panic!("Redis is gone: {words:?}"));
        assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply:?}");
        reply
    }

    /// Calls of every command but those of health probes and of this harness.
    pub(crate) async fn calls(&self) -> Calls {
        let Reply::Text(info) = self.command(&["INFO", "commandstats"]).await else { panic!("INFO answers with text") };
        let entries = info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
        let counts = entries.filter_map(|(name, rest)| Some((name.to_owned(), rest.split(',').next()?.parse().ok()?)));
        counts
            .filter(|(name, _)| !["ping", "info", "config|resetstat", "auth", "flushall"].contains(&name.as_str()))
            .collect()
    }

    /// Forgets all calls until now.
    pub(crate) async fn reset_calls(&self) {
        self.command(&["CONFIG", "RESETSTAT"]).await;
    }

    async fn answers(&self) {
        let pong = Some(Reply::Text("PONG".to_owned()));
        eventually("Redis answers", async || (self.try_command(&["PING"]).await == pong).then_some(())).await;
    }

    /// The answer as text, when there is one.
    pub(crate) async fn try_text(&self, words: &[&str]) -> Option<String> {
        match self.try_command(words).await? {
            Reply::Text(text) => Some(text),
            Reply::Bytes(_) | Reply::Error(_) | Reply::Nil | Reply::Array(_) => None,
        }
    }

    /// `None` when there is no connection, or it ends before the answer.
    pub(crate) async fn try_command(&self, words: &[&str]) -> Option<Reply> {
        let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        self.exchange(&words).await
    }

    /// The string at a key; `None` when there is none.
    pub(crate) async fn value(&self, key: &str) -> Option<Vec<u8>> {
        match self.command(&["GET", key]).await {
            Reply::Nil => None,
            reply => Some(reply.into_bytes()),
        }
    }

    /// Puts any bytes at a key, whatever stands there, for good.
    pub(crate) async fn put(&self, key: &str, value: &[u8]) {
        let reply = self.exchange(&[b"SET", key.as_bytes(), value]).await;
        assert_eq!(reply, Some(Reply::Text("OK".to_owned())), "{key}");
    }

    /// All it holds: each key, and its value in the form of `DUMP`, which every type has.
    pub(crate) async fn everything(&self) -> Vec<(String, Vec<u8>)> {
        let Reply::Array(keys) = self.command(&["KEYS", "*"]).await else { panic!("KEYS answers with an array") };
        let mut all = Vec::new();
        for key in keys {
            let Reply::Text(key) = key else { panic!("every key is text: {key:?}") };
            // Compressed by DUMP, but for strings; one that has expired meanwhile is nil.
            let value = match self.command(&["TYPE", &key]).await {
                Reply::Text(kind) if kind == "string" => self.value(&key).await.unwrap_or_default(),
                _ => self.command(&["DUMP", &key]).await.into_bytes(),
            };
            all.push((key, value));
        }
        all
    }

    /// Some of [`Self::everything`], in one command; `None` from a server that cannot tell.
    async fn some(&self) -> Option<Vec<(String, Vec<u8>)>> {
        let Reply::Array(all) = self.try_command(&["EVAL", SOME, "0", &held::ROWS.to_string()]).await? else {
            return None;
        };
        let pairs = all.chunks_exact(2).map(|pair| {
            let [key, value] = pair else { unreachable!("in pairs") };
            (String::from_utf8_lossy(&key.clone().into_bytes()).into_owned(), value.clone().into_bytes())
        });
        Some(pairs.collect())
    }

    async fn exchange(&self, words: &[&[u8]]) -> Option<Reply> {
        exchange_with(&self.socket(), self.password.as_deref(), words).await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.process.runs() {
            held::assert_values_hold_no_secret(self.some());
        }
    }
}

// === impl TlsFiles ===

impl TlsFiles {
    /// The port and what goes with it, as options of a server's command line; clear text without files.
    fn options<'a>(files: Option<&'a Self>, port: &'a str) -> Vec<&'a str> {
        let Some(files) = files else { return vec!["--port", port] };
        let Self { cert, key, ca } = files;
        let mut options = vec!["--tls-port", port, "--tls-replication", "yes", "--tls-auth-clients", "optional"];
        options.extend(["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca]);
        options
    }
}

// === impl Reply ===

impl Reply {
    /// A string's bytes; nothing for nil.
    ///
    /// # Panics
    /// When it is none.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::Nil => Vec::new(),
            Self::Error(_) | Self::Array(_) => panic!("no string: {self:?}"),
        }
    }
}

/// One command on a connection of its own.
async fn exchange_with(socket: &Path, password: Option<&str>, words: &[&[u8]]) -> Option<Reply> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await.ok()?);
    if let Some(password) = password {
        exchange(&mut stream, &[b"AUTH", password.as_bytes()]).await?;
    }
    exchange(&mut stream, words).await
}

fn launch(dir: &TempDir, options: &[String], more: &[&str]) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"]).arg(dir.path());
    command.arg("--unixsocket").arg(dir.path().join("redis.sock")).args(options).args(more);
    Process::spawn(command, dir.path(), "redis")
}

async fn exchange(stream: &mut BufReader<UnixStream>, words: &[&[u8]]) -> Option<Reply> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend(format!("${}\r\n", word.len()).bytes());
        request.extend_from_slice(word);
        request.extend(b"\r\n");
    }
    stream.write_all(&request).await.ok()?;
    reply(stream).await
}

async fn reply(stream: &mut BufReader<UnixStream>) -> Option<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let (kind, rest) = line.trim_end().split_at_checked(1)?;
    match (kind, rest) {
        ("+" | ":", text) => Some(Reply::Text(text.to_owned())),
        ("-", text) => Some(Reply::Error(text.to_owned())),
        ("$" | "*", "-1") => Some(Reply::Nil),
        ("$", length) => bulk(stream, length.parse().ok()?).await,
        ("*", count) => {
            let mut items = Vec::new();
            for _ in 0..count.parse().ok()? {
                items.push(Box::pin(reply(stream)).await?);
            }
            Some(Reply::Array(items))
        }
        _ => None,
    }
}

async fn bulk(stream: &mut BufReader<UnixStream>, length: usize) -> Option<Reply> {
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes).await.ok()?;
    bytes.truncate(length);
    Some(String::from_utf8(bytes).map_or_else(|error| Reply::Bytes(error.into_bytes()), Reply::Text))
}
