//! Private parts, opened for `benches/` alone (feature `internals`).

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use futures::FutureExt as _;
use tokio::sync::watch;

use super::{Boottime, Confirmed, Handle, Round, Terms, Uptime as _, handle::Shared};
use crate::domain::{Digest, Ended, Poll, Position, Record, Role, UserId};

/// A handle whose view holds so many ended tokens, and whose lease never ends.
#[derive(Debug)]
pub struct Judge {
    handle: Handle,
    // Without its sender a handle takes the reader for stopped.
    _rounds: watch::Sender<Round>,
    user: UserId,
}

// === impl Judge ===

impl Judge {
    /// A view with `ended` tokens.
    #[must_use]
    pub fn new(ended: u64) -> Self {
        let terms = Terms {
            max_staleness: Duration::from_hours(24),
            outage_grace: Duration::ZERO,
            poll_interval: Duration::from_secs(1),
        };
        let shared = Arc::new(Shared::new(terms, Boottime));
        let record = |seq: u64| {
            let mut bytes = [0; 64];
            bytes[..8].copy_from_slice(&seq.to_be_bytes());
            Record { seq: Some(seq), ended: Ended::Token(Digest::from_bytes(bytes).token_id()) }
        };
        let poll = Poll {
            position: Position { epoch: 1, seq: ended },
            floor: 0,
            now: DateTime::from_timestamp(1_790_000_000, 0).expect("a time"),
            role: Role::Primary,
            records: (1..=ended).map(record).collect(),
        };
        shared.publish(poll, Boottime.elapsed());
        let (rounds, ended_rounds) = watch::channel(Round::default());
        let user = "bench-1".parse().expect("a user_id");
        Self { handle: Handle::new(shared, ended_rounds), _rounds: rounds, user }
    }

    /// What a hit asks: lease, then token and user in the view; whether the fact may be answered from.
    #[must_use]
    pub fn confirm(&self, digest: Digest) -> bool {
        let position = Position { epoch: 1, seq: 0 };
        self.handle.confirm(position, digest, &self.user).now_or_never() == Some(Confirmed::Current)
    }
}
