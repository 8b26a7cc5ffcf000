//! How many files this process may have open; each connection is one. A leaf: it imports nothing of the project.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process, and what it starts from now on, open as many files as it may, and tells how many that are; `None` for
/// as many as it likes.
pub(crate) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if raised.is_ok() { limit.maximum } else { limit.current }
}
