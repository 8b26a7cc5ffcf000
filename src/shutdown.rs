//! The end of the process, in one order: say NOT_SERVING, give load balancers time to
//! notice, stop accepting, let requests finish within a bound.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// SIGTERM and SIGINT, caught from the moment this exists.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// How far the end has come.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Health says NOT_SERVING; requests are still taken.
    pub draining: CancellationToken,
    /// No connection is accepted any more, and open ones are told to go away.
    pub stop: CancellationToken,
}

// === impl Signals ===

impl Signals {
    /// Takes over both signals.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them and names it.
    pub async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

// === impl Shutdown ===

impl Shutdown {
    /// Begins the end: NOT_SERVING now, no new connections after `delay`.
    pub async fn begin(&self, delay: Duration) {
        self.draining.cancel();
        sleep(delay).await;
        self.stop.cancel();
    }
}
