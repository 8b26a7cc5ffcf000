//! Calls of gRPC on bare HTTP/2, for the calls that are timed.
//!
//! The generator shares its core with Redis, so what it spends on a call is missing elsewhere. A tonic channel
//! passes a call through a queue to another task and back, and boxes its bodies; here the request is made once,
//! its message is framed once, and a call is a stream of h2's. What is on the wire is the same.

use std::{future::poll_fn, io, str::FromStr, time::Duration};

use h2::client::{Builder, SendRequest};
use http::{HeaderMap, HeaderValue, Request, Version, header};
use prost::{
    Message,
    bytes::{BufMut as _, Bytes, BytesMut},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::Error;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Large enough that no answer waits for a window.
const WINDOW: u32 = 1 << 20;
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const OK: i32 = 0;
const UNKNOWN: i32 = 2;

/// Where a server listens, without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// HOST:PORT.
    Tcp(String),
    /// A path.
    Unix(String),
}

/// A method of a service, with all that its requests have in common.
#[derive(Clone, Debug)]
pub(super) struct Method(Request<()>);

/// The sending side of a connection; a clone sends on the same one.
pub(super) type Line = SendRequest<Bytes>;

/// How a call ended that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// OK, with an encoded message.
    Message(Bytes),
    /// Another status code.
    Status(i32),
}

// === impl Address ===

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.trim_start_matches("//").to_owned()));
        }
        let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        if bare.contains('/') || !bare.contains(':') {
            return Err(Error::Address(text.to_owned()));
        }
        Ok(Self::Tcp(bare.to_owned()))
    }
}

impl Address {
    /// As tonic's endpoint takes it.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Tcp(at) => format!("http://{at}"),
            Self::Unix(path) => format!("unix:{path}"),
        }
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> io::Result<Line> {
        let connecting = async {
            match self {
                Self::Tcp(at) => {
                    let stream = TcpStream::connect(at).await?;
                    stream.set_nodelay(true)?;
                    handshake(stream).await
                }
                Self::Unix(path) => handshake(UnixStream::connect(path).await?).await,
            }
        };
        timeout(CONNECT_LIMIT, connecting).await?
    }

    fn authority(&self) -> &str {
        match self {
            Self::Tcp(at) => at,
            Self::Unix(_) => "localhost",
        }
    }
}

async fn handshake<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: T) -> io::Result<Line> {
    let mut builder = Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
    let (line, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Who uses the connection sees its end.
        let _ = connection.await;
    });
    Ok(line)
}

// === impl Method ===

impl Method {
    /// A method by its path, such as `/tokenward.v1.TokenService/Authenticate`.
    pub(super) fn new(at: &Address, path: &str, credential: Option<&HeaderValue>) -> Self {
        let mut request = Request::post(format!("http://{}{path}", at.authority()))
            .version(Version::HTTP_2)
            .header(header::TE, "trailers")
            .header(header::CONTENT_TYPE, "application/grpc")
            .body(())
            .expect("a host and port and a method's path make a URI");
        if let Some(credential) = credential {
            request.headers_mut().insert(header::AUTHORIZATION, credential.clone());
        }
        Self(request)
    }

    /// One call.
    ///
    /// # Errors
    /// When the connection or the stream ended before the answer did.
    pub(super) async fn call(&self, line: &mut Line, message: Bytes) -> Result<Reply, h2::Error> {
        poll_fn(|cx| line.poll_ready(cx)).await?;
        let (answer, mut sender) = line.send_request(self.0.clone(), false)?;
        sender.send_data(message, true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut bytes = Bytes::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            bytes = if bytes.is_empty() { chunk } else { joined(&bytes, &chunk) };
        }
        let trailers = body.trailers().await?;
        let code = trailers.as_ref().and_then(status).or_else(|| status(&head.headers)).unwrap_or(UNKNOWN);
        Ok(match code {
            OK if bytes.len() >= PREFIX => Reply::Message(bytes.slice(PREFIX..)),
            OK => Reply::Status(UNKNOWN),
            code => Reply::Status(code),
        })
    }
}

/// A message as it goes over the wire.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a message is shorter than 4 GiB"));
    message.encode(&mut bytes).expect("there is room for it");
    bytes.freeze()
}

fn joined(first: &[u8], second: &[u8]) -> Bytes {
    [first, second].concat().into()
}

fn status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::AuthenticateRequest;

    #[test]
    fn an_address_is_a_host_and_port_or_a_socket_without_tls() {
        let tcp = |at: &str| Address::Tcp(at.to_owned());
        assert_eq!("http://h:1/".parse::<Address>().unwrap(), tcp("h:1"));
        assert_eq!("[::1]:2".parse::<Address>().unwrap(), tcp("[::1]:2"));
        assert_eq!("unix:/run/t.sock".parse::<Address>().unwrap(), Address::Unix("/run/t.sock".to_owned()));
        assert!("https://h:1".parse::<Address>().is_err());
        assert!("h".parse::<Address>().is_err());
    }

    #[test]
    fn a_message_is_framed_with_its_length() {
        let message = AuthenticateRequest { token: "abc".to_owned(), ..AuthenticateRequest::default() };
        assert_eq!(framed(&message).as_ref(), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'b', b'c']);
    }
}
