//! A TCP relay in front of a server's Unix socket, where faults are injected.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};

mod fills;

pub(crate) use self::fills::Fills;
use self::fills::{Held, Sieve, deliver};

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
    held: Held,
    accepting: JoinHandle<()>,
}

/// Which protocol passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    /// Bytes are bytes.
    Anything,
    /// Redis's, in which commands can be told apart.
    Resp,
}

#[derive(Clone)]
struct State {
    upstream: Arc<Path>,
    speaks: Speaks,
    fault: Fault,
    fills: Fills,
    /// Connections made in an earlier generation are dropped.
    generation: u64,
}

// === impl Relay ===

impl Relay {
    /// Listens on a free port of the loopback interface, in front of `upstream`.
    pub(crate) async fn to(upstream: PathBuf) -> Self {
        Self::between(upstream, Speaks::Anything).await
    }

    /// The same in front of Redis, where fills can be held back.
    pub(crate) async fn to_redis(upstream: PathBuf) -> Self {
        Self::between(upstream, Speaks::Resp).await
    }

    async fn between(upstream: PathBuf, speaks: Speaks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let first = State { upstream: upstream.into(), speaks, fault: Fault::None, fills: Fills::Pass, generation: 0 };
        let (state, states) = watch::channel(first);
        let held = Held::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&held), states));
        Self { address, state, held, accepting }
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

    /// Changes what becomes of fills, in front of Redis.
    pub(crate) fn fills(&self, fills: Fills) {
        self.state.send_modify(|state| state.fills = fills);
    }

    /// How many fills are kept.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().expect("nobody panics with it").len()
    }

    /// Lets the fills that are kept reach Redis, and waits until they have.
    pub(crate) async fn let_go(&self) {
        let upstream = Arc::clone(&self.state.borrow().upstream);
        let held = std::mem::take(&mut *self.held.lock().expect("nobody panics with it"));
        for fill in held {
            deliver(&fill, &upstream).await;
        }
    }

    /// Leads to another server from now on; the connections there are are dropped.
    pub(crate) fn lead_to(&self, upstream: PathBuf) {
        self.state.send_modify(|state| {
            state.upstream = upstream.into();
            state.generation += 1;
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

async fn accept(listener: TcpListener, held: Held, states: watch::Receiver<State>) {
    while let Ok((downstream, _)) = listener.accept().await {
        let (held, states) = (Arc::clone(&held), states.clone());
        tokio::spawn(async move {
            // However a connection ended, the client sees a reset, as from a dead server.
            let _ = downstream.set_zero_linger();
            let _ = connection(downstream, held, states).await;
        });
    }
}

async fn connection(mut downstream: TcpStream, held: Held, mut states: watch::Receiver<State>) -> io::Result<()> {
    let born = states.borrow_and_update().clone();
    if born.fault == Fault::Refuse {
        return Ok(());
    }
    downstream.set_nodelay(true)?;
    let (pump, pumped) = (states.clone(), states.clone());
    let mut sieve = Sieve::default();
    let sift = |bytes: &[u8], state: &State| match state.speaks {
        Speaks::Anything => bytes.to_vec(),
        Speaks::Resp => sieve.sift(bytes, state.fills, &held, &state.upstream),
    };
    let pass = |bytes: &[u8], _: &State| bytes.to_vec();
    let relayed = async {
        // A connection to a hung server is made; only what is sent on it stays without an answer.
        let (mut from_upstream, mut to_upstream) = UnixStream::connect(&born.upstream).await?.into_split();
        // Not `into_split`, whose write half says goodbye before the reset.
        let (mut from_client, mut to_client) = downstream.split();
        tokio::select! {
            ended = forward(&mut from_client, &mut to_upstream, pump, sift) => ended,
            ended = forward(&mut from_upstream, &mut to_client, pumped, pass) => ended,
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
    mut sift: impl FnMut(&[u8], &State) -> Vec<u8>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        // The end of a stream does not pass a stalled network either.
        let flowing = states.wait_for(|state| state.fault != Fault::Stall).await.is_ok();
        if count == 0 || !flowing {
            return Ok(());
        }
        let passing = {
            let state = states.borrow();
            sift(&buffer[..count], &state)
        };
        to.write_all(&passing).await?;
    }
}
