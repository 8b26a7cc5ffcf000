//! The look-up: one statement, primary-key probes only.

use std::{sync::Arc, time::Duration};

use super::{Inner, error::StoreError, rows, statements::RECORD_COLUMNS};
use crate::{
    domain::{Digest, Found, Position, Reading, Source},
    mutant::{self, Mutant},
};

/// Where the record begins, after the clock's columns.
const RECORD_AT: usize = 3;
const USER_AT: usize = RECORD_AT + RECORD_COLUMNS;

/// Reads the clock, the token and its user together, so that the position says exactly
/// which invalidations the rows reflect.
///
/// A token whose detail says that it was revoked is revoked, although its row may be
/// there: a token table that was restored from a backup brings no token back to life.
pub(super) async fn find(inner: &Inner, digest: Digest) -> Result<Reading, StoreError> {
    let _turn = inner.lookups.try_acquire().map_err(|_| StoreError::Shed)?;
    let key = digest.to_hex();
    let row = inner.pool.row(&inner.statements.find, vec![key.clone().into(), key.into()]).await?;
    let position =
        if mutant::is(Mutant::StampOrder) { late_position(inner).await? } else { rows::position(row.as_ref())? };
    let row = row.ok_or(StoreError::Row("the clock"))?;

    let rows = inner.rows();
    let record = rows.record(&row, RECORD_AT)?.filter(|record| record.digest == digest);
    let found = match (record, rows.revoked(&row, RECORD_AT)?) {
        (_, Some(_)) => Found::Revoked,
        (Some(record), None) => Found::Token(Arc::new(rows.owned(record, &row, USER_AT)?)),
        (None, None) => Found::Unknown,
    };
    Ok(Reading { found, position, source: Source::Database, age: Duration::ZERO })
}

/// What only [`Mutant::StampOrder`] does.
async fn late_position(inner: &Inner) -> Result<Position, StoreError> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    rows::position(inner.pool.row(&inner.statements.clock, vec![]).await?.as_ref())
}
