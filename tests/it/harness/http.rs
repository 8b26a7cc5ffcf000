//! HTTP/1.0 as on the wire: one request on a connection of its own, and its answer in one piece.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Longest that any answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) code: u16,
    /// The head's lines, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Gets a page of `http://ADDRESS:PORT`; `None` when there is no connection to be had.
pub(crate) async fn try_get(url: &str, path: &str) -> Option<Page> {
    let host = url.trim_start_matches("http://");
    let text = timeout(PATIENCE, exchange(host, path)).await.expect("every request is answered").ok()?;
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a head begins with a status");
    Some(Page { code, head: head.to_lowercase(), body: body.to_owned() })
}

/// Gets a page.
pub(crate) async fn get(url: &str, path: &str) -> Page {
    try_get(url, path).await.expect("the listener accepts")
}

async fn exchange(host: &str, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(host).await?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: {host}\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await?;
    Ok(text)
}
