//! What the open connections are doing: which are idle, and which leave their answers unread.
//!
//! The number of connections is bounded. One more takes the place of the connection that has been quiet for longest,
//! so that whoever opens connections and does nothing with them locks nobody out. Quiet are those without a request,
//! and those whose requests all have their answer and keep it open: probes that watch, without a credential.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
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
    /// Those of the streams whose answer has begun.
    answered: AtomicUsize,
    /// When the last stream ended or went on, in milliseconds after `start`.
    quiet_since: AtomicU64,
    /// Its place was given to another.
    evicted: CancellationToken,
    /// Chunks of answers that are not written yet, by the turn in which they were made.
    unread: [AtomicUsize; 2],
    turn: AtomicUsize,
}

/// A request and what is left of its answer; the connection is not idle while it exists.
#[derive(Debug)]
pub(crate) struct Stream {
    activity: Arc<Activity>,
    /// Its answer has begun.
    answered: AtomicBool,
}

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

    /// A place for a new connection, if need be that of the one that has been quiet for longest.
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

    /// Closes the connection that has been quiet for longest, if one is quiet.
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
        let quiet = self.activities.iter().filter_map(|(id, activity)| Some((activity.quiet_since()?, *id)));
        let (_, id) = quiet.min()?;
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
            answered: AtomicUsize::new(0),
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
        Arc::new(Stream { activity: Arc::clone(self), answered: AtomicBool::new(false) })
    }

    /// Since when there has been no request; `None` while there is one.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.streams.load(Ordering::Acquire) == 0).then(|| self.last_heard())
    }

    /// Since when nobody has waited here for the beginning or the delivery of an answer; `None` while somebody does.
    fn quiet_since(&self) -> Option<Instant> {
        // The streams first: one that begins meanwhile is busy, and one that ends is not.
        let streams = self.streams.load(Ordering::Acquire);
        let lasting = self.answered.load(Ordering::Acquire);
        let unread = self.unread.iter().any(|turn| turn.load(Ordering::Acquire) > 0);
        (streams == lasting && !unread).then(|| self.last_heard())
    }

    fn last_heard(&self) -> Instant {
        self.start + Duration::from_millis(self.quiet_since.load(Ordering::Acquire))
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
        let activity = &self.activity;
        let turn = activity.turn.load(Ordering::Acquire);
        activity.unread[turn].fetch_add(1, Ordering::AcqRel);
        if self.answered.swap(true, Ordering::AcqRel) {
            // Whoever is told something new now and then, as a follower of revocations is, is not the quietest.
            activity.quiet();
        } else {
            activity.answered.fetch_add(1, Ordering::AcqRel);
        }
        Chunk { bytes, turn, stream: Arc::clone(self) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let activity = &self.activity;
        let answered = usize::from(*self.answered.get_mut());
        // While others wait for an answer nobody looks at the time, and each look at a clock is felt in a check.
        let lasting = activity.answered.load(Ordering::Acquire) - answered;
        if activity.streams.load(Ordering::Acquire) - 1 == lasting {
            activity.quiet();
        }
        activity.answered.fetch_sub(answered, Ordering::AcqRel);
        activity.streams.fetch_sub(1, Ordering::AcqRel);
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
        self.stream.activity.unread[self.turn].fetch_sub(1, Ordering::AcqRel);
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
    async fn an_answer_that_is_kept_open_does_not_keep_the_place_and_one_that_goes_on_is_younger() {
        let connections = Connections::new(3);
        let [watching, following, asking] = [(); 3].map(|()| connections.admit().expect("there is room"));
        let [watch, follow, asked] = [&watching, &following, &asking].map(|place| place.activity.begin());
        assert!(connections.admit().is_none(), "all wait for an answer");
        let unread = watch.chunk(Bytes::from_static(b"serving"));
        drop(follow.chunk(Bytes::from_static(b"heartbeat")));
        tokio::time::advance(Duration::from_millis(5)).await;
        drop(follow.chunk(Bytes::from_static(b"heartbeat")));
        drop(unread);
        assert_eq!(watching.activity.idle_since(), None, "it is told to go away no sooner");

        let fourth = connections.admit().expect("one watches only");
        let _busy = fourth.activity.begin();
        assert!(watching.activity.evicted.is_cancelled() && !following.activity.evicted.is_cancelled());
        let again = following.activity.begin();
        assert!(connections.admit().is_none(), "a follower that asks is busy");
        drop(again.chunk(Bytes::from_static(b"answer")));
        drop(again);
        let _fifth = connections.admit().expect("it has its answer");
        assert!(following.activity.evicted.is_cancelled() && !asking.activity.evicted.is_cancelled());
        drop((watch, follow, asked));
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
