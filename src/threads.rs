//! The threads that serve connections, each with a single-threaded runtime of its own.
//!
//! A connection, its requests and the Redis client they use stay on one thread, so that a check that Redis answers wakes
//! no other thread. That is worth more than work stealing, which evens out what a fair distribution of connections
//! evens out already. What is not a connection's runs on the main thread's runtime.

use std::{
    io,
    num::NonZeroUsize,
    sync::Arc,
    thread::{self, ThreadId},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;

/// The serving threads; they end when it is dropped.
#[derive(Debug)]
pub struct Threads {
    seats: Vec<Seat>,
    /// Empty when the main thread serves.
    joins: Vec<thread::JoinHandle<()>>,
    end: CancellationToken,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Where to spawn what it is to run.
    pub runtime: Handle,
    /// Tells code whether it runs there.
    pub thread: ThreadId,
    /// Its clones are what the thread is busy with.
    load: Arc<()>,
}

/// Counts as load of a thread until it is dropped.
#[derive(Debug)]
pub struct Load {
    _count: Arc<()>,
}

// === impl Threads ===

impl Threads {
    /// The current thread alone. Call it inside a tokio runtime.
    #[must_use]
    pub fn here() -> Self {
        let seat = Seat { runtime: Handle::current(), thread: thread::current().id(), load: Arc::default() };
        Self { seats: vec![seat], joins: Vec::new(), end: CancellationToken::new() }
    }

    /// So many threads; `None` for as many as this process may use cores. One is the current thread.
    /// Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the operating system refuses a thread or a runtime's file descriptors.
    pub async fn start(count: Option<NonZeroUsize>) -> io::Result<Self> {
        let count = count.map_or_else(thread::available_parallelism, Ok).unwrap_or(NonZeroUsize::MIN).get();
        if count == 1 {
            return Ok(Self::here());
        }
        let mut threads = Self { seats: Vec::new(), joins: Vec::new(), end: CancellationToken::new() };
        for number in 0..count {
            let (told, runtime) = oneshot::channel();
            let end = threads.end.clone();
            let name = format!("serve-{number}");
            let join = thread::Builder::new().name(name).spawn(move || run(told, &end))?;
            let thread = join.thread().id();
            threads.joins.push(join);
            let runtime = runtime.await.expect("the thread tells before it ends")?;
            threads.seats.push(Seat { runtime, thread, load: Arc::default() });
        }
        Ok(threads)
    }

    /// All of them.
    #[must_use]
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// The one that has the least to do, with what it is given now.
    #[must_use]
    pub fn seat(&self) -> (&Seat, Load) {
        let seat = self.seats.iter().min_by_key(|seat| Arc::strong_count(&seat.load)).expect("there is one");
        (seat, Load { _count: Arc::clone(&seat.load) })
    }
}

fn run(told: oneshot::Sender<io::Result<Handle>>, end: &CancellationToken) {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            // Without a receiver the start was given up.
            let _ = told.send(Ok(runtime.handle().clone()));
            runtime.block_on(end.cancelled());
            // A blocking task that is still under way must not hold the exit.
            runtime.shutdown_background();
        }
        Err(error) => {
            let _ = told.send(Err(error));
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end.cancel();
        for join in self.joins.drain(..) {
            // A thread that panicked has ended, too.
            let _ = join.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_to_the_thread_with_the_least_and_stays_there() {
        let threads = Threads::start(NonZeroUsize::new(3)).await.unwrap();
        let mut held: Vec<_> = (0..3).map(|_| threads.seat()).collect();
        let mut used: Vec<_> = held.iter().map(|(seat, _)| seat.thread).collect();
        used.dedup();
        assert_eq!(used.len(), 3, "each gets one before one gets two");
        let (seat, load) = held.remove(1);
        let free = seat.thread;
        drop(load);
        let (next, _load) = threads.seat();
        assert_eq!(next.thread, free);
        let ran_on = next.runtime.spawn(async { thread::current().id() }).await.unwrap();
        assert_eq!(ran_on, free);
    }

    #[tokio::test]
    async fn one_thread_is_the_one_that_is_there() {
        let threads = Threads::start(NonZeroUsize::new(1)).await.unwrap();
        assert_eq!(threads.seat().0.thread, thread::current().id());
    }
}
