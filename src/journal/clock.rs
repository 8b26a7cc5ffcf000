//! The database's time as the domain's clock.
//!
//! Every replica judges expiry by it, so that none of them accepts what the database and the
//! others call expired because its own wall clock is wrong.

use super::{
    handle::Handle,
    lease::{Boottime, Uptime},
};
use crate::domain::{Clock, SystemClock, Timestamp};

/// Shows [`Handle::database_now`], which goes on while the database cannot be reached;
/// before the first poll has succeeded, this machine's wall clock.
#[derive(Clone, Debug)]
pub struct DatabaseClock<U = Boottime>(Handle<U>);

// === impl DatabaseClock ===

impl<U: Uptime> DatabaseClock<U> {
    pub(super) fn new(handle: Handle<U>) -> Self {
        Self(handle)
    }
}

impl<U: Uptime> Clock for DatabaseClock<U> {
    fn now(&self) -> Timestamp {
        self.0.database_now().unwrap_or_else(|| SystemClock.now())
    }
}
