//! A TCP relay in front of a server's Unix socket, where faults are injected.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};

/// What the network does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing wrong.
    #[default]
    None,
    /// Connections are reset, old and new.
    Refuse,
    /// Connections stay and are made, and not a byte passes.
    Stall,
}

/// A relay; it ends with its value.
pub(crate) struct Relay {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    fault: Fault,
    /// Connections made in an earlier generation are dropped.
    generation: u64,
}

// === impl Relay ===

impl Relay {
    /// Listens on a free port of the loopback interface, in front of `upstream`.
    pub(crate) async fn to(upstream: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (state, states) = watch::channel(State::default());
        let accepting = tokio::spawn(accept(listener, Arc::new(upstream), states));
        Self { address, state, accepting }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what the network does, for connections old and new.
    pub(crate) fn inject(&self, fault: Fault) {
        self.state.send_modify(|state| {
            state.fault = fault;
            state.generation += u64::from(fault == Fault::Refuse);
        });
    }

    /// Drops the connections there are; new ones can be made.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, upstream: Arc<PathBuf>, states: watch::Receiver<State>) {
    while let Ok((downstream, _)) = listener.accept().await {
        let (upstream, states) = (Arc::clone(&upstream), states.clone());
        tokio::spawn(async move {
            // However a connection ended, the client sees a reset, as from a dead server.
            let _ = downstream.set_zero_linger();
            let _ = connection(downstream, &upstream, states).await;
        });
    }
}

async fn connection(
    mut downstream: TcpStream,
    upstream: &PathBuf,
    mut states: watch::Receiver<State>,
) -> io::Result<()> {
    let born = *states.borrow_and_update();
    if born.fault == Fault::Refuse {
        return Ok(());
    }
    downstream.set_nodelay(true)?;
    let (pump, pumped) = (states.clone(), states.clone());
    let relayed = async {
        // A connection to a hung server is made; only what is sent on it stays without an answer.
        let (mut from_upstream, mut to_upstream) = UnixStream::connect(upstream).await?.into_split();
        // Not `into_split`, whose write half says goodbye before the reset.
        let (mut from_client, mut to_client) = downstream.split();
        tokio::select! {
            ended = forward(&mut from_client, &mut to_upstream, pump) => ended,
            ended = forward(&mut from_upstream, &mut to_client, pumped) => ended,
        }
    };
    tokio::select! {
        // First, so that not a byte passes once the connection is dropped.
        biased;
        _ = states.wait_for(|state| state.generation != born.generation) => Ok(()),
        ended = relayed => ended,
    }
}

async fn forward(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut states: watch::Receiver<State>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        // The end of a stream does not pass a stalled network either.
        let flowing = states.wait_for(|state| state.fault != Fault::Stall).await.is_ok();
        if count == 0 || !flowing {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
    }
}
