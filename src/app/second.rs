//! The second listener, from its setting to its end.

use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Error, door};
use crate::{
    config::Http,
    http,
    transport::{Address, Listener},
};

/// The listener, bound and not served yet.
pub(super) struct Bound {
    listener: Listener,
    address: Address,
    connections: u32,
}

/// The listener while it is served.
pub(super) struct Second {
    address: Address,
    stop: CancellationToken,
    served: TaskTracker,
}

/// Binds it, where there is to be one.
pub(super) async fn bind(settings: &Http) -> Result<Option<Bound>, Error> {
    if settings.listen.is_empty() {
        return Ok(None);
    }
    let listener = door::bind("http.listen", &settings.listen).await?;
    let address = listener.address()?;
    Ok(Some(Bound { listener, address, connections: settings.max_connections }))
}

// === impl Bound ===

impl Bound {
    pub(super) fn start(self, router: axum::Router, background: &mut JoinSet<()>) -> Second {
        let (stop, served) = (CancellationToken::new(), TaskTracker::new());
        let serving = http::serve(self.listener, self.connections, router, stop.clone());
        background.spawn(served.track_future(serving));
        served.close();
        tracing::info!(address = %self.address, "HTTP listening");
        Second { address: self.address, stop, served }
    }
}

// === impl Second ===

impl Second {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Answers what is under way and closes it: the last thing that a drained process does.
    pub(super) async fn close(self) {
        self.stop.cancel();
        self.served.wait().await;
    }
}
