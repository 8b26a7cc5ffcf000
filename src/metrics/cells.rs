//! Numbers that many threads add to: each to its own, so that none waits for another's cache line.

use std::{
    cell::Cell,
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

/// Most sets of numbers; threads beyond share.
const MAX_SHARDS: usize = 64;
/// Numbers on one cache line.
const LINE: usize = 8;

/// So many numbers, each summed up when it is read.
#[derive(Debug)]
pub struct Cells {
    shards: Box<[Box<[Line]>]>,
}

/// A cache line of numbers; two, since some processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; LINE]);

// === impl Cells ===

impl Cells {
    /// All of them 0.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // One more for the main thread, beside those that serve.
        let shards = (threads + 1).min(MAX_SHARDS).next_power_of_two();
        let lines = count.div_ceil(LINE);
        Self { shards: (0..shards).map(|_| (0..lines).map(|_| Line::default()).collect()).collect() }
    }

    /// Adds to the number at a place: one addition that no other thread contends for.
    pub fn add(&self, place: usize, more: u64) {
        let shard = &self.shards[own_shard() & (self.shards.len() - 1)];
        shard[place / LINE].0[place % LINE].fetch_add(more, Ordering::Relaxed);
    }

    /// The number at a place.
    #[must_use]
    pub fn get(&self, place: usize) -> u64 {
        self.shards.iter().map(|shard| shard[place / LINE].0[place % LINE].load(Ordering::Relaxed)).sum()
    }
}

/// A number of this thread's own, from 0.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        own.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_add_is_summed_up() {
        let cells = Cells::new(11);
        thread::scope(|scope| {
            for _ in 0..9 {
                scope.spawn(|| (0..1_000).for_each(|_| cells.add(10, 2)));
            }
        });
        assert_eq!((cells.get(10), cells.get(9)), (18_000, 0));
    }
}
