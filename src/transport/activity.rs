//! What the open connections are doing: which are idle, and which leave their answers unread.
//!
//! The number of connections is bounded. One more takes the place of the connection that has been idle for longest,
//! so that whoever opens connections and does nothing with them locks nobody out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost::bytes::{Buf, Bytes};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The connections that are open.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    start: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    activities: HashMap<u64, Arc<Activity>>,
}

/// A connection's place among them, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    id: u64,
    pub(crate) activity: Arc<Activity>,
}

/// What one connection is doing.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    streams: AtomicUsize,
    /// When the last stream ended, in milliseconds after `start`.
    quiet_since: AtomicU64,
    /// Its place was given to another.
    evicted: CancellationToken,
    /// Chunks of answers that are not written yet, by the turn in which they were made.
    unread: [AtomicUsize; 2],
    turn: AtomicUsize,
}

/// A request and what is left of its answer; the connection is not idle while it exists.
#[derive(Debug)]
pub(crate) struct Stream(Arc<Activity>);

/// A piece of an answer, which may hold a secret. It is dropped when it has been written, or its stream was reset.
pub(crate) struct Chunk {
    bytes: Bytes,
    turn: usize,
    stream: Arc<Stream>,
}

// === impl Connections ===

impl Connections {
    pub(crate) fn new(most: u32) -> Arc<Self> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Arc::new(Self { most, start: Instant::now(), open: Mutex::default() })
    }

    /// A place for a new connection, if need be that of the one that has been idle for longest.
    /// `None` when all are busy.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.lock();
        if open.activities.len() >= self.most {
            open.evict()?;
        }
        let (id, activity) = (open.next, Arc::new(Activity::new(self.start)));
        open.next += 1;
        open.activities.insert(id, Arc::clone(&activity));
        drop(open);
        Some(Place { connections: Arc::clone(self), id, activity })
    }

    /// Closes the connection that has been idle for longest, if one is idle.
    pub(crate) fn evict(&self) -> bool {
        self.lock().evict().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing panics while it is held.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Open ===

impl Open {
    fn evict(&mut self) -> Option<()> {
        let idle = self.activities.iter().filter_map(|(id, activity)| Some((activity.idle_since()?, *id)));
        let (_, id) = idle.min()?;
        self.activities.remove(&id)?.evicted.cancel();
        Some(())
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().activities.remove(&self.id);
    }
}

// === impl Activity ===

impl Activity {
    fn new(start: Instant) -> Self {
        let activity = Self {
            start,
            streams: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            evicted: CancellationToken::new(),
            unread: [AtomicUsize::new(0), AtomicUsize::new(0)],
            turn: AtomicUsize::new(0),
        };
        activity.quiet();
        activity
    }

    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Arc<Stream> {
        self.streams.fetch_add(1, Ordering::AcqRel);
        Arc::new(Stream(Arc::clone(self)))
    }

    /// Since when there has been no request; `None` while there is one.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let since = self.start + Duration::from_millis(self.quiet_since.load(Ordering::Acquire));
        (self.streams.load(Ordering::Acquire) == 0).then_some(since)
    }

    /// Waits until another connection has got its place.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Begins a turn, and tells whether an answer from before the last one is still unread.
    pub(crate) fn turn(&self) -> bool {
        let next = self.turn.load(Ordering::Acquire) ^ 1;
        let unread = self.unread[next].load(Ordering::Acquire) > 0;
        self.turn.store(next, Ordering::Release);
        unread
    }

    fn quiet(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.quiet_since.store(elapsed, Ordering::Release);
    }
}

// === impl Stream ===

impl Stream {
    /// A piece of the stream's answer.
    pub(crate) fn chunk(self: &Arc<Self>, bytes: Bytes) -> Chunk {
        let turn = self.0.turn.load(Ordering::Acquire);
        self.0.unread[turn].fetch_add(1, Ordering::AcqRel);
        Chunk { bytes, turn, stream: Arc::clone(self) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.quiet();
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

// === impl Chunk ===

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.stream.0.unread[self.turn].fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_the_longest_idle_connection_makes_room_and_a_busy_one_does_not() {
        let connections = Connections::new(2);
        let first = connections.admit().expect("there is room");
        tokio::time::advance(Duration::from_millis(5)).await;
        let second = connections.admit().expect("there is room");
        let busy = first.activity.begin();
        let third = connections.admit().expect("the second is idle");
        assert!(second.activity.evicted.is_cancelled() && !first.activity.evicted.is_cancelled());
        let _also_busy = third.activity.begin();
        assert!(connections.admit().is_none(), "all are busy");

        drop(busy);
        drop(second);
        let fourth = connections.admit().expect("the first is idle now");
        assert!(first.activity.evicted.is_cancelled());
        drop((first, third));
        let _fifth = connections.admit().expect("the third has gone");
        assert!(!fourth.activity.evicted.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_is_noticed_in_the_second_turn() {
        let connections = Connections::new(1);
        let activity = Arc::clone(&connections.admit().expect("there is room").activity);
        let stream = activity.begin();
        let unread = stream.chunk(Bytes::from_static(b"answer"));
        drop(stream);
        assert_eq!(activity.idle_since(), None, "an answer is under way");
        assert!(!activity.turn());
        let read = activity.begin().chunk(Bytes::from_static(b"another"));
        drop(read);
        assert!(activity.turn());
        drop(unread);
        assert!(activity.idle_since().is_some());
        assert!(!activity.turn() && !activity.turn());
    }
}
