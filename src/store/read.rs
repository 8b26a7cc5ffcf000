//! Reads that are not on the hot path: one token by its public name, a page of a user's
//! tokens, one user.

use sea_orm::{QueryResult, Value};

use super::{
    Inner,
    error::StoreError,
    rows::{self, RecordRow, Rows},
    statements::RECORD_COLUMNS,
    time::Times,
    upgrade,
    user_key::UserKey,
};
use crate::domain::{Digest, Error, Subject, TokenId, TokenQuery, TokenRecord, TokenState, User, UserId, UserQuery};

/// A token by where it was found.
pub(super) enum Stored {
    /// Its row is there.
    Row(TokenRecord),
    /// Only its detail is: it was revoked, or another program removed it.
    DetailOnly(TokenRecord),
}

/// One token in any state.
pub(super) async fn get(inner: &Inner, id: TokenId) -> Result<TokenRecord, StoreError> {
    match find_by_id(inner, id).await? {
        Some(Stored::Row(record)) => Ok(record),
        Some(Stored::DetailOnly(record)) if record.revoked.is_some() => Ok(record),
        Some(Stored::DetailOnly(former)) => match upgrade::named(&former.label.metadata) {
            Some(current) => Box::pin(get(inner, current.token_id())).await,
            None => Err(Error::NotFound(Subject::Token).into()),
        },
        None => Err(Error::NotFound(Subject::Token).into()),
    }
}

/// One token as it is kept.
pub(super) async fn by_digest(inner: &Inner, digest: Digest) -> Result<Option<Stored>, StoreError> {
    find_by_id(inner, digest.token_id()).await
}

/// One user.
pub(super) async fn user(inner: &Inner, id: &UserId) -> Result<User, StoreError> {
    let user = match inner.user_key(id) {
        Some(key) => find_user(inner, &key).await?,
        None => None,
    };
    user.ok_or(Error::NotFound(Subject::User).into())
}

/// A page of users. A key that the table cannot hold is before none of its own: nothing follows it.
pub(super) async fn users(inner: &Inner, query: &UserQuery) -> Result<Vec<User>, StoreError> {
    let limit = i64::from(query.limit).into();
    let rows = match &query.after {
        None => inner.pool.rows(&inner.statements.users, vec![limit]).await?,
        Some(after) => {
            let Some(key) = inner.user_key(after) else { return Ok(vec![]) };
            inner.pool.rows(&inner.statements.users_after, vec![key.value, limit]).await?
        }
    };
    rows.iter().filter_map(|row| inner.rows().user(row, 0).transpose()).collect()
}

/// One page.
pub(super) async fn list(inner: &Inner, query: &TokenQuery) -> Result<Vec<TokenRecord>, StoreError> {
    let Some(key) = inner.user_key(&query.user) else { return Ok(vec![]) };
    let user = find_user(inner, &key).await?.unwrap_or_else(|| rows::gone(key.id.clone()));
    let mut records = list_tokens(inner, query, &key).await?;
    if query.states.contains(&TokenState::Revoked) {
        records.extend(list_revoked(inner, query, &user.id).await?);
    }
    records.sort_by(|a, b| b.created.cmp(&a.created).then(a.digest.cmp(&b.digest)));
    records.truncate(query.limit as usize);
    Ok(records.into_iter().map(|record| record.with(user.clone())).collect())
}

/// The bounds of the digests that begin with a `token_id`.
pub(super) fn id_range(id: TokenId) -> Vec<Value> {
    // `g` comes after the last hexadecimal digit.
    vec![id.to_string().into(), format!("{id}g").into()]
}

async fn find_by_id(inner: &Inner, id: TokenId) -> Result<Option<Stored>, StoreError> {
    for row in inner.pool.rows(&inner.statements.get, id_range(id)).await? {
        if let Some(record) = inner.rows().record(&row, 0)?.filter(|record| record.digest.token_id() == id) {
            return Ok(Some(Stored::Row(inner.rows().owned(record, &row, RECORD_COLUMNS)?)));
        }
    }
    for row in inner.pool.rows(&inner.statements.get_detail, id_range(id)).await? {
        if let Some(record) = inner.detail_rows().record(&row, 0)?.filter(|record| record.digest.token_id() == id) {
            let user = owner(inner, &record).await?;
            return Ok(Some(Stored::DetailOnly(record.with(user))));
        }
    }
    Ok(None)
}

async fn owner(inner: &Inner, record: &RecordRow) -> Result<User, StoreError> {
    let user = match inner.user_key(&record.user) {
        Some(key) => find_user(inner, &key).await?,
        None => None,
    };
    Ok(user.unwrap_or_else(|| rows::gone(record.user.clone())))
}

async fn find_user(inner: &Inner, key: &UserKey) -> Result<Option<User>, StoreError> {
    match inner.pool.row(&inner.statements.user, vec![key.value.clone()]).await? {
        Some(row) => inner.rows().user(&row, 0),
        None => Ok(None),
    }
}

async fn list_tokens(inner: &Inner, query: &TokenQuery, key: &UserKey) -> Result<Vec<RecordRow>, StoreError> {
    let wanted = |state| query.states.contains(&state);
    let (condition, bounds) = match (wanted(TokenState::Active), wanted(TokenState::Expired)) {
        (false, false) => return Ok(vec![]),
        (true, true) => (String::new(), 0),
        (true, false) => (inner.statements.is_live(), 1),
        (false, true) => (inner.statements.is_expired(), 1),
    };
    let mut values = vec![key.value.clone()];
    values.extend(std::iter::repeat_n(inner.times().bind(query.now), bounds));
    values.extend(page(inner.times(), query));
    let sql = inner.statements.list_tokens(&condition, query.after);
    records(inner.rows(), &inner.pool.rows(&sql, values).await?)
}

async fn list_revoked(inner: &Inner, query: &TokenQuery, user: &UserId) -> Result<Vec<RecordRow>, StoreError> {
    let mut values = vec![user.as_str().into()];
    values.extend(page(Times::ours(inner.dialect), query));
    records(inner.detail_rows(), &inner.pool.rows(&inner.statements.list_revoked(query.after), values).await?)
}

fn page(times: Times, query: &TokenQuery) -> Vec<Value> {
    let mut values = vec![];
    if let Some(after) = query.after {
        let created = times.bind(after.created);
        values.extend([created.clone(), created, after.digest.to_hex().into()]);
    }
    values.push(i64::from(query.limit).into());
    values
}

fn records(read: Rows<'_>, rows: &[QueryResult]) -> Result<Vec<RecordRow>, StoreError> {
    rows.iter().filter_map(|row| read.record(row, 0).transpose()).collect()
}
