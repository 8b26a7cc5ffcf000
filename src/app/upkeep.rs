//! What keeps the database tidy: pruning, imports, and the delivery to django-rest-knox-redis.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Error, hashing};
use crate::{
    audit::{self, Audit},
    config::{self, Config},
    domain::Clock,
    knox_redis::Courier,
    store::{Database, Import, Imported, PruneMode, Pruned},
};

/// Starts what works as long as the process does.
pub(super) fn start(config: &Config, database: &Database, background: &mut JoinSet<()>) -> Result<(), Error> {
    if !config.prune.interval.is_zero() {
        background.spawn(database.clone().keep_pruned(config.prune.clone()));
    }
    if !config.knox_redis.url.is_empty() {
        background.spawn(Courier::new(Arc::new(database.clone()), &config.knox_redis)?.run());
    }
    Ok(())
}

/// Starts the audit trail: to the log, and to the table where it is to be kept there.
pub(super) fn audit(
    config: &config::Audit,
    database: &Database,
    clock: impl Clock,
    background: &mut JoinSet<()>,
) -> Audit {
    let (counters, mut table) = (audit::Counters::new(), None);
    if config.table {
        let (queue, writer) = audit::table(Arc::new(database.clone()), counters.clone());
        background.spawn(writer.run());
        if !config.retention.is_zero() {
            background.spawn(database.clone().keep_audit(config.retention));
        }
        table = Some(queue);
    }
    let audit = Audit::new(clock, counters, table);
    background.spawn(audit.clone().run());
    audit
}

/// Prunes once, telling how far it has come.
///
/// # Errors
/// When the database cannot be reached or another process is pruning; what was deleted before stays deleted.
pub async fn prune(config: Config, mode: PruneMode, seen: impl FnMut(&Pruned)) -> Result<Pruned, Error> {
    let database = ready(&config).await?;
    let pruning = database.begin_pruning(config.prune.keep_expired, mode, std::time::Duration::ZERO).await;
    let pruning = pruning.map_err(Error::Prune)?.ok_or(Error::PruneBusy)?;
    let pruned = pruning.run(seen).await.map_err(Error::Prune)?;
    database.close().await;
    Ok(pruned)
}

/// Imports tokens, telling how far it has come.
///
/// # Errors
/// When the database cannot be reached or has no such table; what was imported before stays.
pub async fn import(config: Config, import: Import, seen: impl FnMut(&Imported)) -> Result<Imported, Error> {
    let database = ready(&config).await?;
    let imported = database.import(import, hashing(&config), seen).await.map_err(Error::Import)?;
    database.close().await;
    Ok(imported)
}

async fn ready(config: &Config) -> Result<Database, Error> {
    let database = Database::open(config).await?;
    database.require_current_schema().await?;
    Ok(database)
}
