//! What keeps the database tidy: pruning, imports, and the delivery to django-rest-knox-redis.

use std::{sync::Arc, time::Duration};

use rustix::process::getuid;
use tokio::task::JoinSet;

use super::{Error, policy::hashing, schema};
use crate::{
    audit::{self, Audit},
    config::{self, Config},
    domain::{AuditEvent, Clock, Outcome, SystemClock, TokenId, UserId, Who},
    knox_redis::Courier,
    store::{Database, Import, Imported, PruneMode, Pruned},
};

/// Longest time for the audit table to take what a command did.
const AUDIT_LIMIT: Duration = Duration::from_secs(30);

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
    let pruning = database.begin_pruning(config.prune.keep_expired, mode, Duration::ZERO).await;
    let pruning = pruning.map_err(Error::Prune)?.ok_or(Error::PruneBusy)?;
    let pruned = pruning.run(seen).await.map_err(Error::Prune)?;
    database.close().await;
    Ok(pruned)
}

/// Imports tokens, telling how far it has come. Each is one record of the audit trail.
///
/// # Errors
/// When the database cannot be reached or has no such table; what was imported before stays.
pub async fn import(config: Config, import: Import, mut seen: impl FnMut(&Imported)) -> Result<Imported, Error> {
    let (database, mut background) = (ready(&config).await?, JoinSet::new());
    let audit = audit(&config.audit, &database, SystemClock, &mut background);
    let imported = database.import(import, hashing(&config), |done, new| {
        for (token, user) in &new {
            record(&audit, *token, user);
        }
        seen(done);
        audit.keep_up(AUDIT_LIMIT)
    });
    let imported = imported.await.map_err(Error::Import);
    audit.drain(AUDIT_LIMIT).await;
    background.shutdown().await;
    database.close().await;
    imported
}

fn record(audit: &Audit, token: TokenId, user: &UserId) {
    let entry = audit.begin(AuditEvent::ImportToken, operator());
    entry.subject().token(token);
    entry.subject().user(user);
    entry.end(Outcome::ok());
}

/// Who runs a command on this host.
fn operator() -> Who {
    Who { peer: format!("cli:uid={}", getuid().as_raw()), ..Who::default() }
}

async fn ready(config: &Config) -> Result<Database, Error> {
    let mut config = config.clone();
    schema::patient(&mut config);
    let database = Database::open(&config).await?;
    database.require_current_schema().await?;
    Ok(database)
}
