//! The flags that set settings. None has a default, which would beat the file.

use std::path::PathBuf;

use clap::Args;

use crate::config::{self, Faults, Flag, Loaded, Purpose, SecretText, Sources};

/// What `serve`, `migrate` and `config` have in common.
#[derive(Args, Clone)]
pub(super) struct Settings {
    /// The TOML file with the settings; `tokenward config default` prints one.
    #[arg(long, global = true, env = "TOKENWARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets `database.url`: `sqlite://PATH`, `postgres://...` or `mysql://...`.
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<SecretText>,
    /// Sets `redis.url`.
    #[arg(long, global = true, value_name = "URL")]
    redis_url: Option<SecretText>,
}

// === impl Settings ===

impl Settings {
    /// Puts flags, environment, file and defaults together.
    pub(super) fn load(self, purpose: Purpose, more: Vec<Flag>) -> Result<Loaded, Faults> {
        let flags = [
            flag("--database-url", "database.url", self.database_url),
            flag("--redis-url", "redis.url", self.redis_url),
        ];
        let flags = flags.into_iter().flatten().chain(more).collect();
        config::load(Sources { purpose, file: self.config, env: environment(), flags })
    }
}

/// A flag, if it was given.
pub(super) fn flag(spelling: &'static str, key: &'static str, text: Option<SecretText>) -> Option<Flag> {
    text.map(|text| Flag { spelling, key, text })
}

/// What is not Unicode is no setting of ours, and no reason to panic.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}
