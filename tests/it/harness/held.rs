//! What servers hold when they end: each value of Redis, each row of a database. None of it may be a known secret.
//!
//! It is looked at when the harness ends them, so every test of the suite is a test of this; of what is large, the first
//! part. A server that does not answer any more is left alone.

use std::{path::Path, time::Duration};

use tokio::time::timeout;

use super::{canary, sql};

/// Longest that a look may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rows of one table that are looked at.
pub(crate) const ROWS: usize = 300;

/// Fails when a database that answers has a known secret in a row.
pub(crate) fn assert_rows_hold_no_secret(url: &str) {
    let tables = look(sql::some_of_everything(url, ROWS)).and_then(Result::ok);
    for (table, rows) in tables.unwrap_or_default() {
        canary::assert_unseen(&rows, &format!("the table {table}"));
    }
}

/// The same, of a SQLite file, if there is one.
pub(crate) fn assert_file_holds_no_secret(file: &Path) {
    if file.exists() {
        assert_rows_hold_no_secret(&format!("sqlite://{}?mode=rw", file.display()));
    }
}

/// Fails when one of these values is a known secret, or has one in its key.
pub(crate) fn assert_values_hold_no_secret(values: impl Future<Output = Option<Vec<(String, Vec<u8>)>>> + Send) {
    for (key, value) in look(values).flatten().unwrap_or_default() {
        canary::assert_unseen(&[key.as_bytes(), b" ", &value].concat(), &format!("the value of {key:?} in Redis"));
    }
}

/// Runs to its end what begins where nothing can be waited for: in a destructor, on a thread of a runtime.
fn look<T: Send>(work: impl Future<Output = T> + Send) -> Option<T> {
    if std::thread::panicking() || canary::none_is_known() {
        return None;
    }
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread can wait");
        runtime.block_on(async { timeout(PATIENCE, work).await.ok() })
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("a look does not panic"))
}
