//! How much is logged: on SIGHUP as the settings say then.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{Config, Faults},
    telemetry,
};

/// Follows `log.level` for ever; every other setting stays as it was at the start.
pub(super) async fn follow<F>(mut level: String, reread: F)
where
    F: Fn() -> Result<Config, Faults> + Send + Sync + 'static,
{
    let mut hangups = signal(SignalKind::hangup()).expect("SIGHUP can be caught");
    let reread = Arc::new(reread);
    while hangups.recv().await.is_some() {
        let reread = Arc::clone(&reread);
        // A file may lie on a network that hangs.
        let read = tokio::task::spawn_blocking(move || reread()).await.expect("reading settings does not panic");
        match read {
            Ok(config) if config.log.level != level => {
                let (from, to) = (level, config.log.level);
                telemetry::relevel(&to);
                tracing::warn!(from, to, "SIGHUP: log.level has changed");
                level = to;
            }
            Ok(_) => tracing::info!("SIGHUP: log.level is as before"),
            Err(faults) => tracing::error!(%faults, "SIGHUP: the settings are faulty; log.level stays as it was"),
        }
    }
}
