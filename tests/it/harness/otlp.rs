//! A collector: takes traces over OTLP/gRPC and keeps them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use prost::Message;
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A collector that lives as long as this does.
pub(crate) struct Collector {
    address: SocketAddr,
    taken: Taken,
    serving: AbortHandle,
}

#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

// === impl Collector ===

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let taken = Taken::default();
        let service = tonic::transport::Server::builder().add_service(TraceServiceServer::new(taken.clone()));
        let serving = tokio::spawn(service.serve_with_incoming(TcpListenerStream::new(listener))).abort_handle();
        Self { address, taken, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that were taken so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.taken.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let resources = requests.into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// Everything that was taken, as it came.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let requests = self.taken.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().flat_map(Message::encode_to_vec).collect()
    }

    /// Everything that was taken, as text.
    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.taken.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
