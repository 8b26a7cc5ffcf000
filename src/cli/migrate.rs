//! `tokenward migrate up|down|status`.

use clap::{Args, Subcommand, value_parser};

use super::{Failure, settings::Settings};
use crate::{
    app::Migrate,
    config::{Config, Purpose},
};

/// What `migrate` takes.
#[derive(Args)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Apply the changes that are pending.
    Up,
    /// Take back the newest changes.
    Down {
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
        steps: u32,
    },
    /// Show which changes are applied and which are pending.
    Status,
}

// === impl MigrateArgs ===

impl MigrateArgs {
    pub(super) fn load(self) -> Result<(Config, Migrate), Failure> {
        let verb = match self.verb {
            Verb::Up => Migrate::Up,
            Verb::Down { steps } => Migrate::Down { steps },
            Verb::Status => Migrate::Status,
        };
        Ok((self.settings.load(Purpose::Migrate, Vec::new())?.config, verb))
    }
}
