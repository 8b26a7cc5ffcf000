//! The journal of what has ended: reading it, numbering it, keeping it short, and seeing to it that it is written.
//!
//! A record is written without a number in the transaction of its cause (`triggers.rs`,
//! and our own writes themselves) and numbered once that has committed, under a lock on the clock's row. So whoever reads a
//! clock of `n` and a row in one statement holds a row that reflects every record up to `n`.
//!
//! All of it runs on connections of its own: a busy pool must not look like a journal that stands still.

use sea_orm::{QueryResult, Value};
use tokenward_migrations::Installed;

use super::{
    Database, Inner,
    error::StoreError,
    issue::repeat,
    pool::{Pool, Transaction},
    rows, time, triggers, user_key,
    user_key::UserKey,
    users,
};
use crate::{
    config::UserIdType,
    domain::{
        Digest, Ended, Epochs, Error, Journal, NewEpoch, Poll, Position, Propagation, Record, Revocation, Role, Secret,
        Token, TokenId, TokenPrefix, Triggers, UserId,
    },
    metrics::Query,
};

mod durability;
#[cfg(test)]
mod fuzz;
mod listener;
mod statements;

#[cfg(test)]
pub(super) use self::durability::lax_settings;
pub(super) use self::{durability::warn_of_lost_commits, listener::Listener, statements::Statements};

/// Records in one look. More than a journal that is purged holds: then everything is said to have ended.
const MAX_POLLED: usize = 100_000;
/// Records that one transaction numbers.
const MAX_NUMBERED: usize = 10_000;
/// Of these in one statement: three values are bound for each.
const ROWS_PER_STATEMENT: usize = 300;
/// Records that one statement of a purge deletes.
const PURGE_BATCH: u64 = 1_000;
/// Where a poll's row has its record, after the position, the floor, the time and the role.
const RECORD_AT: usize = 6;

// === impl Database ===

impl Database {
    /// Ends the epoch, and with it every fact that any cache holds; gives the place that the
    /// new one begins at.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// Once polled, it runs to its end whether or not the future is dropped.
    pub async fn new_epoch(&self) -> Result<Position, Error> {
        self.write(async move |inner| repeat(|| new_epoch(&inner)).await).await
    }
}

impl Epochs for Database {
    async fn new_epoch(&self) -> Result<NewEpoch, Error> {
        // A database has no cache to tell.
        Ok(NewEpoch { position: Self::new_epoch(self).await?, propagation: Propagation::Complete })
    }

    async fn outdate(&self, user: UserId) -> Result<Revocation, Error> {
        self.write(async move |inner| users::outdate(&inner, &user).await).await
    }
}

/// Each call runs to its end in a task of its own. Callers give up sooner than the pools
/// do, and a pool has to see a connection that does not answer in order to replace it.
impl Journal for Database {
    async fn poll(&self, after: Option<Position>) -> Result<Poll, Error> {
        self.timed(Query::Poll, self.write(async move |inner| poll(&inner, after).await)).await
    }

    /// At most 10,000 of them.
    async fn sequence(&self) -> Result<u64, Error> {
        self.write(async move |inner| Ok(repeat(|| number(&inner, &inner.journal)).await?.0)).await
    }

    async fn purge(&self, keep: u64) -> Result<u64, Error> {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        self.write(async move |inner| purge(&inner, keep).await).await
    }

    async fn intact(&self) -> Result<Triggers, Error> {
        self.write(async move |inner| intact(&inner).await).await
    }

    async fn canary(&self) -> Result<Option<TokenId>, Error> {
        self.write(async move |inner| repeat(|| canary(&inner)).await).await
    }

    async fn note_everything(&self) -> Result<(), Error> {
        self.write(async move |inner| note_everything(&inner).await).await
    }

    async fn changed(&self) {
        self.0.listener.heard().await;
    }
}

// === for the writes of this service ===

/// Notes the ends of tokens, should a trigger be missing. A second record of one end does no harm.
pub(super) async fn note_tokens(
    inner: &Inner,
    transaction: &Transaction<'_>,
    digests: impl Iterator<Item = Digest>,
) -> Result<(), StoreError> {
    for digest in digests {
        note(inner, transaction, Some(digest.to_hex()), None).await?;
    }
    Ok(())
}

/// As [`note_tokens`], for all of a user's tokens.
pub(super) async fn note_user(inner: &Inner, transaction: &Transaction<'_>, key: &UserKey) -> Result<(), StoreError> {
    note(inner, transaction, None, Some(key.id.as_str().to_owned())).await
}

/// A place in the journal that covers every change which was committed before the call.
pub(super) async fn settle(inner: &Inner) -> Result<Position, StoreError> {
    loop {
        let row = inner.pool.row(&inner.journal_statements.settled, vec![]).await?;
        let position = rows::position(row.as_ref())?;
        let pending: i64 = row.ok_or(StoreError::Row("the clock"))?.try_get_by_index(3)?;
        if pending == 0 {
            return Ok(position);
        }
        let (count, position) = repeat(|| number(inner, &inner.pool)).await?;
        if count < MAX_NUMBERED as u64 {
            return Ok(position);
        }
    }
}

async fn note(
    inner: &Inner,
    transaction: &Transaction<'_>,
    digest: Option<String>,
    user: Option<String>,
) -> Result<(), StoreError> {
    transaction.execute(&inner.journal_statements.note, vec![digest.into(), user.into()]).await.map(drop)
}

async fn note_everything(inner: &Inner) -> Result<(), StoreError> {
    let nothing = || vec![None::<String>.into(), None::<String>.into()];
    repeat(|| inner.journal.execute(&inner.journal_statements.note, nothing())).await?;
    repeat(|| number(inner, &inner.journal)).await.map(drop)
}

// === the look ===

/// A second look where the first one asked for what came after a place in an epoch that has ended.
async fn poll(inner: &Inner, after: Option<Position>) -> Result<Poll, StoreError> {
    let poll = look(inner, after.map_or(0, |position| position.seq)).await?;
    let is_current = after.is_none_or(|after| after.epoch == poll.position.epoch);
    if is_current || poll.role == Role::Replica { Ok(poll) } else { look(inner, 0).await }
}

async fn look(inner: &Inner, known: u64) -> Result<Poll, StoreError> {
    let known = i64::try_from(known).unwrap_or(i64::MAX);
    let found = inner.probe.rows(&inner.journal_statements.poll, vec![known.into()]).await?;
    let first = found.first().ok_or(StoreError::Row("the clock: run `tokenward migrate up`"))?;
    let writable: i64 = first.try_get_by_index(5)?;
    let (position, role) = match rows::primary_position(first)? {
        Some(position) if writable != 0 => (position, Role::Primary),
        Some(position) => (position, Role::Replica),
        None => (Position { epoch: 0, seq: rows::place(first.try_get_by_index(1)?)? }, Role::Replica),
    };
    Ok(Poll {
        position,
        floor: rows::place(first.try_get_by_index(3)?)?,
        now: time::read(inner.dialect, first, 4)?.ok_or(StoreError::Row("the time"))?,
        role,
        records: records(inner, &found, position)?,
    })
}

fn records(inner: &Inner, found: &[QueryResult], position: Position) -> Result<Vec<Record>, StoreError> {
    if found.len() > MAX_POLLED {
        let everything = |seq| Record { seq, ended: Ended::Everything };
        return Ok(vec![everything(Some(position.seq)), everything(None)]);
    }
    found.iter().filter_map(|row| record(inner, row).transpose()).collect()
}

/// `None` for the row of a clock without news.
fn record(inner: &Inner, row: &QueryResult) -> Result<Option<Record>, StoreError> {
    if row.try_get_by_index::<Option<i64>>(RECORD_AT)?.is_none() {
        return Ok(None);
    }
    let seq: Option<i64> = row.try_get_by_index(RECORD_AT + 1)?;
    let (digest, user) = (row.try_get_by_index(RECORD_AT + 2)?, row.try_get_by_index(RECORD_AT + 3)?);
    Ok(Some(Record { seq: seq.map(rows::place).transpose()?, ended: ended(inner.schema.user.id_type, digest, user) }))
}

/// What a record outdates; everything, where it cannot be read.
fn ended(id_type: UserIdType, digest: Option<String>, user: Option<String>) -> Ended {
    let token = |text: String| Digest::from_hex(&text).ok().map(|digest| Ended::Token(digest.token_id()));
    let owner = |text: String| -> Option<UserId> { user_key::read(&text, id_type).ok() };
    let ended = match (digest, user) {
        (Some(digest), None) => token(digest),
        (None, Some(user)) => owner(user).map(Ended::User),
        (None, None) | (Some(_), Some(_)) => None,
    };
    ended.unwrap_or(Ended::Everything)
}

// === the sequencer ===

/// Gives how many were numbered and the clock afterwards.
///
/// What is pending is read only once the clock is held, and without locks, which would
/// wait for transactions that are still writing records.
async fn number(inner: &Inner, pool: &Pool) -> Result<(u64, Position), StoreError> {
    let sql = &inner.journal_statements;
    let transaction = pool.begin().await?;
    let clock = rows::position(transaction.row(&sql.clock_held, vec![]).await?.as_ref())?;
    let pending = transaction.rows(&sql.pending, vec![]).await?;
    let ids: Vec<i64> = pending.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
    let mut next = clock.seq;
    for chunk in ids.chunks(ROWS_PER_STATEMENT) {
        transaction.execute(&sql.number(chunk.len()), numbering(chunk, next)).await?;
        next += chunk.len() as u64;
    }
    let count = next - clock.seq;
    if count > 0 {
        transaction.execute(&sql.advance, vec![bound(count)]).await?;
    }
    transaction.commit().await?;
    Ok((count, Position { seq: next, ..clock }))
}

/// The values of `Statements::number`.
fn numbering(ids: &[i64], last: u64) -> Vec<Value> {
    let cases = ids.iter().zip(last + 1..).flat_map(|(id, number)| [Value::from(*id), bound(number)]);
    cases.chain(ids.iter().map(|id| Value::from(*id))).collect()
}

// === upkeep ===

/// The floor first: a reader that has not seen it still finds the records.
async fn purge(inner: &Inner, keep: i64) -> Result<u64, StoreError> {
    let sql = &inner.journal_statements;
    repeat(|| inner.journal.execute(&sql.raise_floor, vec![keep.into(), keep.into()])).await?;
    let mut purged = 0;
    while let Some(highest) = next_batch(inner).await? {
        purged += repeat(|| inner.journal.execute(&sql.delete_numbered, vec![bound(highest)])).await?;
    }
    Ok(purged)
}

/// The highest number of the next batch; `None` when nothing is left up to the floor.
/// Numbers have no gaps, so a range of them bounds a batch.
async fn next_batch(inner: &Inner) -> Result<Option<u64>, StoreError> {
    let row = inner.journal.row(&inner.journal_statements.lowest, vec![]).await?;
    let row = row.ok_or(StoreError::Row("the clock"))?;
    let Some(lowest) = row.try_get_by_index::<Option<i64>>(1)? else { return Ok(None) };
    let (floor, lowest) = (rows::place(row.try_get_by_index(0)?)?, rows::place(lowest)?);
    Ok((lowest <= floor).then(|| floor.min(lowest + PURGE_BATCH - 1)))
}

/// On the connection of the polls, which do not wait for what holds the other one.
async fn intact(inner: &Inner) -> Result<Triggers, StoreError> {
    let wanted = triggers::triggers(inner.dialect, &inner.schema, "");
    let found = inner.probe.rows(&wanted.catalog, vec![]).await?;
    let read = |row: &QueryResult| -> Result<Installed, StoreError> {
        Ok(Installed { name: row.try_get_by_index(0)?, table: row.try_get_by_index(1)? })
    };
    let missing = wanted.missing(&found.iter().map(read).collect::<Result<Vec<_>, _>>()?);
    Ok(if missing.is_empty() { Triggers::Enabled } else { Triggers::Missing(missing.join(", ")) })
}

async fn canary(inner: &Inner) -> Result<Option<TokenId>, StoreError> {
    let token = Token::of(&TokenPrefix::default(), &Secret::random());
    let digest = token.digest();
    let transaction = inner.journal.begin().await?;
    let mut values = vec![digest.to_hex().into(), token.key().as_str().into()];
    values.extend(inner.schema.token.extra.bound(inner.dialect));
    if transaction.execute(&inner.journal_statements.canary_insert, values).await? == 0 {
        transaction.rollback().await?;
        return Ok(None);
    }
    transaction.execute(&inner.statements.token_delete, vec![digest.to_hex().into()]).await?;
    transaction.commit().await?;
    Ok(Some(digest.token_id()))
}

async fn new_epoch(inner: &Inner) -> Result<Position, StoreError> {
    let epoch = uuid::Uuid::new_v4().simple().to_string();
    let transaction = inner.journal.begin().await?;
    transaction.execute(&inner.journal_statements.new_epoch, vec![epoch.into()]).await?;
    let position = super::revoke::position(inner, &transaction).await?;
    transaction.commit().await?;
    Ok(position)
}

fn bound(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}
