//! The machine's clock, for deciding how old a fact is and whether its token has expired.

use chrono::{SubsecRound as _, Utc};

use crate::domain::{Clock, Timestamp};

/// The time of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

// === impl WallClock ===

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "this is a clock")]
    fn now(&self) -> Timestamp {
        Utc::now().trunc_subsecs(6)
    }
}
