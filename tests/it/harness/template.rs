//! Database directories: made once a machine, copied for each test.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, chown},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{Uid, User};
use tempfile::TempDir;

/// A directory for one test's server; short, because a Unix socket's path has at most 107 bytes.
pub(crate) fn directory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("tw-").tempdir().expect("the temporary directory is writable");
    give(dir.path());
    dir
}

/// A directory with a copy of the template `name`, which `make` fills when there is none yet.
pub(crate) fn copy_of(name: &str, make: impl FnOnce(&Path)) -> TempDir {
    let ready = ready(name, make);
    let dir = directory();
    copy(&ready, &dir.path().join("data"));
    dir
}

/// Writes a file that only who runs such a server may read.
pub(crate) fn private(path: &Path, content: &str) {
    let new = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    new.and_then(|mut file| file.write_all(content.as_bytes())).expect("a test's directory is writable");
    give(path);
}

/// The command of a program that refuses to run as root.
pub(crate) fn unprivileged(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    if let Some(user) = account() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it fails, with what it wrote.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

fn ready(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = File::create(cache.join(format!("{name}.lock"))).expect("cargo's directory for tests is writable");
    lock.lock().expect("a file can be locked");
    let ready = cache.join(name);
    if !ready.exists() {
        let (dir, part) = (directory(), cache.join(format!("{name}.part")));
        make(&dir.path().join("data"));
        // What an interrupted run left behind.
        drop(fs::remove_dir_all(&part));
        copy(&dir.path().join("data"), &part);
        fs::rename(&part, &ready).expect("a directory can be renamed beside itself");
    }
    ready
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").args([from, to]));
}

/// Who runs servers that refuse to run as root; `None` when we are not root ourselves.
fn account() -> Option<User> {
    let by_name = |name| User::from_name(name).expect("the user database can be read");
    Uid::effective()
        .is_root()
        .then(|| by_name("postgres").or_else(|| by_name("nobody")).expect("a system has the user nobody"))
}

fn give(path: &Path) {
    if let Some(user) = account() {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("root may give files away");
    }
}
