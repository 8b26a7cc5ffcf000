//! `tokenward.v1.CacheService`: decode, one domain call, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    domain::Epochs,
    proto::{self as pb, cache_service_server::CacheService},
};

use super::convert;

/// What replicas remember.
#[derive(Debug)]
pub struct Caches<E> {
    epochs: Arc<E>,
}

// === impl Caches ===

impl<E> Caches<E> {
    /// Flushes by beginning a new one of these epochs.
    pub fn new(epochs: Arc<E>) -> Self {
        Self { epochs }
    }
}

#[tonic::async_trait]
impl<E: Epochs> CacheService for Caches<E> {
    async fn flush_cache(&self, _: Request<pb::FlushCacheRequest>) -> Result<Response<pb::FlushCacheResponse>, Status> {
        let begun = self.epochs.new_epoch().await?;
        Ok(Response::new(pb::FlushCacheResponse {
            propagation: Some(convert::propagation(begun.propagation)),
            revision: begun.position.to_string(),
        }))
    }
}
