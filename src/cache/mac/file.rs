//! The key that is kept in a file beside a SQLite database.
//!
//! It is no better protected than the database itself, which is worth more. Two processes that
//! start at once end with the same key: each writes a file of another name whole, and only
//! the first can give its file the name.

use std::{
    ffi::OsString,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::config::MIN_MAC_KEY_BYTES;

/// Added to the name of the database's file.
const SUFFIX: &str = ".mac-key";
/// Random bytes of a key that is made.
const RANDOM_BYTES: usize = 32;

/// Why there is no key for cache entries. The texts hold no key.
#[derive(Debug, thiserror::Error)]
pub enum MacKeyError {
    /// None is configured, and there is no SQLite file to keep one beside.
    #[error("cache.mac_key is not set: give every replica the same output of `openssl rand -hex 32`")]
    Missing,
    /// The file cannot be read or made.
    #[error("the key of cache entries cannot be kept in {}: make its directory writable, or set cache.mac_key", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} holds no key of at least {MIN_MAC_KEY_BYTES} bytes: delete it, and a new one is made", .path.display())]
    Short {
        /// The file.
        path: PathBuf,
    },
}

/// The text of the key of this database file.
pub(super) fn read_or_create(database: &Path) -> Result<Zeroizing<String>, MacKeyError> {
    let path = path(database);
    let kept = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(&path).and_then(|()| read(&path)),
        kept => kept,
    };
    match kept {
        Ok(text) if text.len() >= MIN_MAC_KEY_BYTES => Ok(text),
        Ok(_) => Err(MacKeyError::Short { path }),
        Err(source) => Err(MacKeyError::File { path, source }),
    }
}

pub(super) fn path(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(SUFFIX);
    name.into()
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Makes the file, unless another process has made it meanwhile.
fn create(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Its mode is 0600.
    let mut unnamed = tempfile::Builder::new().prefix(".mac-key-").tempfile_in(directory)?;
    let random = Zeroizing::new(rand::random::<[u8; RANDOM_BYTES]>());
    let text = Zeroizing::new(hex::encode(*random));
    unnamed.write_all(text.as_bytes())?;
    unnamed.as_file().sync_all()?;
    match unnamed.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(failed) => Err(failed.error),
    }
}
