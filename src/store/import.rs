//! Importing the keys of Django REST framework's `authtoken`, which are plaintext, as tokens of knox 5.
//!
//! The walk goes over the primary key of the table, which is the secret itself: it is read
//! here, hashed, and shown nowhere. Each page is one transaction, and what is there already is left alone,
//! so an import that was killed is simply run again. A token that was revoked here is not brought back by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use sea_orm::{QueryResult, Value};
use tokenward_migrations::DETAIL_TABLE;
use zeroize::Zeroizing;

use super::{
    Database, Inner,
    chore::marks,
    dialect::Hold,
    error::StoreError,
    issue::repeat,
    pool::Transaction,
    prune::{now, place},
    rows,
    user_key::{self, UserKey},
};
use crate::domain::{Digest, Error, Hashing, Timestamp, Token, TokenId, TokenKey, UserId};

/// Tokens in one transaction.
const PAGE: usize = 500;

/// What to import.
#[derive(Clone, Debug)]
pub struct Import {
    /// The table, as the database has it: `key`, `user_id`, `created`.
    pub table: String,
    /// Life of the imported tokens from now on; `None` is without end, as they had it.
    pub ttl: Option<Duration>,
    /// Whether to write.
    pub mode: ImportMode,
}

/// Whether an import writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// It does.
    Write,
    /// It counts what it would write.
    Count,
}

/// What an import has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Imported {
    /// Tokens that were written, or only counted.
    pub new: u64,
    /// Tokens that were there already.
    pub present: u64,
    /// Left out: revoked here since an earlier import.
    pub revoked: u64,
    /// Left out: the user table has no such user.
    pub unknown_user: u64,
    /// Left out: longer than 512 bytes, or not visible ASCII.
    pub malformed: u64,
    /// About how much of the walk is done, 0 to 1: keys are spread evenly.
    pub share: f64,
}

/// The public name and the owner of a token that was written.
pub type Written = (TokenId, UserId);

/// A key to import. No `Debug`: nothing of it is a secret, but nobody needs to see it.
struct Candidate {
    digest: Digest,
    key: TokenKey,
    user: UserKey,
    created: Timestamp,
}

/// The keys of one page, as far as they can be tokens.
struct Page {
    last: Option<Zeroizing<String>>,
    rows: usize,
    candidates: Vec<Candidate>,
    counts: Imported,
}

// === impl Database ===

impl Database {
    /// Imports a table, telling after each transaction how far it has come, and which tokens it wrote; and waits
    /// for what comes of that.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when there is no such table; what was imported before stays.
    ///
    /// # Cancel safety
    /// A transaction that was begun runs to its end.
    pub async fn import<F: Future<Output = ()>>(
        &self,
        import: Import,
        hashing: Hashing,
        mut seen: impl FnMut(&Imported, Vec<Written>) -> F,
    ) -> Result<Imported, Error> {
        let import = Arc::new(import);
        let begun = self.write(async move |inner| now(&inner).await).await?;
        let expiry = import.ttl.and_then(|ttl| begun.checked_add_signed(TimeDelta::from_std(ttl).ok()?));
        let (mut done, mut after) = (Imported::default(), Zeroizing::default());
        loop {
            let import = Arc::clone(&import);
            let (page, counts, new) = self
                .write(async move |inner| {
                    let page = read(&inner, &import.table, hashing, &after).await?;
                    let (counts, new) = repeat(|| take(&inner, &page, expiry, import.mode)).await?;
                    Ok((page, counts, new))
                })
                .await?;
            done.add(&counts);
            let last = page.last.filter(|_| page.rows == PAGE);
            done.share = last.as_ref().map_or(1.0, |key| place(key));
            seen(&done, new).await;
            match last {
                Some(key) => after = key,
                None => return Ok(done),
            }
        }
    }
}

/// The keys behind `after`.
async fn read(inner: &Inner, table: &str, hashing: Hashing, after: &Zeroizing<String>) -> Result<Page, StoreError> {
    let dialect = inner.dialect;
    let (key, user, created) = (dialect.quote("key"), dialect.quote("user_id"), dialect.quote("created"));
    let sql = dialect.sql(&format!(
        "SELECT {}, {}, {} FROM {} WHERE {key} > ? ORDER BY {key} LIMIT {PAGE}",
        dialect.text(&key),
        dialect.text(&user),
        dialect.time(&created),
        dialect.quote(table),
    ));
    let rows = inner.upkeep.rows(&sql, vec![after.as_str().into()]).await?;
    let mut page = Page { last: None, rows: rows.len(), candidates: vec![], counts: Imported::default() };
    for row in &rows {
        page.add(inner, hashing, row)?;
    }
    Ok(page)
}

/// Writes what is not there, in one transaction that holds the users.
async fn take(
    inner: &Inner,
    page: &Page,
    expiry: Option<Timestamp>,
    mode: ImportMode,
) -> Result<(Imported, Vec<Written>), StoreError> {
    let mut counts = page.counts;
    if page.candidates.is_empty() {
        return Ok((counts, vec![]));
    }
    let transaction = inner.upkeep.begin().await?;
    let users = users(inner, &transaction, &page.candidates).await?;
    let (present, revoked) = known(inner, &transaction, &page.candidates).await?;
    let mut new = vec![];
    for candidate in &page.candidates {
        if present.contains(&candidate.digest) {
            counts.present += 1;
        } else if revoked.contains(&candidate.digest) {
            counts.revoked += 1;
        } else if !users.contains(&candidate.user.id) {
            counts.unknown_user += 1;
        } else {
            new.push(candidate);
        }
    }
    counts.new = new.len() as u64;
    if mode == ImportMode::Count {
        transaction.rollback().await?;
        return Ok((counts, vec![]));
    }
    if !new.is_empty() {
        insert(inner, &transaction, &new, expiry).await?;
    }
    transaction.commit().await?;
    let written = new.iter().map(|candidate| (candidate.digest.token_id(), candidate.user.id.clone()));
    Ok((counts, written.collect()))
}

/// Those of the users that there are, held so that none goes before its tokens are written.
async fn users(
    inner: &Inner,
    transaction: &Transaction<'_>,
    candidates: &[Candidate],
) -> Result<BTreeSet<UserId>, StoreError> {
    let values: BTreeMap<_, _> = candidates.iter().map(|it| (&it.user.id, &it.user.value)).collect();
    let user = inner.schema.quoted(inner.dialect).user;
    let sql = inner.dialect.sql(&format!(
        "SELECT {} FROM {} WHERE {} IN ({}){}",
        inner.dialect.text(&user.id),
        user.table,
        user.id,
        marks(values.len()),
        inner.dialect.hold(Hold::Shared)
    ));
    let found = transaction.rows(&sql, values.into_values().cloned().collect()).await?;
    let id = |row: &QueryResult| user_key::read(&row.try_get_by_index::<String>(0)?, user.id_type);
    found.iter().map(id).collect()
}

/// Those of the digests that have a row, and those that were revoked here.
async fn known(
    inner: &Inner,
    transaction: &Transaction<'_>,
    candidates: &[Candidate],
) -> Result<(Vec<Digest>, Vec<Digest>), StoreError> {
    let token = inner.schema.quoted(inner.dialect).token;
    let marks = marks(candidates.len());
    let digests = || candidates.iter().map(|it| Value::from(it.digest.to_hex())).collect();
    let rows = format!("SELECT {} FROM {} WHERE {} IN ({marks})", token.digest, token.table, token.digest);
    let details = format!("SELECT digest FROM {DETAIL_TABLE} WHERE digest IN ({marks}) AND revoked_at IS NOT NULL");
    let present = transaction.rows(&inner.dialect.sql(&rows), digests()).await?;
    let revoked = transaction.rows(&inner.dialect.sql(&details), digests()).await?;
    let read = |found: Vec<QueryResult>| {
        found.iter().filter_map(|row| rows::digest(row).transpose()).collect::<Result<_, _>>()
    };
    Ok((read(present)?, read(revoked)?))
}

async fn insert(
    inner: &Inner,
    transaction: &Transaction<'_>,
    new: &[&Candidate],
    expiry: Option<Timestamp>,
) -> Result<u64, StoreError> {
    let (times, extra) = (inner.times(), inner.schema.token.extra.bound(inner.dialect));
    let row = |it: &&Candidate| {
        let own = [
            it.digest.to_hex().into(),
            it.key.as_str().into(),
            it.user.value.clone(),
            times.bind(it.created),
            times.bind_optional(expiry),
        ];
        own.into_iter().chain(extra.clone())
    };
    let sql = inner.statements.tokens_insert_new(new.len());
    transaction.execute(&sql, new.iter().flat_map(row).collect()).await
}

// === impl Page ===

impl Page {
    fn add(&mut self, inner: &Inner, hashing: Hashing, row: &QueryResult) -> Result<(), StoreError> {
        let key = Zeroizing::new(row.try_get_by_index::<String>(0)?);
        let user: Option<String> = row.try_get_by_index(1)?;
        let created = inner.times().read(row, 2)?.ok_or(StoreError::Row("when a key was created"))?;
        let user = user.and_then(|user| inner.user_key(&user_key::read(&user, inner.schema.user.id_type).ok()?));
        match (Token::parse(key.as_str().to_owned()), user) {
            (Err(_), _) => self.counts.malformed += 1,
            (Ok(_), None) => self.counts.unknown_user += 1,
            (Ok(token), Some(user)) => {
                self.candidates.push(Candidate { digest: hashing.digest(&token), key: token.key(), user, created });
            }
        }
        self.last = Some(key);
        Ok(())
    }
}

// === impl Imported ===

impl Imported {
    fn add(&mut self, more: &Self) {
        self.new += more.new;
        self.present += more.present;
        self.revoked += more.revoked;
        self.unknown_user += more.unknown_user;
        self.malformed += more.malformed;
    }
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} imported", self.new)?;
        writeln!(f, "{} already there", self.present)?;
        writeln!(f, "{} left out: revoked since an earlier import", self.revoked)?;
        writeln!(f, "{} left out: unknown user", self.unknown_user)?;
        write!(f, "{} left out: over 512 bytes or not visible ASCII", self.malformed)
    }
}
