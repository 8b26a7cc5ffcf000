//! Where entries are kept, which several settings decide together.

use super::{CacheBackend, Config};

// === impl Config ===

impl Config {
    /// Whether entries are kept in Redis.
    #[must_use]
    pub fn uses_redis(&self) -> bool {
        match self.cache.backend {
            CacheBackend::Redis => true,
            CacheBackend::Auto => !self.redis.url.is_empty(),
            CacheBackend::Memory | CacheBackend::Off => false,
        }
    }

    /// Whether entries are kept in this process's memory.
    #[must_use]
    pub fn uses_memory(&self) -> bool {
        match self.cache.backend {
            CacheBackend::Memory => true,
            CacheBackend::Auto | CacheBackend::Redis => self.cache.near || !self.uses_redis(),
            CacheBackend::Off => false,
        }
    }
}
