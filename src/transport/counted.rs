//! When a call has ended, and how: a unary one with its answer, a stream when its last message is out.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Response};
use hyper::body::{Frame, SizeHint};
use prost::bytes::Bytes;
use tonic::{Code, Status, body::Body};

use crate::metrics::rpc::Call;

/// A stream of answers. One that is dropped before its status was cancelled.
struct Counted {
    body: Body,
    call: Option<Call>,
}

/// Ends the call with its answer, or has a stream's body do so.
pub(super) fn counted(response: Response<Body>, code: Option<Code>, call: Call) -> Response<Body> {
    match code {
        Some(code) => call.end(code.into()),
        None if call.is_stream() => {
            return response.map(|body| Body::new(Counted { body, call: Some(call) }));
        }
        // What is left of it is a message that was made already, and an OK.
        None => call.end(Code::Ok.into()),
    }
    response
}

/// The status, where it is known already: an OK comes after the last message.
pub(super) fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let ended = match &frame {
            Some(Ok(frame)) => frame.trailers_ref().map(|trailers| code(trailers).unwrap_or(Code::Unknown)),
            Some(Err(error)) => Some(error.code()),
            None => Some(Code::Unknown),
        };
        if let Some(code) = ended
            && let Some(call) = self.call.take()
        {
            call.end(code.into());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
