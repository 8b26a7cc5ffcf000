//! `tokenward config check|print|default`.

use clap::{Args, Subcommand};

use super::{
    Failure,
    settings::Settings,
    show::{Format, FormatArgs},
};
use crate::{
    app,
    config::{Purpose, default_toml, print_json, print_toml},
};

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
    /// Say whether the settings, callers and certificates are valid; exits 1 with every fault when they are not.
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
    pub(super) fn text(self) -> Result<String, Failure> {
        let load = || self.settings.load(Purpose::Serve, Vec::new());
        Ok(match self.verb {
            Verb::Check => {
                app::check(&load()?.config)?;
                "configuration is valid\n".to_owned()
            }
            Verb::Default => default_toml(),
            Verb::Print { format } => match format.format() {
                Format::Human => print_toml(&load()?),
                Format::Json => print_json(&load()?) + "\n",
            },
        })
    }
}
