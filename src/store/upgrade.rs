//! Rewriting a row of knox 4.2 as knox 5 would have written it, so that Django on knox 5 accepts its token too.
//!
//! It is done in the background of a look-up that found such a row, a few at a time; what is not
//! done now is done at a later look-up. The row is changed by its primary key and only while it is there: a
//! token that was revoked meanwhile is not brought back. The user is held as when a token is issued, so
//! that `RevokeAll` comes either before or after. `revoke.rs` says how Revoke finds a row that moves.
//!
//! The token's public name changes with its digest. A detail row under the former digest, which was
//! never revoked and has no token, says which digest it has now, so that whoever kept the
//! former name can still end the token by it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sea_orm::Value;
use tokio::time::sleep;
use tracing::Instrument as _;

use super::{Inner, error::StoreError, issue::repeat, journal, pool::Transaction, read, time, user_key::UserKey};
use crate::{
    domain::{Digest, Legacy, TokenId, TokenRecord},
    request::carried,
};

/// Upgrades at once; they take connections from look-ups.
pub(super) const CONCURRENCY: usize = 2;
/// Rest after a failure, which is likely to be met again: a column that is too short, or no right to write.
const REST: Duration = Duration::from_secs(1);
/// The entry of a detail's metadata that holds the digest which replaced its own.
const SUCCESSOR: &str = "upgraded_to";

/// Rewrites a row in a task of its own, if that is wanted and not too many are under way.
pub(super) fn begin(inner: &Arc<Inner>, current: Digest, legacy: Legacy, record: &Arc<TokenRecord>) {
    if !inner.upgrade_digests {
        return;
    }
    let (Some(key), Ok(turn)) = (inner.user_key(&record.user.id), Arc::clone(&inner.upgrades).try_acquire_owned())
    else {
        return;
    };
    let (inner, record) = (Arc::clone(inner), Arc::clone(record));
    let work = async move {
        let token_id = current.token_id();
        match repeat(|| upgrade(&inner, current, legacy, &record, &key)).await {
            Ok(0) => {}
            Ok(_) => tracing::debug!(%token_id, former = %legacy.digest.token_id(), "a row of knox 4.2 was rewritten"),
            Err(error) => {
                tracing::warn!(%token_id, error = &error as &dyn std::error::Error, "a row of knox 4.2 was not rewritten");
                sleep(REST).await;
            }
        }
        drop(turn);
    };
    tokio::spawn(carried(work.in_current_span()));
}

/// The digest that a token has now which had this name.
pub(super) async fn successor(
    inner: &Inner,
    transaction: &Transaction<'_>,
    id: TokenId,
) -> Result<Option<Digest>, StoreError> {
    let rows = transaction.rows(&inner.statements.get_detail, read::id_range(id)).await?;
    for row in &rows {
        if let Some(former) = inner.detail_rows().record(row, 0)?.filter(|former| former.digest.token_id() == id) {
            return Ok(named(former.metadata()));
        }
    }
    Ok(None)
}

/// The successor that a detail's metadata name.
pub(super) fn named(metadata: &BTreeMap<String, String>) -> Option<Digest> {
    Digest::from_hex(metadata.get(SUCCESSOR)?).ok()
}

/// Gives how many rows there were to rewrite.
async fn upgrade(
    inner: &Inner,
    current: Digest,
    legacy: Legacy,
    record: &TokenRecord,
    user: &UserKey,
) -> Result<u64, StoreError> {
    let (new, old) = (current.to_hex(), legacy.digest.to_hex());
    let transaction = inner.pool.begin().await?;
    transaction.row(&inner.statements.user_held_shared, vec![user.value.clone()]).await?;
    let values = vec![new.clone().into(), legacy.key.as_str().into(), old.clone().into()];
    let count = transaction.execute(&inner.statements.token_upgrade, values).await?;
    if count == 0 {
        transaction.rollback().await?;
        return Ok(0);
    }
    transaction.execute(&inner.statements.detail_upgrade, vec![new.into(), old.into()]).await?;
    transaction.execute(&inner.statements.details_ended(1), successor_row(inner, current, record)?).await?;
    journal::note_tokens(inner, &transaction, std::iter::once(legacy.digest)).await?;
    transaction.commit().await?;
    Ok(count)
}

/// In the order of `statements::DETAIL_COLUMNS`.
fn successor_row(inner: &Inner, current: Digest, record: &TokenRecord) -> Result<Vec<Value>, StoreError> {
    let metadata = serde_json::to_string(&BTreeMap::from([(SUCCESSOR, current.to_hex())]));
    Ok(vec![
        record.digest.to_hex().into(),
        record.user.id.as_str().into(),
        time::bind(inner.dialect, record.created),
        time::bind_optional(inner.dialect, record.expiry),
        "".into(),
        "[]".into(),
        metadata.map_err(|_| StoreError::Row("JSON of a successor"))?.into(),
        "".into(),
        time::bind_optional(inner.dialect, None),
        None::<String>.into(),
    ])
}
