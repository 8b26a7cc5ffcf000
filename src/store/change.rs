//! Changing what is written on a token, or when it ends.
//!
//! The row is held by its primary key, so that a change comes before or after a revocation,
//! an extension or another change. Triggers note an earlier end alone; what is written on a token stands in the
//! detail table, which is ours alone to write, so each change is noted here. A detail that says who gave a token its
//! end keeps use from moving that end (`extend.rs`).

use sea_orm::Value;

use super::{
    Inner,
    error::StoreError,
    issue::{self, repeat},
    journal, outbox,
    pool::Transaction,
    read,
    revoke::revocation,
    rows::EndedRow,
    statements::RECORD_COLUMNS,
    time,
};
use crate::domain::{Digest, Error, Revocation, Timestamp, TokenChange, TokenId, TokenRecord, TokenState};

/// Who gave a token its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetBy {
    /// An administrator.
    Update,
    /// A rotation: the token has a successor.
    Rotation,
}

/// A token's row, held to the transaction's end.
pub(super) struct Held {
    /// What is kept of it when it ends.
    pub(super) row: EndedRow,
    pub(super) record: TokenRecord,
    /// `None`: its issuer, or its use.
    pub(super) set_by: Option<SetBy>,
}

/// Changes a token, and names it as outdated even where nothing changed: a retry must still
/// tell the caches that the first attempt did not reach.
pub(super) async fn update(inner: &Inner, change: &TokenChange) -> Result<(TokenRecord, Revocation), StoreError> {
    let (before, after) = repeat(|| update_once(inner, change)).await?;
    let is_active = |record: &TokenRecord| record.state(change.at) == TokenState::Active;
    let count = u64::from(is_active(&before) && !is_active(&after));
    let outdated = vec![after.digest.token_id()];
    Ok((after, revocation(count, outdated, journal::settle(inner).await?)))
}

async fn update_once(inner: &Inner, change: &TokenChange) -> Result<(TokenRecord, TokenRecord), StoreError> {
    let digest = unrevoked(inner, change.token).await?.digest;
    let transaction = inner.pool.begin().await?;
    let held = hold(inner, &transaction, digest).await?;
    let (before, after) = (&held.record, change.apply(&held.record));
    if before.state(change.at) == TokenState::Expired && after.state(change.at) == TokenState::Active {
        return Err(Error::TokenEnded.into());
    }
    let set_by = held.set_by.or(change.expiry.map(|_| SetBy::Update));
    if *before == after && held.set_by == set_by {
        transaction.rollback().await?;
        return Ok((held.record, after));
    }
    write(inner, &transaction, &held, &after, set_by).await?;
    transaction.commit().await?;
    outbox::wake(inner);
    Ok((held.record, after))
}

/// A token that was not revoked, wherever its row is now.
///
/// # Errors
/// [`Error::NotFound`], [`Error::TokenEnded`].
pub(super) async fn unrevoked(inner: &Inner, id: TokenId) -> Result<TokenRecord, StoreError> {
    let record = read::get(inner, id).await?;
    if record.revoked.is_some() { Err(Error::TokenEnded.into()) } else { Ok(record) }
}

/// Holds a token's row and reads it.
///
/// # Errors
/// [`StoreError::Conflict`] when it has gone meanwhile.
pub(super) async fn hold(inner: &Inner, transaction: &Transaction<'_>, digest: Digest) -> Result<Held, StoreError> {
    let key = || vec![digest.to_hex().into()];
    let row = transaction.row(&inner.statements.token_held, key()).await?.ok_or(StoreError::Conflict)?;
    let row = inner.rows().ended(&row)?.ok_or(StoreError::Conflict)?;
    for found in transaction.rows(&inner.statements.get, read::id_range(digest.token_id())).await? {
        let Some(record) = inner.rows().record(&found, 0)?.filter(|record| record.digest == digest) else { continue };
        let record = inner.rows().owned(record, &found, RECORD_COLUMNS)?;
        let set_by = transaction.row(&inner.statements.expiry_set_by, key()).await?;
        let set_by: Option<String> = set_by.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
        return Ok(Held { row, record, set_by: set_by.as_deref().map(SetBy::read).transpose()? });
    }
    Err(StoreError::Conflict)
}

/// Writes a held token as it is to be, and notes that it changed.
pub(super) async fn write(
    inner: &Inner,
    transaction: &Transaction<'_>,
    held: &Held,
    after: &TokenRecord,
    set_by: Option<SetBy>,
) -> Result<(), StoreError> {
    let digest = after.digest;
    if held.record.expiry != after.expiry {
        let values = vec![inner.times().bind_optional(after.expiry), digest.to_hex().into()];
        transaction.execute(&inner.statements.token_expire, values).await?;
        // django-rest-knox-redis keeps the former end.
        outbox::note(inner, transaction, std::slice::from_ref(&held.row)).await?;
    }
    transaction.execute(&inner.statements.detail_change, detail(inner, after, set_by)?).await?;
    journal::note_tokens(inner, transaction, std::iter::once(digest)).await
}

/// The values of `Statements::detail_change`.
fn detail(inner: &Inner, record: &TokenRecord, set_by: Option<SetBy>) -> Result<Vec<Value>, StoreError> {
    let time = |at: Option<Timestamp>| time::bind_optional(inner.dialect, at);
    let mut values: Vec<Value> = vec![
        record.digest.to_hex().into(),
        record.user.id.as_str().into(),
        time(Some(record.created)),
        time(record.expiry),
    ];
    values.extend(issue::label(&record.label)?);
    values.push(set_by.map(|set_by| set_by.text().to_owned()).into());
    Ok(values)
}

// === impl SetBy ===

impl SetBy {
    fn text(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Rotation => "rotation",
        }
    }

    fn read(text: &str) -> Result<Self, StoreError> {
        [Self::Update, Self::Rotation]
            .into_iter()
            .find(|set_by| set_by.text() == text)
            .ok_or(StoreError::Row("who gave a token its end"))
    }
}
