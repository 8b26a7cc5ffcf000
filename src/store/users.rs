//! The owners of tokens: ours in a `native` schema, another program's in an adopted one,
//! where only `active` can be changed.

use sea_orm::Value;

use super::{
    Inner,
    error::StoreError,
    issue::repeat,
    journal, outbox,
    pool::Transaction,
    revoke::{end_all, held, revocation},
    rows,
    schema::Attributes,
    user_key::UserKey,
};
use crate::{
    config::SchemaPreset,
    domain::{Digest, Ending, Error, Revocation, Subject, TokenId, User, UserChange, UserId},
};

/// What to do about a user that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Create,
    MustExist,
}

/// Creates or changes a user.
///
/// Every one of the user's tokens is named as outdated, whatever changed: a retry finds
/// nothing to change, and must still tell the caches that the first attempt did not reach.
pub(super) async fn upsert(inner: &Inner, change: &UserChange) -> Result<(User, Revocation), StoreError> {
    let missing = match inner.schema.preset {
        SchemaPreset::Native => Owner::Create,
        SchemaPreset::Knox => Owner::MustExist,
    };
    let key = match missing {
        Owner::Create => UserKey::for_write(&change.id, inner.schema.user.id_type, inner.dialect)?,
        Owner::MustExist => inner.user_key(&change.id).ok_or(Error::NotFound(Subject::User))?,
    };
    supported(inner, change)?;
    let (user, outdated) = repeat(|| upsert_once(inner, change, &key, missing)).await?;
    Ok((user, revocation(0, outdated, journal::settle(inner).await?)))
}

/// Ends a user's tokens and removes the user.
pub(super) async fn delete(inner: &Inner, id: &UserId, ending: Ending) -> Result<Revocation, StoreError> {
    match inner.schema.preset {
        SchemaPreset::Native => {}
        SchemaPreset::Knox => return Err(Error::Unsupported("users are removed by the program that owns them").into()),
    }
    let (count, ended) = match inner.user_key(id) {
        Some(key) => repeat(|| delete_once(inner, &key, ending)).await?,
        None => (0, vec![]),
    };
    Ok(revocation(count, ended, journal::settle(inner).await?))
}

/// Outdates every fact about a user's tokens.
pub(super) async fn outdate(inner: &Inner, id: &UserId) -> Result<Revocation, StoreError> {
    let key = inner.user_key(id).ok_or(Error::NotFound(Subject::User))?;
    let outdated = repeat(|| outdate_once(inner, &key)).await?;
    Ok(revocation(0, outdated, journal::settle(inner).await?))
}

/// Reads a user with `held`, a statement that holds its row to the transaction's end.
pub(super) async fn hold(
    inner: &Inner,
    transaction: &Transaction<'_>,
    held: &str,
    key: &UserKey,
    missing: Owner,
) -> Result<Option<User>, StoreError> {
    let found = read(inner, transaction, held, key).await?;
    match (&found, missing) {
        (Some(_), _) | (None, Owner::MustExist) => Ok(found),
        (None, Owner::Create) => {
            let values = vec![key.value.clone(), true.into(), "{}".into()];
            transaction.execute(&inner.statements.user_insert, values).await?;
            read(inner, transaction, held, key).await
        }
    }
}

async fn read(
    inner: &Inner,
    transaction: &Transaction<'_>,
    held: &str,
    key: &UserKey,
) -> Result<Option<User>, StoreError> {
    match transaction.row(held, vec![key.value.clone()]).await? {
        Some(row) => inner.rows().user(&row, 0),
        None => Ok(None),
    }
}

fn supported(inner: &Inner, change: &UserChange) -> Result<(), StoreError> {
    let schema = &inner.schema;
    if schema.preset == SchemaPreset::Knox && change.attributes.is_some() {
        return Err(Error::Unsupported("attributes are changed by the program that owns the user table").into());
    }
    if schema.user.active.is_none() && change.active.is_some() {
        return Err(Error::Unsupported("the user table has no active column (schema.user_active)").into());
    }
    Ok(())
}

async fn upsert_once(
    inner: &Inner,
    change: &UserChange,
    key: &UserKey,
    missing: Owner,
) -> Result<(User, Vec<TokenId>), StoreError> {
    let transaction = inner.pool.begin().await?;
    let before = hold(inner, &transaction, &inner.statements.user_held, key, missing)
        .await?
        .ok_or(Error::NotFound(Subject::User))?;
    let user = User {
        active: change.active.unwrap_or(before.active),
        attributes: change.attributes.clone().unwrap_or_else(|| before.attributes.clone()),
        id: before.id.clone(),
    };
    update(inner, &transaction, key, &user).await?;
    if before.active && before != user {
        journal::note_user(inner, &transaction, key).await?;
    }
    if before.active && !user.active && inner.outbox.is_some() {
        let tokens = held(inner, &transaction, &inner.statements.tokens_held, key).await?;
        outbox::note(inner, &transaction, &tokens).await?;
    }
    let outdated = token_ids(inner, &transaction, key).await?;
    transaction.commit().await?;
    outbox::wake(inner);
    Ok((user, outdated))
}

async fn update(inner: &Inner, transaction: &Transaction<'_>, key: &UserKey, user: &User) -> Result<(), StoreError> {
    let Some(sql) = &inner.statements.user_update else { return Ok(()) };
    let mut values: Vec<Value> = vec![user.active.into()];
    if let Attributes::Json(_) = inner.schema.user.attributes {
        let json = serde_json::to_string(&user.attributes).map_err(|_| StoreError::Row("JSON of attributes"))?;
        values.push(json.into());
    }
    values.push(key.value.clone());
    transaction.execute(sql, values).await?;
    Ok(())
}

async fn token_ids(inner: &Inner, transaction: &Transaction<'_>, key: &UserKey) -> Result<Vec<TokenId>, StoreError> {
    let rows = transaction.rows(&inner.statements.token_digests, vec![key.value.clone()]).await?;
    rows.iter().filter_map(|row| Some(rows::digest(row).transpose()?.map(Digest::token_id))).collect()
}

async fn outdate_once(inner: &Inner, key: &UserKey) -> Result<Vec<TokenId>, StoreError> {
    let transaction = inner.pool.begin().await?;
    journal::note_user(inner, &transaction, key).await?;
    let outdated = token_ids(inner, &transaction, key).await?;
    transaction.commit().await?;
    Ok(outdated)
}

async fn delete_once(inner: &Inner, key: &UserKey, ending: Ending) -> Result<(u64, Vec<TokenId>), StoreError> {
    let transaction = inner.pool.begin().await?;
    transaction.row(&inner.statements.user_held, vec![key.value.clone()]).await?;
    let ended = end_all(inner, &transaction, key, None, ending).await?;
    if transaction.execute(&inner.statements.user_delete, vec![key.value.clone()]).await? > 0 {
        journal::note_user(inner, &transaction, key).await?;
    }
    transaction.commit().await?;
    outbox::wake(inner);
    Ok(ended)
}
