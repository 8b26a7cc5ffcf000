//! `tokenward.v1.CacheService`: decode, one domain call, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    domain::{Epochs, Hashing, Inspection, Timestamp},
    proto::{self as pb, cache_service_server::CacheService},
};

use super::{convert, record};

/// What replicas remember.
#[derive(Debug)]
pub struct Caches<E> {
    held: Arc<E>,
    hashing: Hashing,
    start: Timestamp,
}

// === impl Caches ===

impl<E> Caches<E> {
    /// Shows and flushes these caches, which were made at `start`.
    pub fn new(held: Arc<E>, hashing: Hashing, start: Timestamp) -> Self {
        Self { held, hashing, start }
    }
}

#[tonic::async_trait]
impl<E: Epochs + Inspection> CacheService for Caches<E> {
    async fn flush_cache(
        &self,
        request: Request<pb::FlushCacheRequest>,
    ) -> Result<Response<pb::FlushCacheResponse>, Status> {
        let subject = record::subject(&request);
        let (position, propagation) = match convert::flushed_user(&request.into_inner().user_id)? {
            None => {
                let begun = self.held.new_epoch().await?;
                (begun.position, begun.propagation)
            }
            Some(user) => {
                subject.user(&user);
                let outdated = self.held.outdate(user).await?;
                (outdated.position, outdated.propagation)
            }
        };
        Ok(Response::new(pb::FlushCacheResponse {
            propagation: Some(convert::propagation(propagation)),
            revision: position.to_string(),
        }))
    }

    async fn get_cache_stats(
        &self,
        _: Request<pb::GetCacheStatsRequest>,
    ) -> Result<Response<pb::GetCacheStatsResponse>, Status> {
        Ok(Response::new(convert::cache_stats(&self.held.stats().await, self.start)))
    }

    async fn inspect_cache(
        &self,
        request: Request<pb::InspectCacheRequest>,
    ) -> Result<Response<pb::InspectCacheResponse>, Status> {
        let target = convert::inspected(request.into_inner().target, self.hashing)?;
        Ok(Response::new(convert::inspection(&self.held.inspect(target).await?)))
    }
}
