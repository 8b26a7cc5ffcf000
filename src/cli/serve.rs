//! `tokenward serve`.

use clap::Args;

use super::settings::{Settings, flag};
use crate::config::{Config, Faults, Purpose, SecretText};

/// What `serve` takes.
#[derive(Args, Clone)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Sets `server.listen`, an ADDRESS:PORT or `unix:PATH`; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Sets `server.insecure`: listen for other hosts although callers are not authenticated.
    #[arg(long)]
    insecure: bool,
}

// === impl Serve ===

impl Serve {
    pub(super) fn load(self) -> Result<Config, Faults> {
        let flags = [
            flag("--listen", "server.listen", self.listen.map(SecretText::from)),
            flag("--insecure", "server.insecure", self.insecure.then(|| SecretText::new("true"))),
        ];
        Ok(self.settings.load(Purpose::Serve, flags.into_iter().flatten().collect())?.config)
    }
}
