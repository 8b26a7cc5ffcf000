//! `tokenward config check|print|default`.

use clap::{Args, Subcommand};

use super::{
    Failure, Work,
    settings::Settings,
    show::{Format, FormatArgs},
};
use crate::config::{Purpose, default_toml, print_json, print_toml};

/// What `config` takes.
#[derive(Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say whether the settings, callers and certificates are valid and the database is as they say; exits 1 with the faults when not.
    Check,
    /// Print the effective settings and where they come from, secrets redacted.
    Print {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Print a commented TOML file with every setting and its default.
    Default,
}

// === impl ConfigArgs ===

impl ConfigArgs {
    pub(super) fn prepare(self) -> Result<Work, Failure> {
        let load = || self.settings.load(Purpose::Serve, Vec::new());
        Ok(Work::Print(match self.verb {
            Verb::Check => return Ok(Work::Check(load()?.config)),
            Verb::Default => default_toml(),
            Verb::Print { format } => match format.format() {
                Format::Human => print_toml(&load()?),
                Format::Json => print_json(&load()?) + "\n",
            },
        }))
    }
}
