//! Python environments with the packages of other projects.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// The programs of an environment that is made once and kept in `target/tmp`: `python` and what
/// the packages bring. It is made anew when the requirements change.
///
/// # Panics
/// With what to do about it, when a package cannot be installed.
pub(crate) fn environment(name: &str, requirements: &str) -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (home, stamp) = (tmp.join(format!("{name}-venv")), tmp.join(format!("{name}-venv.stamp")));
    let lock = File::create(tmp.join(format!("{name}-venv.lock"))).expect("cargo's directory for tests is writable");
    lock.lock().expect("a file can be locked");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirements) {
        return home.join("bin");
    }
    let list = tmp.join(format!("{name}-requirements.txt"));
    fs::write(&list, requirements).expect("cargo's directory for tests is writable");
    install(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
    let pip = home.join("bin/pip");
    install(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(list));
    fs::write(stamp, requirements).expect("cargo's directory for tests is writable");
    home.join("bin")
}

fn install(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: install python3"));
    assert!(
        output.status.success(),
        "the packages of other projects cannot be installed: {command:?}\n{}{}\n\
         They come from PyPI: look at the network and at pip's index settings, and install the \
         packages python3, python3-venv and python3-pip.",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
