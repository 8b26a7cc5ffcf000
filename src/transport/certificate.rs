//! The certificate that a peer has shown. It proves its names as long as the authorities of now sign it and it has not
//! expired, not only in the handshake: a connection may last for longer than either.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::tls;
use crate::{callers::San, reload::Live};

/// Longest time between two looks at an open connection's certificate; a new authority makes the next call look.
const EVERY: Duration = Duration::from_mins(1);

/// A chain that was good in the handshake.
pub(crate) struct Shown {
    /// Its own certificate first.
    chain: Vec<CertificateDer<'static>>,
    sans: Vec<San>,
    tls: Live<tls::Config>,
    start: Instant,
    /// The configuration that it was last looked at under, and the multiple of [`EVERY`] after `start`.
    looked: AtomicU64,
    lapsed: CancellationToken,
}

// === impl Shown ===

impl Shown {
    /// One that `config` has taken just now, and `tls` may take still.
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        sans: Vec<San>,
        config: &tls::Config,
        tls: Live<tls::Config>,
    ) -> Self {
        let looked = AtomicU64::new(look(config, Duration::ZERO));
        Self { chain, sans, tls, start: Instant::now(), looked, lapsed: CancellationToken::new() }
    }

    /// The names that it proves: none once it has lapsed.
    pub(super) fn proven(&self) -> &[San] {
        if self.is_good() { &self.sans } else { &[] }
    }

    /// The names in it, whether or not it proves them.
    pub(super) fn named(&self) -> &[San] {
        &self.sans
    }

    /// Whether it is good now. Looking costs a signature's verification; between looks it costs two loads.
    pub(super) fn is_good(&self) -> bool {
        let config = self.tls.get();
        let now = look(&config, self.start.elapsed());
        if self.looked.load(Ordering::Relaxed) == now {
            return true;
        }
        let judged = config.verify(&self.chain);
        match &judged {
            Ok(()) => self.looked.store(now, Ordering::Relaxed),
            Err(error) => {
                tracing::debug!(%error, "a certificate is not good any more: its connection is closed");
                self.lapsed.cancel();
            }
        }
        judged.is_ok()
    }

    /// Waits until it was found to be good no longer.
    pub(super) fn lapsed(&self) -> WaitForCancellationFuture<'_> {
        self.lapsed.cancelled()
    }
}

/// A number that changes when there is reason to look again.
fn look(config: &tls::Config, age: Duration) -> u64 {
    config.generation().wrapping_shl(u32::BITS) | (age.as_secs() / EVERY.as_secs())
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("sans", &self.sans).finish_non_exhaustive()
    }
}
