//! The coherence protocol over a store: cache, single flight, circuit breaker.
