//! Calls that no generated client would make: any bytes, any header, and the server's
//! own words back, since no client stack is there to have a deadline of its own.

use std::time::Duration;

use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, Request, Response};
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Status};

/// Longest that any call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A call of one method, as its parts go on the wire.
pub(crate) struct Call<'a> {
    method: &'a str,
    message: Vec<u8>,
    headers: Vec<(&'a str, &'a str)>,
}

// === impl Call ===

impl<'a> Call<'a> {
    /// A call of `/package.Service/Method` with these bytes as its message.
    pub(crate) fn new(method: &'a str, message: impl Into<Vec<u8>>) -> Self {
        Self { method, message: message.into(), headers: Vec::new() }
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Makes the call on a connection of its own, and gives the status that it ended with.
    pub(crate) async fn send(self, url: &str) -> Status {
        timeout(PATIENCE, self.exchange(url)).await.expect("every call is answered").expect("HTTP/2 holds")
    }

    async fn exchange(self, url: &str) -> Result<Status, h2::Error> {
        let (client, connection) = h2::client::handshake(socket(url).await).await?;
        tokio::spawn(connection);
        self.send_on(&client, url).await
    }

    /// Makes the call on a connection that there is, and gives the status that it ended with.
    pub(crate) async fn send_on(self, client: &SendRequest<Bytes>, url: &str) -> Result<Status, h2::Error> {
        let response = self.request(client.clone().ready().await?, url)?.await?;
        status(response).await
    }

    /// Sends the call and leaves its answer alone.
    pub(crate) fn request(
        &self,
        mut client: SendRequest<Bytes>,
        url: &str,
    ) -> Result<h2::client::ResponseFuture, h2::Error> {
        let mut request = Request::post(format!("{url}{}", self.method)).header("te", "trailers");
        request = request.header("content-type", "application/grpc");
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a test's headers are well-formed");
        let (response, mut body) = client.send_request(request, false)?;
        // A server that has answered already takes no body.
        let _ = body.send_data(framed(&self.message), true);
        Ok(response)
    }
}

/// A connection to the service, without a byte on it.
pub(crate) async fn socket(url: &str) -> TcpStream {
    let address = url.strip_prefix("http://").expect("the service prints an http URL");
    TcpStream::connect(address).await.expect("the service accepts")
}

/// A gRPC message: not compressed, its length, itself.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a test's message is small"));
    frame.put_slice(message);
    frame.freeze()
}

/// The status in the headers of a response without a body, else in its trailers.
pub(crate) async fn status(response: Response<RecvStream>) -> Result<Status, h2::Error> {
    assert_eq!(response.status(), 200, "gRPC answers 200, whatever it says");
    if let Some(status) = Status::from_header_map(response.headers()) {
        return Ok(status);
    }
    let mut body = response.into_body();
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk?.len())?;
    }
    let trailers: HeaderMap = body.trailers().await?.unwrap_or_default();
    let status = Status::from_header_map(&trailers).expect("a call ends with a status");
    assert_eq!(status.code() == Code::Ok, status.details().is_empty(), "{status:?}");
    Ok(status)
}
