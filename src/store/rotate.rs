//! Replacing a token by a successor: one transaction, so that there is never neither, and
//! the old one ends when it was said to.
//!
//! The user is held as when a token is issued, and then the old row: what is written on it at that
//! moment is what the successor gets, whatever was changed since it was asked for. A token has one
//! successor. Otherwise each of its rotations would add a token, which no limit counts.

use super::{
    Inner,
    change::{self, Held, SetBy},
    error::StoreError,
    issue::{self, repeat},
    journal, outbox,
    pool::Transaction,
    read,
    revoke::{self, revocation},
    user_key::UserKey,
    users::{self, Owner},
};
use crate::domain::{
    Ending, Error, IdempotentRequest, RevocationCause, Rotated, Rotation, TokenRecord, TokenState, User,
};

/// The successor and what it replaced, and the request that stored it, if that was an earlier one.
type Outcome = (TokenRecord, TokenRecord, Option<IdempotentRequest>);

/// Replaces a token. The old one is named as outdated by a retry too, which may have to tell
/// caches that the first attempt did not reach.
pub(super) async fn rotate(inner: &Inner, rotation: &Rotation) -> Result<Rotated, StoreError> {
    let (successor, superseded, first) = repeat(|| rotate_once(inner, rotation)).await?;
    let count = u64::from(first.is_none() && superseded.revoked.is_some());
    let outdated = vec![superseded.digest.token_id()];
    Ok(Rotated { successor, superseded, first, revocation: revocation(count, outdated, journal::settle(inner).await?) })
}

async fn rotate_once(inner: &Inner, rotation: &Rotation) -> Result<Outcome, StoreError> {
    // Judged only once it is known that the request is new: the first one may have ended the token.
    let found = change::unrevoked(inner, rotation.token).await;
    let transaction = inner.pool.begin().await?;
    if let Some(request) = &rotation.request
        && issue::claim(inner, &transaction, rotation.digest, rotation.at, request).await? == 0
    {
        transaction.rollback().await?;
        return repeated(inner, rotation, request).await;
    }
    let (key, user, old) = hold(inner, &transaction, rotation, &found?).await?;
    let new = rotation.successor(&old.record)?;
    issue::store(inner, &transaction, &new, &key, &user).await?;
    let superseded = supersede(inner, &transaction, rotation, &old).await?;
    transaction.commit().await?;
    outbox::wake(inner);
    Ok((issue::record(&new, user), superseded, None))
}

/// What the same request did before.
async fn repeated(inner: &Inner, rotation: &Rotation, request: &IdempotentRequest) -> Result<Outcome, StoreError> {
    let (first, successor) = issue::replay(inner, rotation.at, request).await?;
    Ok((successor, read::get(inner, rotation.token).await?, Some(first)))
}

/// Holds the user, and then the token, if it may have a successor.
async fn hold(
    inner: &Inner,
    transaction: &Transaction<'_>,
    rotation: &Rotation,
    found: &TokenRecord,
) -> Result<(UserKey, User, Held), StoreError> {
    let key = inner.user_key(&found.user.id).ok_or(Error::UserDisabled)?;
    let user = users::hold(inner, transaction, &inner.statements.user_held, &key, Owner::MustExist).await?;
    let user = user.filter(|user| user.active).ok_or(Error::UserDisabled)?;
    let old = change::hold(inner, transaction, found.digest).await?;
    if old.record.user.id != user.id {
        return Err(StoreError::Conflict);
    }
    if old.record.state(rotation.at) != TokenState::Active || old.set_by == Some(SetBy::Rotation) {
        return Err(Error::TokenEnded.into());
    }
    Ok((key, user, old))
}

/// Has the old token end, now or when the overlap is over.
async fn supersede(
    inner: &Inner,
    transaction: &Transaction<'_>,
    rotation: &Rotation,
    old: &Held,
) -> Result<TokenRecord, StoreError> {
    let Some(until) = rotation.until else { return end(inner, transaction, rotation, old).await };
    let expiry = Some(old.record.expiry.map_or(until, |expiry| expiry.min(until)));
    let after = TokenRecord { expiry, ..old.record.clone() };
    change::write(inner, transaction, old, &after, Some(SetBy::Rotation)).await?;
    Ok(after)
}

async fn end(
    inner: &Inner,
    transaction: &Transaction<'_>,
    rotation: &Rotation,
    old: &Held,
) -> Result<TokenRecord, StoreError> {
    let (digest, ended) = (old.record.digest, std::slice::from_ref(&old.row));
    transaction.execute(&inner.statements.token_delete, vec![digest.to_hex().into()]).await?;
    let ending = Ending { at: rotation.at, cause: RevocationCause::Superseded };
    revoke::mark(inner, transaction, ended, ending).await?;
    outbox::note(inner, transaction, ended).await?;
    journal::note_tokens(inner, transaction, std::iter::once(digest)).await?;
    Ok(TokenRecord { revoked: Some(rotation.at), ..old.record.clone() })
}
