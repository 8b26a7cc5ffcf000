//! Ends a token of its own now and then, to see that its record comes back.
//!
//! A trigger that stands in the catalog may still not do its work: its function replaced,
//! a table swapped under it, a right taken away. Only an end shows whether ends are
//! recorded. Polls go on meanwhile; a poll that fails is an outage and no verdict.

use std::{sync::Arc, time::Duration};

use tokio::{
    select,
    sync::{Notify, watch},
    time::{Instant, sleep},
};

use super::{
    handle::{Lost, Round, Shared},
    lease::Uptime,
    reader::{CHORE_DEADLINE, within},
};
use crate::domain::{Journal, Position, TokenId};

/// Time between two of them. The first comes at a random time within it, so that replicas differ.
const EVERY: Duration = Duration::from_mins(1);
/// The same after one that was lost, or told nothing.
const SOONER: Duration = Duration::from_secs(5);
/// A poll that succeeded this long after shows the record, or there is none.
const RETURN: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Canaries<J, U> {
    journal: Arc<J>,
    shared: Arc<Shared<U>>,
    rounds: watch::Receiver<Round>,
    /// Triggers that were missing are back.
    repaired: Arc<Notify>,
}

// === impl Canaries ===

impl<J: Journal, U: Uptime> Canaries<J, U> {
    pub(super) fn new(
        journal: Arc<J>,
        shared: Arc<Shared<U>>,
        rounds: watch::Receiver<Round>,
        repaired: Arc<Notify>,
    ) -> Self {
        Self { journal, shared, rounds, repaired }
    }

    pub(super) async fn run(mut self) {
        let mut pause = EVERY.mul_f64(rand::random());
        loop {
            select! {
                () = sleep(pause) => {}
                () = self.repaired.notified() => {}
            }
            let came_back = self.release().await;
            if let Some(came_back) = came_back {
                self.publish(came_back);
            }
            pause = if came_back == Some(true) { EVERY } else { SOONER };
        }
    }

    /// Whether one came back; `None` when that cannot be told.
    async fn release(&mut self) -> Option<bool> {
        let since = self.shared.view.position()?;
        match within(CHORE_DEADLINE, self.journal.canary()).await {
            Ok(token) => self.comes_back(token?, since).await,
            Err(error) => {
                tracing::debug!(%error, "the triggers of the journal were not tried");
                None
            }
        }
    }

    async fn comes_back(&mut self, token: TokenId, since: Position) -> Option<bool> {
        let bound = Instant::now() + RETURN;
        self.rounds.mark_unchanged();
        loop {
            let is_late = Instant::now() >= bound;
            match self.shared.view.shows(token, since)? {
                true => return Some(true),
                // The poll that ended just now, if it succeeded, began after the release.
                false if is_late && self.was_taken_in() => return Some(false),
                false => self.rounds.changed().await.ok()?,
            }
        }
    }

    fn was_taken_in(&self) -> bool {
        matches!(self.rounds.borrow().failure, None | Some(Lost::Unrecorded))
    }

    fn publish(&self, came_back: bool) {
        match (self.shared.is_silent(), came_back) {
            (false, false) => {
                tracing::error!("the triggers of the journal do not fire: nothing is answered from the cache");
                self.shared.fall_silent();
            }
            (true, true) => {
                tracing::info!("the triggers of the journal fire again");
                self.shared.hear();
            }
            (false, true) | (true, false) => {}
        }
    }
}
