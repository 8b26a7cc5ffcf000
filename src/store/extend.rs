//! Moving the expiry of a token that is used.
//!
//! The row is changed by its primary key, and only while it ends when it did as it was read: one that was revoked
//! is not brought back, and what another replica or Django wrote meanwhile stands, as does an end that
//! an administrator or a rotation gave it. The user is held
//! as when a token is issued, so that a deactivation comes either before, and nothing is
//! written, or after.

use super::{
    Inner,
    error::StoreError,
    issue::repeat,
    time,
    user_key::UserKey,
    users::{self, Owner},
};
use crate::domain::{Extended, Extension};

/// Moves an expiry forward, unless it stands elsewhere by now.
pub(super) async fn extend(inner: &Inner, extension: &Extension) -> Result<Extended, StoreError> {
    // An hour that a local clock shows twice is read as the first one: the second cannot be written.
    let is_forward = extension.from < extension.to && inner.times().keeps(extension.to);
    match inner.user_key(&extension.user) {
        Some(user) if is_forward => repeat(|| extend_once(inner, extension, &user)).await,
        Some(_) | None => Ok(Extended::Unmoved),
    }
}

async fn extend_once(inner: &Inner, extension: &Extension, user: &UserKey) -> Result<Extended, StoreError> {
    let transaction = inner.pool.begin().await?;
    let owner = users::hold(inner, &transaction, &inner.statements.user_held_shared, user, Owner::MustExist).await?;
    let (times, digest) = (inner.times(), extension.digest.to_hex());
    let values =
        vec![times.bind(extension.to), digest.clone().into(), times.bind(extension.from), digest.clone().into()];
    if !owner.is_some_and(|owner| owner.active)
        || transaction.execute(&inner.statements.token_extend, values).await? == 0
    {
        transaction.rollback().await?;
        return Ok(Extended::Unmoved);
    }
    let values = vec![time::bind(inner.dialect, extension.to), digest.into()];
    transaction.execute(&inner.statements.detail_extend, values).await?;
    transaction.commit().await?;
    Ok(Extended::Moved)
}
