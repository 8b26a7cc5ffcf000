//! What Redis and its client can answer instead of a value, and which of it is a failure.
//!
//! Only what is Redis's or the network's fault counts against the breaker. A value that
//! is not ours, and a write that is refused while reads go on, are answers.

use std::{fmt, time::Duration};

use fred::error::{Error as FredError, ErrorKind};

use crate::cache::breaker::{Fault, Rejected};

/// Why Redis gave no answer that can be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CacheError {
    /// Nothing was sent: the circuit breaker is open.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Nothing was sent: too many commands are under way.
    #[error("too many commands are under way")]
    Busy,
    /// No answer in time; a write may still take effect.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// There is no connection.
    #[error("no connection")]
    Disconnected(#[source] FredError),
    /// Redis answers, but serves nobody or not us: LOADING, CLUSTERDOWN, NOAUTH and the like.
    #[error("Redis is not ready: {0}")]
    Unready(Code),
    /// Redis serves reads and refuses writes: OOM, READONLY, MISCONF, NOREPLICAS.
    #[error("Redis refuses writes: {0}")]
    Refused(Code),
    /// Any other error of the server, WRONGTYPE above all: it concerns this one command.
    #[error("Redis answered {0}")]
    Answered(Code),
}

/// The first word of a Redis error. The rest of the text can hold arguments, and is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code(String);

// === impl CacheError ===

impl CacheError {
    pub(super) fn of(error: FredError, deadline: Duration) -> Self {
        if is_redirect(&error) {
            return Self::Answered(Code("that the slot is on its way to another node".to_owned()));
        }
        match error.kind() {
            ErrorKind::Timeout => Self::Timeout(deadline),
            ErrorKind::Auth | ErrorKind::Cluster | ErrorKind::InvalidArgument | ErrorKind::InvalidCommand => {
                Self::answered(Code::of(&error))
            }
            ErrorKind::Unknown => match Code::server(&error) {
                Some(code) => Self::answered(code),
                None => Self::Disconnected(error),
            },
            ErrorKind::NotFound | ErrorKind::Parse => Self::Answered(Code("of an unexpected type".to_owned())),
            ErrorKind::Backpressure
            | ErrorKind::Canceled
            | ErrorKind::Config
            | ErrorKind::IO
            | ErrorKind::Protocol
            | ErrorKind::Routing
            | ErrorKind::Sentinel
            | ErrorKind::Tls
            | ErrorKind::Url => Self::Disconnected(error),
        }
    }

    fn answered(code: Code) -> Self {
        match code.0.as_str() {
            "OOM" | "READONLY" | "MISCONF" | "NOREPLICAS" => Self::Refused(code),
            "LOADING" | "MASTERDOWN" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK" | "NOAUTH"
            | "WRONGPASS" | "NOPERM" | "NOPROTO" => Self::Unready(code),
            _ => Self::Answered(code),
        }
    }

    /// How it counts against the breaker; `None`: it does not.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Timeout(_) | Self::Disconnected(_) => Some(Fault::Unanswered),
            Self::Unready(_) => Some(Fault::Unready),
            Self::Rejected(_) | Self::Busy | Self::Refused(_) | Self::Answered(_) => None,
        }
    }

    pub(super) fn is(&self, code: &str) -> bool {
        match self {
            Self::Unready(found) | Self::Refused(found) | Self::Answered(found) => found.0 == code,
            Self::Rejected(_) | Self::Busy | Self::Timeout(_) | Self::Disconnected(_) => false,
        }
    }
}

/// Whether a node of a cluster has sent us to another. fred keeps no more of it than that it does not go there.
pub(super) fn is_redirect(error: &FredError) -> bool {
    matches!(error.kind(), ErrorKind::Routing) && error.details() == "Too many redirections."
}

// === impl Code ===

impl Code {
    fn of(error: &FredError) -> Self {
        Self::server(error).unwrap_or_else(|| Self("an error".to_owned()))
    }

    /// The server's code: the first word, when it is in capitals as those are.
    fn server(error: &FredError) -> Option<Self> {
        let word = error.details().split_whitespace().next()?;
        let code = word.len() <= 32 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        code.then(|| Self(word.to_owned()))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_millis(50);

    fn unknown(text: &'static str) -> CacheError {
        CacheError::of(FredError::new(ErrorKind::Unknown, text), DEADLINE)
    }

    #[test]
    fn only_infrastructure_counts_against_the_breaker() {
        let fault = |text| unknown(text).fault();
        assert_eq!(fault("LOADING Redis is loading the dataset in memory"), Some(Fault::Unready));
        assert_eq!(fault("NOPERM this user has no permissions"), Some(Fault::Unready));
        assert_eq!(fault("Failed to route command."), Some(Fault::Unanswered));
        assert_eq!(fault("OOM command not allowed when used memory > 'maxmemory'."), None);
        assert_eq!(fault("READONLY You can't write against a read only replica."), None);
        assert_eq!(fault("MISCONF Redis is configured to save RDB snapshots"), None);
        assert_eq!(fault("NOREPLICAS Not enough good replicas to write."), None);
        assert_eq!(fault("ERR unknown command"), None);
        let wrong = FredError::new(ErrorKind::InvalidArgument, "WRONGTYPE Operation against a key");
        assert_eq!(CacheError::of(wrong, DEADLINE).fault(), None);
        let moved = FredError::new(ErrorKind::Routing, "Too many redirections.");
        assert_eq!(CacheError::of(moved, DEADLINE).fault(), None);
        let lost = FredError::new(ErrorKind::Canceled, "Connection closed unexpectedly.");
        assert_eq!(CacheError::of(lost, DEADLINE).fault(), Some(Fault::Unanswered));
    }

    #[test]
    fn the_text_of_a_server_error_is_not_kept() {
        let shown = format!("{0} {0:?}", unknown("ERR unknown command 'X', with args beginning with: 'secret'"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
