//! Storing a new token: at most once for each `request_id`, at most so many for each user.

use sea_orm::Value;

use super::{
    Inner,
    error::StoreError,
    pool::Transaction,
    read, time,
    user_key::UserKey,
    users::{self, Owner},
};
use crate::domain::{
    Digest, Error, IdempotentRequest, Inserted, Label, NewToken, Subject, Timestamp, TokenRecord, User,
};

/// How often a transaction that another one got in the way of is run again.
const REPETITIONS: usize = 3;

/// Stores the token and what its issuer wrote on it, in one transaction.
pub(super) async fn insert(inner: &Inner, token: &NewToken) -> Result<Inserted, StoreError> {
    let key = UserKey::for_write(&token.user, inner.schema.user.id_type, inner.dialect)?;
    repeat(|| attempt(inner, token, &key)).await
}

/// Runs `work` again while other transactions get in its way.
pub(super) async fn repeat<T, F>(work: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 0..REPETITIONS {
        match work().await {
            Err(error) if error.is_conflict() => tracing::debug!(%error, "a transaction is run again"),
            outcome => return outcome,
        }
    }
    work().await
}

async fn attempt(inner: &Inner, token: &NewToken, key: &UserKey) -> Result<Inserted, StoreError> {
    let transaction = inner.pool.begin().await?;
    if let Some(request) = &token.request
        && claim(inner, &transaction, token.digest, token.created, request).await? == 0
    {
        transaction.rollback().await?;
        let (first, record) = replay(inner, token.created, request).await?;
        return Ok(Inserted::Repeated(record, first));
    }
    let user = owner(inner, &transaction, key).await?;
    if !user.active {
        return Err(Error::UserDisabled.into());
    }
    within_limit(inner, &transaction, token, key).await?;
    store(inner, &transaction, token, key, &user).await?;
    transaction.commit().await?;
    Ok(Inserted::New(record(token, user)))
}

/// Takes the `request_id`; 0 when it is taken. Waits for a transaction that is taking it.
pub(super) async fn claim(
    inner: &Inner,
    transaction: &Transaction<'_>,
    digest: Digest,
    at: Timestamp,
    request: &IdempotentRequest,
) -> Result<u64, StoreError> {
    let values = vec![
        hex::encode(request.id).into(),
        hex::encode(request.body).into(),
        hex::encode(request.sealed).into(),
        digest.to_hex().into(),
        time::bind(inner.dialect, at),
    ];
    transaction.execute(&inner.statements.request_insert, values).await
}

/// The token that the same request stored before.
pub(super) async fn replay(
    inner: &Inner,
    now: Timestamp,
    request: &IdempotentRequest,
) -> Result<(IdempotentRequest, TokenRecord), StoreError> {
    let row = inner.pool.row(&inner.statements.request, vec![hex::encode(request.id).into()]).await?;
    // Gone again: its transaction was rolled back, or it was purged just now.
    let row = row.ok_or(StoreError::Conflict)?;
    let first = IdempotentRequest {
        id: request.id,
        body: bytes(&row.try_get_by_index::<String>(0)?)?,
        sealed: bytes(&row.try_get_by_index::<String>(1)?)?,
    };
    if first.body != request.body {
        return Err(Error::RequestIdReused.into());
    }
    let digest: String = row.try_get_by_index(2)?;
    let digest = Digest::from_hex(&digest).map_err(|_| StoreError::Row("a digest"))?;
    let stored = read::by_digest(inner, digest).await?.ok_or(StoreError::Row("the token of a request_id"))?;
    Ok((first, ended_elsewhere(stored, now)))
}

/// A token whose row is gone without a revocation of ours was ended by another program.
fn ended_elsewhere(stored: read::Stored, now: Timestamp) -> TokenRecord {
    match stored {
        read::Stored::Row(record) => record,
        read::Stored::DetailOnly(record) => TokenRecord { revoked: record.revoked.or(Some(now)), ..record },
    }
}

/// The token's user, held so that `RevokeAll` comes either before or after this token.
async fn owner(inner: &Inner, transaction: &Transaction<'_>, key: &UserKey) -> Result<User, StoreError> {
    let held = match inner.limit_per_user {
        0 => &inner.statements.user_held_shared,
        _ => &inner.statements.user_held,
    };
    let missing = match inner.schema.preset {
        crate::config::SchemaPreset::Native if inner.create_on_issue => Owner::Create,
        crate::config::SchemaPreset::Native | crate::config::SchemaPreset::Knox => Owner::MustExist,
    };
    users::hold(inner, transaction, held, key, missing).await?.ok_or(Error::NotFound(Subject::User).into())
}

async fn within_limit(
    inner: &Inner,
    transaction: &Transaction<'_>,
    token: &NewToken,
    key: &UserKey,
) -> Result<(), StoreError> {
    let limit = inner.limit_per_user;
    if limit == 0 {
        return Ok(());
    }
    let values = vec![key.value.clone(), inner.times().bind(token.created)];
    let row = transaction.row(&inner.statements.live_count, values).await?.ok_or(StoreError::Row("a count"))?;
    let live: i64 = row.try_get_by_index(0)?;
    if live >= i64::from(limit) {
        return Err(Error::LimitReached { limit }.into());
    }
    Ok(())
}

pub(super) async fn store(
    inner: &Inner,
    transaction: &Transaction<'_>,
    token: &NewToken,
    key: &UserKey,
    user: &User,
) -> Result<(), StoreError> {
    let created = time::bind(inner.dialect, token.created);
    let expiry = time::bind_optional(inner.dialect, token.expiry);
    let digest = token.digest.to_hex();
    transaction.execute(&inner.statements.token_insert, row(inner, token, key)).await?;
    let mut detail: Vec<Value> = vec![digest.into(), user.id.as_str().into(), created, expiry];
    detail.extend(label(&token.label)?);
    detail.push(token.issuer.clone().into());
    transaction.execute(&inner.statements.detail_insert, detail).await?;
    Ok(())
}

/// The values of `Statements::token_insert`.
fn row(inner: &Inner, token: &NewToken, key: &UserKey) -> Vec<Value> {
    let times = inner.times();
    let mut row = vec![
        token.digest.to_hex().into(),
        token.key.as_str().into(),
        key.value.clone(),
        times.bind(token.created),
        times.bind_optional(token.expiry),
    ];
    row.extend(inner.schema.token.extra.bound(inner.dialect));
    row
}

/// In the order of `statements::DETAIL_COLUMNS`.
pub(super) fn label(label: &Label) -> Result<[Value; 4], StoreError> {
    let unwritable = |_| StoreError::Row("JSON of a label");
    Ok([
        label.display_name.as_str().into(),
        serde_json::to_string(&label.scopes).map_err(unwritable)?.into(),
        serde_json::to_string(&label.metadata).map_err(unwritable)?.into(),
        label.hint.as_str().into(),
    ])
}

pub(super) fn record(token: &NewToken, user: User) -> TokenRecord {
    TokenRecord {
        digest: token.digest,
        user,
        created: token.created,
        expiry: token.expiry,
        revoked: None,
        last_used: None,
        label: token.label.clone(),
    }
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| StoreError::Row("hexadecimal digits"))?;
    Ok(bytes)
}
