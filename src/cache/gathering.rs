//! What is asked at once goes out together.
//!
//! A command or a statement costs its client far more than the value that it brings. What the tasks of one turn of the
//! runtime ask for is handed to one task, which the first of them spawns and which runs when they have all run: nobody
//! waits for a timer, and who asks alone pays for one more task.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::request::carried;

/// Questions of one turn that are about to go out.
#[derive(Debug)]
pub(super) struct Gathering<T> {
    /// How many go out together.
    most: usize,
    waiting: Mutex<Vec<T>>,
}

// === impl Gathering ===

impl<T: Send + 'static> Gathering<T> {
    pub(super) fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most, waiting: Mutex::default() })
    }

    /// Has `send` given all of this turn, in a task of its own that works for the request which began it, or which made
    /// them as many as may go out together. It may be given none.
    pub(super) fn add<F>(self: &Arc<Self>, one: T, send: impl FnOnce(Vec<T>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut waiting = self.lock();
        waiting.push(one);
        if waiting.len() == self.most {
            tokio::spawn(carried(send(mem::take(&mut *waiting))));
        } else if waiting.len() == 1 {
            let gathering = Arc::clone(self);
            tokio::spawn(carried(async move {
                let all = mem::take(&mut *gathering.lock());
                send(all).await;
            }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
