//! Why the program ends.

use std::io;

use crate::{cache, config, store, transport::tls};

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached.
    #[error(transparent)]
    Open(#[from] store::OpenError),
    /// The database's schema is not what this version needs, or could not be changed.
    #[error(transparent)]
    Schema(#[from] store::SchemaError),
    /// The database is not as the settings say.
    #[error("the database is not as the settings say:\n{0}")]
    Unfit(String),
    /// The database stopped answering.
    #[error("the database stopped answering while the service started")]
    Prime(#[source] crate::domain::Error),
    /// The cache's settings are wrong.
    #[error(transparent)]
    Cache(#[from] cache::StartError),
    /// There is no key to authenticate cache entries with.
    #[error(transparent)]
    MacKey(#[from] cache::MacKeyError),
    /// The settings of django-rest-knox-redis's Redis are wrong.
    #[error(transparent)]
    KnoxRedis(#[from] crate::knox_redis::StartError),
    /// A pruning was broken off.
    #[error("pruning was broken off; what was deleted stays deleted, run it again")]
    Prune(#[source] crate::domain::Error),
    /// Another process is at it.
    #[error("another process is pruning: try again in a minute")]
    PruneBusy,
    /// An import was broken off.
    #[error("the import was broken off; what was imported stays, run it again")]
    Import(#[source] crate::domain::Error),
    /// The address cannot be listened on.
    #[error("{setting}: cannot listen on {address}")]
    Listen {
        /// The setting that names it.
        setting: &'static str,
        /// As configured.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The callers file, or one that it names, is faulty.
    #[error(transparent)]
    Callers(#[from] config::Faults),
    /// The files for TLS are faulty.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A task that must run as long as the process ended.
    #[error("a background task ended")]
    Background(#[source] tokio::task::JoinError),
    /// Signals or standard output could not be used.
    #[error(transparent)]
    Io(#[from] io::Error),
}
