//! The callers file. Every fault is found in one pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Caller, Directory, Methods, San, directory::KeyDigest, method};
use crate::{
    config::{Callers, Fault, Faults, Origin, Server},
    reload::{Files, Privacy},
};

/// Shortest key, in bytes.
const MIN_KEY: usize = 32;
/// Makes a key that nobody guesses.
const MAKE_A_KEY: &str = "make one with `openssl rand -hex 32`";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default, rename = "caller")]
    callers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    keys_file: OneOrMore,
    #[serde(default)]
    sans: Vec<String>,
    methods: Vec<String>,
    max_inactive_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

/// Reads entry after entry, and collects what is wrong.
struct Reader<'a> {
    path: &'a Path,
    settings: &'a Callers,
    server: &'a Server,
    files: &'a mut Files,
    directory: Directory,
    names: BTreeSet<String>,
    /// Whose each credential is.
    keys: BTreeMap<KeyDigest, String>,
    sans: BTreeMap<San, String>,
    faults: Vec<Fault>,
}

/// Reads the callers from `path` and the files that it names.
///
/// # Errors
/// [`Faults`] with everything that is wrong. None repeats a key.
pub fn load(path: &Path, settings: &Callers, server: &Server, files: &mut Files) -> Result<Directory, Faults> {
    let mut reader = Reader {
        path,
        settings,
        server,
        files,
        directory: Directory::default(),
        names: BTreeSet::new(),
        keys: BTreeMap::new(),
        sans: BTreeMap::new(),
        faults: Vec::new(),
    };
    if let Some(contents) = reader.contents() {
        reader.callers(contents);
    }
    if reader.faults.is_empty() { Ok(reader.directory) } else { Err(Faults(reader.faults)) }
}

// === impl Reader ===

impl Reader<'_> {
    fn contents(&mut self) -> Option<Contents> {
        let bytes = match self.files.read(self.path, Privacy::Public) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refuse("callers.file", format!("cannot be read: {error}"), "name a file that this user may read");
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        match toml::from_str(&text) {
            Ok(contents) => Some(contents),
            Err(error) => {
                // The error's own text, and quotes in its message, may show a key that landed there.
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let problem = format!("is not a list of callers at line {}", before.matches('\n').count() + 1);
                let cause = error.message().split('"').next().unwrap_or_default().trim_end();
                self.refuse("callers.file", problem, format!("the parser says: {}", cause.replace('\n', ", ")));
                None
            }
        }
    }

    fn callers(&mut self, contents: Contents) {
        if contents.callers.is_empty() {
            self.refuse("callers.file", "names no caller", "begin each with [[caller]]");
        }
        for (index, entry) in contents.callers.into_iter().enumerate() {
            self.caller(index, entry);
        }
    }

    fn caller(&mut self, index: usize, entry: Entry) {
        let key = format!("caller[{index}]");
        self.name(&key, &entry.name);
        let methods = self.methods(&key, entry.methods);
        let (key_files, sans) = (entry.keys_file.paths(), entry.sans);
        if key_files.is_empty() && sans.is_empty() {
            self.refuse(&key, "has no credential", "give keys_file or sans");
        }
        if !sans.is_empty() && self.server.tls_client_ca.is_none() {
            let problem = "needs server.tls_client_ca, which is not set";
            self.refuse(format!("{key}.sans"), problem, "name the authority's PEM file there");
        }
        let limit = entry.max_inactive_per_second.unwrap_or(self.settings.max_inactive_per_second);
        let caller = Caller::new(&entry.name, NonZeroU32::new(limit));
        let keys: Vec<_> = key_files.iter().flat_map(|file| self.keys(&key, &entry.name, file)).collect();
        let sans: Vec<_> = sans.iter().filter_map(|san| self.san(&key, &entry.name, san)).collect();
        self.directory.add(caller, methods, keys, sans);
    }

    fn name(&mut self, key: &str, name: &str) {
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.refuse(format!("{key}.name"), "is no name", "give 1 to 64 visible ASCII characters");
        } else if !self.names.insert(name.to_owned()) {
            self.refuse(format!("{key}.name"), format!("{name} is the name of another caller"), "give another name");
        }
    }

    fn methods(&mut self, key: &str, methods: Vec<String>) -> Methods {
        let key = format!("{key}.methods");
        if methods.is_empty() {
            self.refuse(&key, "is empty", "name methods, or \"*\" for all");
        }
        if methods == ["*"] {
            return Methods::All;
        }
        for unknown in methods.iter().filter(|method| !method::existing().contains(*method)) {
            let existing: Vec<_> = method::existing().iter().map(String::as_str).collect();
            let remedy = format!("give \"*\" alone, or some of {}", existing.join(", "));
            self.refuse(&key, format!("{unknown:?} is no method"), remedy);
        }
        Methods::Only(methods.into_iter().collect())
    }

    /// The keys of a file, one a line.
    fn keys(&mut self, key: &str, name: &str, file: &Path) -> Vec<KeyDigest> {
        let key = format!("{key}.keys_file");
        // A file beside the callers file needs no path.
        let file = self.path.parent().map_or_else(|| file.to_owned(), |folder| folder.join(file));
        let shown = file.display();
        let bytes = match self.files.read(&file, Privacy::Secret) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refuse(key, format!("{shown} cannot be read: {error}"), "name a file that this user may read");
                return Vec::new();
            }
        };
        let Ok(text) = std::str::from_utf8(&bytes) else {
            self.refuse(key, format!("{shown} is not text"), MAKE_A_KEY);
            return Vec::new();
        };
        let lines = text.lines().map(str::trim).enumerate();
        let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
        if lines.is_empty() {
            self.refuse(&key, format!("{shown} holds no key"), MAKE_A_KEY);
        }
        lines.into_iter().filter_map(|(at, line)| self.key(&key, name, &format!("{shown}:{}", at + 1), line)).collect()
    }

    fn key(&mut self, key: &str, name: &str, at: &str, line: &str) -> Option<KeyDigest> {
        if line.len() < MIN_KEY || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.refuse(key, format!("{at} is shorter than {MIN_KEY} bytes or not visible ASCII"), MAKE_A_KEY);
            return None;
        }
        let digest = KeyDigest::of(line);
        let owner = self.keys.entry(digest).or_insert_with(|| name.to_owned());
        if owner != name {
            let problem = format!("{at} is a key of {owner} too");
            self.refuse(key, problem, "give each caller keys of its own");
        }
        Some(digest)
    }

    fn san(&mut self, key: &str, name: &str, text: &str) -> Option<San> {
        let key = format!("{key}.sans");
        let san = if text.contains("://") { San::uri(text) } else { San::dns(text) };
        if text.is_empty() || text.contains(['*', ' ']) || text.parse::<IpAddr>().is_ok() {
            self.refuse(&key, format!("{text:?} is no exact name"), "give a DNS name or a URI, without wildcards");
            return None;
        }
        let owner = self.sans.entry(san.clone()).or_insert_with(|| name.to_owned());
        if owner != name {
            let problem = format!("{san} is a name of {owner} too");
            self.refuse(&key, problem, "leave it to one of the two");
        }
        Some(san)
    }

    fn refuse(&mut self, key: impl Into<String>, problem: impl Into<String>, remedy: impl Display) {
        let from = Origin::File(self.path.to_owned());
        self.faults.push(Fault { key: key.into(), from, problem: problem.into(), remedy: remedy.to_string() });
    }
}

// === impl OneOrMore ===

impl OneOrMore {
    fn paths(self) -> Vec<PathBuf> {
        match self {
            Self::One(path) => vec![path],
            Self::More(paths) => paths,
        }
    }
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
