//! What the tests of the cache share, and the tests that need more than one of its parts.

pub(super) mod fixture;
