//! When tokens were last accepted, many at a time, and no more often than about once a minute each.
//!
//! What is noted is only replaced by what is a good while later, so that of several replicas one
//! writes, and none takes a later time back. A token that another program issued, and that was never
//! changed here, has no detail row: its last use is not kept. No record goes into the journal: no answer
//! depends on it.

use chrono::TimeDelta;
use sea_orm::Value;

use super::{Inner, error::StoreError, issue::repeat, time};
use crate::domain::Used;

/// Tokens in one statement: three values are bound for each.
const ROWS_PER_STATEMENT: usize = 500;
/// How much older a time that is replaced is at least. A little less than a minute, since uses are
/// written some seconds after they happened.
const LEAST_GAIN: TimeDelta = TimeDelta::seconds(50);

/// Notes the uses; gives how many rows were written.
pub(super) async fn note(inner: &Inner, mut used: Vec<Used>) -> Result<u64, StoreError> {
    // In one order, so that two replicas do not wait for each other in a circle.
    used.sort_by_key(|used| *used.digest.as_bytes());
    let mut noted = 0;
    for chunk in used.chunks(ROWS_PER_STATEMENT) {
        noted += repeat(|| write(inner, chunk)).await?;
    }
    Ok(noted)
}

async fn write(inner: &Inner, chunk: &[Used]) -> Result<u64, StoreError> {
    let Some(oldest) = chunk.iter().map(|used| used.at).min() else { return Ok(0) };
    let digest = |used: &Used| Value::from(used.digest.to_hex());
    let mut values: Vec<Value> =
        chunk.iter().flat_map(|used| [digest(used), time::bind(inner.dialect, used.at)]).collect();
    values.extend(chunk.iter().map(digest));
    values.push(time::bind(inner.dialect, oldest - LEAST_GAIN));
    inner.upkeep.execute(&inner.statements.note_used(chunk.len()), values).await
}
