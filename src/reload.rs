//! Values that are read from files, and read again when the files change.
//!
//! The files are looked at every two seconds and on SIGHUP. Content decides, not the time of change, so that the
//! symbolic links that Kubernetes swaps count and a `touch` does not. A new content that is faulty leaves the old
//! value in use, and is logged once.

use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus::{
    IntCounterVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use sha2::{Digest as _, Sha256};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};
use zeroize::Zeroizing;

/// Time between two looks at the files.
const PERIOD: Duration = Duration::from_secs(2);
/// Permission of others to read.
const READABLE_BY_OTHERS: u32 = 0o004;

/// A value that may be replaced at any time; a clone follows the same value.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

/// The files that a value was read from, and what they held.
#[derive(Debug, Default)]
pub struct Files {
    seen: BTreeMap<PathBuf, Content>,
}

/// Who may be allowed to read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Anyone.
    Public,
    /// Not every user of the host: a warning is logged when they may.
    Secret,
}

/// How often files that changed were taken over, or could not be. A clone counts on the same.
#[derive(Clone, Debug)]
pub struct Counters(IntCounterVec);

/// Keeps a [`Live`] value up to date.
#[derive(Debug)]
pub struct Reload<T, F> {
    what: &'static str,
    counters: Counters,
    live: Live<T>,
    load: F,
    files: Files,
}

/// A hash of what a file holds; `None` when it cannot be read.
type Content = Option<[u8; 32]>;

// === impl Live ===

impl<T> Live<T> {
    /// The value now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// === impl Counters ===

impl Counters {
    /// Nothing is counted yet.
    ///
    /// # Panics
    /// Never: the name is well-formed.
    #[must_use]
    pub fn new() -> Self {
        let opts =
            Opts::new("reloads_total", "Files that changed, by what they hold and whether they were taken over.");
        let counter = IntCounterVec::new(opts.namespace("tokenward"), &["what", "result"]);
        let counter = counter.expect("the name is well-formed");
        let counters = Self(counter);
        counters.show("callers");
        counters
    }

    /// Both at 0 from the start, so that a first faulty file is an increase.
    fn show(&self, what: &str) {
        for result in ["ok", "faulty"] {
            self.0.with_label_values(&[what, result]);
        }
    }

    fn count(&self, what: &str, result: &str) {
        self.0.with_label_values(&[what, result]).inc();
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for Counters {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

// === impl Files ===

impl Files {
    /// Reads a file and remembers what it held, or that it could not be read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&mut self, path: &Path, privacy: Privacy) -> io::Result<Zeroizing<Vec<u8>>> {
        let bytes = fs::read(path).map(Zeroizing::new);
        self.seen.insert(path.to_owned(), bytes.as_deref().map(|bytes| hash(bytes)).ok());
        if privacy == Privacy::Secret && bytes.is_ok() {
            warn_of_other_readers(path);
        }
        bytes
    }

    fn changed(&self) -> bool {
        self.seen.iter().any(|(path, seen)| content(path) != *seen)
    }
}

fn content(path: &Path) -> Content {
    fs::read(path).map(Zeroizing::new).map(|bytes| hash(&bytes)).ok()
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn warn_of_other_readers(path: &Path) {
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & READABLE_BY_OTHERS != 0) {
        tracing::warn!(path = %path.display(), "every user of this host can read this secret file: chmod o-r");
    }
}

// === impl Reload ===

impl<T, E, F> Reload<T, F>
where
    T: Send + Sync + 'static,
    E: Error + 'static,
    F: Fn(&mut Files) -> Result<T, E> + Send + 'static,
{
    /// Loads the value for the first time; `what` names it in the log and among the `counters`.
    ///
    /// # Errors
    /// What `load` says.
    pub fn start(what: &'static str, counters: &Counters, load: F) -> Result<(Live<T>, Self), E> {
        counters.show(what);
        let mut files = Files::default();
        let live = Live(Arc::new(ArcSwap::from_pointee(load(&mut files)?)));
        Ok((live.clone(), Self { what, counters: counters.clone(), live, load, files }))
    }

    /// Follows the files for ever.
    ///
    /// # Panics
    /// When the operating system refuses a handler for SIGHUP.
    pub async fn run(mut self) {
        let mut hangups = signal(SignalKind::hangup()).expect("SIGHUP can be caught");
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = hangups.recv() => tracing::info!("SIGHUP: looking at the {}", self.what),
            }
            // A file may lie on a network that hangs.
            self = tokio::task::spawn_blocking(move || self.followed()).await.expect("looking at files does not panic");
        }
    }

    fn followed(mut self) -> Self {
        if self.files.changed() {
            let mut files = Files::default();
            match (self.load)(&mut files) {
                Ok(value) => {
                    self.live.0.store(Arc::new(value));
                    self.counters.count(self.what, "ok");
                    tracing::info!("{}: reloaded", self.what);
                }
                Err(error) => {
                    let error: &dyn Error = &error;
                    self.counters.count(self.what, "faulty");
                    tracing::error!(error, "{}: the new files are faulty; the old ones stay in use", self.what);
                }
            }
            self.files = files;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_content_is_taken_over_and_a_faulty_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "1").unwrap();
        let read = {
            let path = path.clone();
            move |files: &mut Files| {
                let bytes = files.read(&path, Privacy::Public)?;
                String::from_utf8_lossy(&bytes).parse::<u8>().map_err(io::Error::other)
            }
        };
        let counters = Counters::new();
        let (live, mut reload) = Reload::start("number", &counters, read).unwrap();
        for (text, value) in [("1", 1), ("2", 2), ("two", 2), ("3", 3)] {
            fs::write(&path, text).unwrap();
            reload = reload.followed();
            assert_eq!(*live.get(), value, "{text}");
        }
        fs::remove_file(&path).unwrap();
        reload = reload.followed();
        assert_eq!(*live.get(), 3);
        fs::write(&path, "4").unwrap();
        reload.followed();
        assert_eq!(*live.get(), 4, "a file that is back is read");
        let counted = |result| counters.0.with_label_values(&["number", result]).get();
        assert_eq!((counted("ok"), counted("faulty")), (3, 2));
    }
}
