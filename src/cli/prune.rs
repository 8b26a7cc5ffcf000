//! `tokenward prune`.

use clap::Args;

use super::{
    Failure,
    failure::Ending,
    print,
    progress::{bar, show},
    settings::{Settings, flag},
};
use crate::{
    app,
    config::{Config, Purpose, SecretText},
    store::PruneMode,
};

/// What `prune` takes.
#[derive(Args)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    settings: Settings,
    /// Sets `prune.keep_expired`: how long expired tokens are kept, such as `7d`; at least `1h`.
    #[arg(long, value_name = "TIME")]
    keep_expired: Option<String>,
    /// Count what would be deleted, and delete nothing.
    #[arg(long)]
    dry_run: bool,
}

// === impl PruneArgs ===

impl PruneArgs {
    pub(super) fn load(self) -> Result<(Config, PruneMode), Failure> {
        let mode = if self.dry_run { PruneMode::Count } else { PruneMode::Delete };
        let keep = flag("--keep-expired", "prune.keep_expired", self.keep_expired.map(SecretText::from));
        Ok((self.settings.load(Purpose::Migrate, keep.into_iter().collect())?.config, mode))
    }
}

pub(super) async fn run(config: Config, mode: PruneMode) -> Result<Ending, Failure> {
    let (bar, kept) = (bar(), config.prune.keep_expired);
    let told = app::prune(config, mode, |pruned| show(&bar, pruned.share, format!("{} tokens", pruned.tokens))).await;
    bar.finish_and_clear();
    let pruned = told?;
    let verb = match mode {
        PruneMode::Delete => "deleted",
        PruneMode::Count => "would delete",
    };
    let kept = humantime::format_duration(kept);
    print(&format!("{verb} {pruned}; what expired less than {kept} ago is kept\n"))
}
