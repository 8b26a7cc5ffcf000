//! The look-up: one statement, primary-key probes only.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sea_orm::{QueryResult, Value};
use tokio::sync::SemaphorePermit;

use super::{
    Inner,
    error::StoreError,
    rows,
    statements::{BATCHES, RECORD_COLUMNS},
    time, upgrade,
};
use crate::{
    domain::{Digest, Digests, Error, Found, Legacy, Look, Position, Quota, Reading, Source, TokenRecord, UnderWay},
    mutant::{self, Mutant},
};

/// Where the record begins, after the clock's columns.
const RECORD_AT: usize = 3;

/// Reads the clock, the token and its user together, so that the position says exactly
/// which invalidations the rows reflect.
///
/// A token whose detail says that it was revoked is revoked, although its row may be
/// there: a token table that was restored from a backup brings no token back to life.
pub(super) async fn find(inner: &Arc<Inner>, digests: Digests, look: &Look) -> Result<Reading, StoreError> {
    let _turn = turn(inner, look)?;
    match digests.legacy {
        None => find_one(inner, digests.current).await,
        Some(legacy) => find_either(inner, digests, legacy).await,
    }
}

/// A place among the look-ups, and in the share of who asks.
fn turn<'i>(inner: &'i Inner, look: &Look) -> Result<(SemaphorePermit<'i>, Option<UnderWay>), StoreError> {
    let left = inner.lookups.available_permits();
    let under_way = look.quota.as_ref().map(|quota| quota.begin(left).ok_or(StoreError::Shed)).transpose()?;
    Ok((inner.lookups.try_acquire().map_err(|_| StoreError::Shed)?, under_way))
}

async fn find_one(inner: &Inner, digest: Digest) -> Result<Reading, StoreError> {
    let key = digest.to_hex();
    let row = inner.pool.row(&inner.statements.find, vec![key.clone().into(), key.into()]).await?;
    let late = if mutant::is(Mutant::StampOrder) { Some(late_position(inner).await?) } else { None };
    let row = row.ok_or(StoreError::Row("the clock: run `tokenward migrate up`"))?;
    let found = match (record(inner, &row, RECORD_AT)?, inner.rows().revoked(&row, RECORD_AT)?) {
        (_, Some(_)) => Found::Revoked,
        (Some(record), None) if record.digest == digest => Found::Token(Arc::new(record)),
        (Some(_) | None, None) => Found::Unknown,
    };
    let reading = reading(&row, found)?;
    Ok(Reading { position: late.unwrap_or(reading.position), ..reading })
}

/// The same for a token whose row knox 4.2 may have written. A row that it did write is
/// rewritten in the background, where that is wanted.
async fn find_either(inner: &Arc<Inner>, digests: Digests, legacy: Legacy) -> Result<Reading, StoreError> {
    let keys = [digests.current, legacy.digest].map(|digest| Value::from(digest.to_hex()));
    let rows = inner.pool.rows(&inner.statements.find_either, [keys.clone(), keys].concat()).await?;
    let clock = rows.first().ok_or(StoreError::Row("the clock: run `tokenward migrate up`"))?;
    let found = either(inner, &rows, digests)?;
    reading(clock, rewritten(inner, &digests, found))
}

/// A revocation of either counts for the token; of two rows, the current one does.
fn either(inner: &Inner, rows: &[QueryResult], digests: Digests) -> Result<Found, StoreError> {
    let mut found = Found::Unknown;
    for row in rows {
        if time::read(inner.dialect, row, RECORD_AT)?.is_some() {
            return Ok(Found::Revoked);
        }
        let record = record(inner, row, RECORD_AT + 1)?.filter(|record| digests.names(record.digest));
        if let Some(record) = record.filter(|record| found == Found::Unknown || record.digest == digests.current) {
            found = Found::Token(Arc::new(record));
        }
    }
    Ok(found)
}

/// The same for several tokens, in their order, and as one look-up of each of their callers.
pub(super) async fn find_all(inner: &Arc<Inner>, batch: &[(Digests, Look)]) -> Vec<Result<Reading, Error>> {
    let mut turns = Turns { left: inner.lookups.available_permits(), begun: Vec::new() };
    let Ok(_place) = inner.lookups.try_acquire() else { return batch.iter().map(|_| Err(shed())).collect() };
    let admitted: Vec<_> = batch.iter().map(|(_, look)| turns.admit(look)).collect();
    let asked: Vec<_> = batch.iter().zip(&admitted).filter(|(_, admitted)| **admitted).map(|(ask, _)| ask.0).collect();
    let mut readings = match find_parts(inner, &asked).await {
        Ok(readings) => Ok(readings.into_iter()),
        Err(error) => Err(Arc::new(Error::from(error))),
    };
    let mut next = || match &mut readings {
        Ok(readings) => readings.next().ok_or_else(shed),
        Err(error) => Err(Error::shared(error)),
    };
    admitted.into_iter().map(|admitted| if admitted { next() } else { Err(shed()) }).collect()
}

/// The shares of those whose tokens are read together.
struct Turns {
    /// Places for look-ups, before this one.
    left: usize,
    begun: Vec<(Arc<Quota>, Option<UnderWay>)>,
}

impl Turns {
    fn admit(&mut self, look: &Look) -> bool {
        let Some(quota) = &look.quota else { return true };
        if let Some((_, turn)) = self.begun.iter().find(|(begun, _)| Arc::ptr_eq(begun, quota)) {
            return turn.is_some();
        }
        let turn = quota.begin(self.left);
        let admitted = turn.is_some();
        self.begun.push((Arc::clone(quota), turn));
        admitted
    }
}

fn shed() -> Error {
    StoreError::Shed.into()
}

async fn find_parts(inner: &Arc<Inner>, asked: &[Digests]) -> Result<Vec<Reading>, StoreError> {
    let mut readings = Vec::with_capacity(asked.len());
    // Each token has two digests where rows of knox 4.2 are accepted. No request has as many.
    for part in asked.chunks(BATCHES[BATCHES.len() - 1] / 2) {
        readings.extend(find_part(inner, part).await?);
    }
    Ok(readings)
}

async fn find_part(inner: &Arc<Inner>, batch: &[Digests]) -> Result<Vec<Reading>, StoreError> {
    let mut keys: Vec<_> = batch.iter().flat_map(Digests::all).map(|digest| Value::from(digest.to_hex())).collect();
    let size = BATCHES.iter().position(|size| *size >= keys.len()).expect("a part fits");
    keys.resize(BATCHES[size], keys.last().expect("a part has tokens").clone());
    let rows = inner.pool.rows(&inner.statements.find_all[size], [keys.clone(), keys].concat()).await?;
    let clock = rows.first().ok_or(StoreError::Row("the clock: run `tokenward migrate up`"))?;
    let (mut revoked, mut records) = (HashSet::new(), HashMap::new());
    for row in &rows {
        if let Some(digest) = row.try_get_by_index::<Option<String>>(RECORD_AT)? {
            revoked.extend(Digest::from_hex(&digest));
        } else if let Some(record) = record(inner, row, RECORD_AT + 1)? {
            records.insert(record.digest, Arc::new(record));
        }
    }
    let found = |digests: &Digests| match digests.all().find_map(|digest| records.get(&digest)) {
        _ if digests.all().any(|digest| revoked.contains(&digest)) => Found::Revoked,
        Some(record) => Found::Token(Arc::clone(record)),
        None => Found::Unknown,
    };
    batch.iter().map(|digests| reading(clock, rewritten(inner, digests, found(digests)))).collect()
}

/// What was found. A row of knox 4.2 is rewritten in the background, where that is wanted.
fn rewritten(inner: &Arc<Inner>, digests: &Digests, found: Found) -> Found {
    match (&found, digests.legacy) {
        (Found::Token(record), Some(legacy)) if record.digest == legacy.digest => {
            upgrade::begin(inner, digests.current, legacy, record);
        }
        (Found::Token(_) | Found::Revoked | Found::Unknown, _) => {}
    }
    found
}

fn record(inner: &Inner, row: &QueryResult, at: usize) -> Result<Option<TokenRecord>, StoreError> {
    let rows = inner.rows();
    let record = rows.record(row, at)?;
    record.map(|record| rows.owned(record, row, at + RECORD_COLUMNS)).transpose()
}

fn reading(row: &QueryResult, found: Found) -> Result<Reading, StoreError> {
    let position = rows::position(Some(row))?;
    Ok(Reading { found, position, source: Source::Database, age: Duration::ZERO })
}

/// What only [`Mutant::StampOrder`] does.
async fn late_position(inner: &Inner) -> Result<Position, StoreError> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    rows::position(inner.pool.row(&inner.statements.clock, vec![]).await?.as_ref())
}
