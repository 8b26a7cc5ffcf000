//! How a verb ends, and what it says when it fails.

use std::{
    error::Error,
    io::{self, Write as _},
    iter::successors,
    process::ExitCode,
};

use tonic::{Status, TimeoutExpired};
use tonic_types::StatusExt as _;

use super::show::printable;
use crate::{app, bench, config::Faults, proto};

/// The exit code of a command line that cannot be understood.
pub(super) const USAGE: u8 = 2;

const LOCAL: u8 = 1;
const RPC: u8 = 3;

/// An outcome that is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    /// The token is not active.
    Inactive,
    /// The service does not serve.
    NotServing,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("nothing was done")]
    Declined,
    #[error("cannot read from standard input")]
    Input(#[source] io::Error),
    #[error("cannot connect to {address}")]
    Unreachable {
        address: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("{}", describe(.0))]
    Rpc(Box<Status>),
    #[error("DEADLINE_EXCEEDED: no answer within the time of --timeout")]
    Timeout,
    #[error(transparent)]
    Config(#[from] Faults),
    #[error(transparent)]
    App(#[from] app::Error),
    #[error(transparent)]
    Bench(#[from] bench::Error),
    #[error("{0}")]
    Threshold(String),
    #[error("cannot write {file}")]
    Write {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

/// The exit code of every verb but `health`.
pub(super) fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::Usage(_) | Failure::Input(_) => USAGE,
        Failure::Unreachable { .. }
        | Failure::Rpc(_)
        | Failure::Timeout
        | Failure::Bench(bench::Error::Connect { .. } | bench::Error::Call(_)) => RPC,
        Failure::Bench(_)
        | Failure::Threshold(_)
        | Failure::Write { .. }
        | Failure::Declined
        | Failure::Config(_)
        | Failure::App(_)
        | Failure::Output(_)
        | Failure::Runtime(_) => LOCAL,
    }
}

// === impl Ending ===

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::SUCCESS,
            Ending::Inactive => Self::from(1),
            Ending::NotServing => Self::from(4),
        }
    }
}

// === impl Failure ===

impl Failure {
    /// Says on standard error what went wrong, and gives the exit code.
    pub(super) fn report(&self, code: fn(&Self) -> u8) -> ExitCode {
        // `tokenward token list | head -1` is no failure worth a word.
        if !self.is_broken_pipe() {
            // Nobody is left to tell when this fails.
            let _ = writeln!(io::stderr().lock(), "error: {}", chain(self));
        }
        ExitCode::from(code(self))
    }

    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<Status> for Failure {
    /// tonic reports its own timeout as `CANCELLED`, which gRPC keeps for the caller's change of mind.
    fn from(status: Status) -> Self {
        let mut causes = successors(status.source(), |&error| error.source());
        if causes.any(<dyn Error + 'static>::is::<TimeoutExpired>) {
            Self::Timeout
        } else {
            Self::Rpc(Box::new(status))
        }
    }
}

/// An error and all its sources; many repeat their source, which is said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// A status and its details, for people.
fn describe(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| format!("reason: {}", printable(&info.reason)));
    let violations = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
    let violations = violations.map(|of| format!("{}: {}", printable(&of.field), printable(&of.description)));
    let delay = details.retry_info().and_then(|retry| retry.retry_delay);
    let delay = delay.map(|delay| format!("retry after {}", humantime::format_duration(delay)));
    let first = format!("{}: {}", proto::code::name(status.code()), printable(status.message()));
    [first].into_iter().chain(reason).chain(violations).chain(delay).collect::<Vec<_>>().join("\n  ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_status_is_told_with_its_reason_its_fields_and_its_delay() {
        let mut details = ErrorDetails::with_error_info("INVALID_REQUEST", "tokenward.v1", []);
        details.add_bad_request_violation("ttl", "must be more than zero");
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::InvalidArgument, "bad\u{1b}[2J", details);
        assert_eq!(
            chain(&Failure::from(status)),
            "INVALID_ARGUMENT: bad\\u{1b}[2J\n  reason: INVALID_REQUEST\n  ttl: must be more than zero\n  retry after 1s 500ms"
        );
    }

    #[test]
    fn a_source_is_said_once() {
        let failure = Failure::Runtime(io::Error::other("no threads"));
        assert_eq!(chain(&failure), "cannot start the runtime: no threads");
        assert_eq!(chain(&Failure::Output(io::Error::other("standard output"))), "cannot write to standard output");
    }
}
