//! What the program logs, in which form: always on standard error.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{EnvFilter, fmt::SubscriberBuilder};

use crate::config::{Log, LogFormat};

/// Tells of each step of each schema change, which `migrate` prints already.
const QUIET: &str = "sea_orm_migration=warn";

/// Records of the audit trail are logged whatever the level is, unless they are switched off by name.
const AUDIT: &str = "tokenward::audit=info";

/// Starts logging as configured; without settings, as `RUST_LOG` says, or not at all.
pub fn start(log: Option<&Log>) {
    match log {
        Some(log) => configured(log),
        None => from_environment(),
    }
}

fn configured(log: &Log) {
    let builder = to_stderr(filter(&log.level));
    match log.format {
        LogFormat::Human => builder.compact().init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
}

fn from_environment() {
    if let Ok(level) = std::env::var(EnvFilter::DEFAULT_ENV) {
        to_stderr(filter(&level)).compact().init();
    }
}

/// What the operator says about a target comes later and so wins.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("{QUIET},{AUDIT},{level}"))
}

fn to_stderr(
    filter: EnvFilter,
) -> SubscriberBuilder<
    tracing_subscriber::fmt::format::DefaultFields,
    tracing_subscriber::fmt::format::Format,
    EnvFilter,
    fn() -> std::io::Stderr,
> {
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr as fn() -> std::io::Stderr).with_ansi(colours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_changes_are_quiet_unless_asked_for() {
        assert!(filter("info").to_string().contains(QUIET));
        let asked = filter("info,sea_orm_migration=debug").to_string();
        assert!(asked.contains("sea_orm_migration=debug") && !asked.contains(QUIET), "{asked}");
    }

    #[test]
    fn audit_records_are_logged_unless_they_are_switched_off_by_name() {
        for level in ["info", "error", "off", "tokenward=warn"] {
            assert!(filter(level).to_string().contains(AUDIT), "{level}");
        }
        assert!(filter("info,tokenward::audit=off").to_string().contains("tokenward::audit=off"));
        assert!(!filter("info,tokenward::audit=off").to_string().contains(AUDIT));
    }
}
