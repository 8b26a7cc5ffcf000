//! Waiting for a condition, never for a time.

use std::{
    future::Future,
    io::Write as _,
    time::{Duration, Instant},
};

/// Time that a condition has to come true when a test has no tighter claim.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Polls until `probe` gives a value, and returns it with the time it took.
///
/// # Panics
/// When `deadline` has passed and there is still none.
pub(crate) async fn within<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return (value, start.elapsed());
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Polls until `probe` gives a value.
pub(crate) async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, PATIENCE, probe).await.0
}

/// The outcome of a future and how long it took.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let value = future.await;
    (value, start.elapsed())
}

/// Writes a measured figure where the test runner shows it.
pub(crate) fn report(line: &str) {
    // A closed standard error costs a figure on the screen, not a test.
    let _ = writeln!(std::io::stderr(), "{line}");
}
