//! Ending tokens: the row goes, the detail stays and says when and why.

use chrono::TimeDelta;
use sea_orm::Value;

use super::{
    Inner,
    error::StoreError,
    issue::repeat,
    journal, outbox,
    pool::Transaction,
    read,
    rows::{self, EndedRow},
    time, upgrade,
    user_key::UserKey,
};
use crate::domain::{Digest, Ending, Position, Propagation, Revocation, RevocationCause, Target, TokenId, UserId};

/// Detail rows in one statement: well below SQLite's limit on bound values.
const ROWS_PER_STATEMENT: usize = 500;
/// A retry within this time names again what the first attempt ended, so that caches are told again.
const RETRY_WINDOW: TimeDelta = TimeDelta::minutes(2);

/// Ends one token.
pub(super) async fn revoke(inner: &Inner, target: Target, ending: Ending) -> Result<Revocation, StoreError> {
    let (count, ended, owner) = repeat(|| revoke_once(inner, target, ending)).await?;
    Ok(Revocation { owner, ..revocation(count, ended, journal::settle(inner).await?) })
}

/// Ends a user's tokens.
pub(super) async fn revoke_all(
    inner: &Inner,
    user: &UserId,
    except: Option<Target>,
    ending: Ending,
) -> Result<Revocation, StoreError> {
    let (count, ended) = match inner.user_key(user) {
        Some(key) => repeat(|| revoke_all_once(inner, &key, except, ending)).await?,
        None => (0, vec![]),
    };
    Ok(revocation(count, ended, journal::settle(inner).await?))
}

/// Ends a user's tokens within a transaction that holds the user; gives how many were
/// live, and all whose cached facts are outdated.
pub(super) async fn end_all(
    inner: &Inner,
    transaction: &Transaction<'_>,
    key: &UserKey,
    except: Option<Target>,
    ending: Ending,
) -> Result<(u64, Vec<TokenId>), StoreError> {
    let mut again = revoked_lately(inner, transaction, &key.id, ending).await?;
    let renamed = match except {
        Some(target) => successor(inner, transaction, target).await?,
        None => None,
    };
    let except = renamed.map(Target::Digest).or(except);
    let (spared, ended): (Vec<_>, Vec<_>) = held(inner, transaction, &inner.statements.tokens_held, key)
        .await?
        .into_iter()
        .partition(|row| except.is_some_and(|target| target.names(row.digest)));
    delete(inner, transaction, key, spared.first()).await?;
    mark(inner, transaction, &ended, ending).await?;
    outbox::note(inner, transaction, &ended).await?;
    if !ended.is_empty() {
        // One record for all of them. It has the spared one proved again, which it passes.
        journal::note_user(inner, transaction, key).await?;
    }
    let mut ids: Vec<_> = ended.iter().map(|row| row.digest.token_id()).collect();
    ids.append(&mut again);
    Ok((live(&ended, ending), ids))
}

/// The clock, read within a transaction.
pub(super) async fn position(inner: &Inner, transaction: &Transaction<'_>) -> Result<Position, StoreError> {
    rows::position(transaction.row(&inner.statements.clock, vec![]).await?.as_ref())
}

/// A database has no cache to tell.
pub(super) fn revocation(count: u64, ended: Vec<TokenId>, position: Position) -> Revocation {
    Revocation { count, ended, owner: None, position, propagation: Propagation::Complete }
}

async fn revoke_once(
    inner: &Inner,
    target: Target,
    ending: Ending,
) -> Result<(u64, Vec<TokenId>, Option<UserId>), StoreError> {
    let transaction = inner.pool.begin().await?;
    let mut ids = target.token_ids();
    let mut ended = delete_named(inner, &transaction, target).await?;
    if let Some(current) = successor(inner, &transaction, target).await? {
        ids.push(current.token_id());
        ended.extend(delete_named(inner, &transaction, Target::Digest(current)).await?);
    }
    mark(inner, &transaction, &ended, ending).await?;
    outbox::note(inner, &transaction, &ended).await?;
    journal::note_tokens(inner, &transaction, ended.iter().map(|row| row.digest)).await?;
    transaction.commit().await?;
    outbox::wake(inner);
    Ok((live(&ended, ending), ids, ended.first().map(|row| row.user.clone())))
}

async fn delete_named(
    inner: &Inner,
    transaction: &Transaction<'_>,
    target: Target,
) -> Result<Vec<EndedRow>, StoreError> {
    let mut ended = vec![];
    for (sql, values) in looks(inner, target) {
        for row in transaction.rows(sql, values).await? {
            let Some(row) = inner.rows().ended(&row)?.filter(|row| target.names(row.digest)) else { continue };
            transaction.execute(&inner.statements.token_delete, vec![row.digest.to_hex().into()]).await?;
            ended.push(row);
        }
    }
    Ok(ended)
}

/// The digest that a token has now which is named as it was before it was upgraded. To be asked
/// once whoever was rewriting its row has been waited for.
async fn successor(inner: &Inner, transaction: &Transaction<'_>, target: Target) -> Result<Option<Digest>, StoreError> {
    match target {
        Target::Id(id) => upgrade::successor(inner, transaction, id).await,
        Target::Digest(_) | Target::Digests(_) => Ok(None),
    }
}

/// The statements that hold the token's row, and their values.
///
/// A row of knox 4.2 may be rewritten at this moment. The digest that it has before is looked
/// for first, which waits for whoever is rewriting it; so the row is found there, or under the other one, which
/// a single statement for both could miss.
fn looks(inner: &Inner, target: Target) -> Vec<(&str, Vec<Value>)> {
    let one = |digest: Digest| (inner.statements.token_held.as_str(), vec![digest.to_hex().into()]);
    match target {
        Target::Digest(digest) => vec![one(digest)],
        Target::Digests(digests) => {
            digests.legacy.map(|legacy| legacy.digest).into_iter().chain([digests.current]).map(one).collect()
        }
        Target::Id(id) => vec![(&inner.statements.token_range_held, read::id_range(id))],
    }
}

async fn revoke_all_once(
    inner: &Inner,
    key: &UserKey,
    except: Option<Target>,
    ending: Ending,
) -> Result<(u64, Vec<TokenId>), StoreError> {
    let transaction = inner.pool.begin().await?;
    // Who is gone can still have tokens: nothing in the database forbids it.
    transaction.row(&inner.statements.user_held, vec![key.value.clone()]).await?;
    let ended = end_all(inner, &transaction, key, except, ending).await?;
    transaction.commit().await?;
    outbox::wake(inner);
    Ok(ended)
}

/// A user's tokens, held to the transaction's end.
pub(super) async fn held(
    inner: &Inner,
    transaction: &Transaction<'_>,
    sql: &str,
    key: &UserKey,
) -> Result<Vec<EndedRow>, StoreError> {
    let rows = transaction.rows(sql, vec![key.value.clone()]).await?;
    rows.iter().filter_map(|row| inner.rows().ended(row).transpose()).collect()
}

async fn delete(
    inner: &Inner,
    transaction: &Transaction<'_>,
    key: &UserKey,
    spared: Option<&EndedRow>,
) -> Result<u64, StoreError> {
    match spared {
        None => transaction.execute(&inner.statements.tokens_delete, vec![key.value.clone()]).await,
        Some(row) => {
            let values = vec![key.value.clone(), row.digest.to_hex().into()];
            transaction.execute(&inner.statements.tokens_delete_except, values).await
        }
    }
}

/// Writes into the details how tokens ended. One that another program issued has no detail yet.
pub(super) async fn mark(
    inner: &Inner,
    transaction: &Transaction<'_>,
    ended: &[EndedRow],
    ending: Ending,
) -> Result<(), StoreError> {
    for chunk in ended.chunks(ROWS_PER_STATEMENT) {
        let values = chunk.iter().flat_map(|row| detail(inner, row, ending)).collect();
        transaction.execute(&inner.statements.details_ended(chunk.len()), values).await?;
    }
    Ok(())
}

/// In the order of `statements::DETAIL_COLUMNS`.
fn detail(inner: &Inner, row: &EndedRow, ending: Ending) -> [Value; 10] {
    [
        row.digest.to_hex().into(),
        row.user.as_str().into(),
        time::bind(inner.dialect, row.created),
        time::bind_optional(inner.dialect, row.expiry),
        "".into(),
        "[]".into(),
        "{}".into(),
        "".into(),
        time::bind(inner.dialect, ending.at),
        reason(ending.cause).into(),
    ]
}

async fn revoked_lately(
    inner: &Inner,
    transaction: &Transaction<'_>,
    user: &UserId,
    ending: Ending,
) -> Result<Vec<TokenId>, StoreError> {
    let since = time::bind(inner.dialect, ending.at - RETRY_WINDOW);
    let rows = transaction.rows(&inner.statements.revoked_since, vec![user.as_str().into(), since]).await?;
    rows.iter().filter_map(|row| Some(rows::digest(row).transpose()?.map(Digest::token_id))).collect()
}

fn live(ended: &[EndedRow], ending: Ending) -> u64 {
    ended.iter().filter(|row| row.expiry.is_none_or(|expiry| expiry >= ending.at)).count() as u64
}

fn reason(cause: RevocationCause) -> &'static str {
    match cause {
        RevocationCause::Unspecified => "unspecified",
        RevocationCause::SignedOut => "signed_out",
        RevocationCause::KeyCompromise => "key_compromise",
        RevocationCause::Superseded => "superseded",
        RevocationCause::PrivilegeWithdrawn => "privilege_withdrawn",
    }
}
