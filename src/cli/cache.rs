//! `tokenward cache flush`.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use clap::{Args, Subcommand};

use super::{
    Ending, Failure, Target, print,
    show::{Block, Format, FormatArgs, json},
    user::propagation,
};
use crate::proto as pb;

/// What `cache` takes.
#[derive(Args)]
pub(super) struct CacheArgs {
    #[command(flatten)]
    format: FormatArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Have every cached fact proved again, after a change that no trigger sees (TRUNCATE in MariaDB, a restored backup).
    Flush {
        /// Do not ask first.
        #[arg(long)]
        yes: bool,
    },
}

// === impl CacheArgs ===

impl CacheArgs {
    pub(super) async fn run(self, target: &Target) -> Result<Ending, Failure> {
        match self.verb {
            Verb::Flush { yes } => {
                if !yes && io::stdin().is_terminal() {
                    confirm(io::stdin().lock())?;
                }
                flush(target, self.format.format()).await
            }
        }
    }
}

async fn flush(target: &Target, format: Format) -> Result<Ending, Failure> {
    let remote = target.connect().await?;
    let response = remote.cache().flush_cache(remote.request(pb::FlushCacheRequest {})).await?.into_inner();
    print(&match format {
        Format::Json => json("tokenward.v1.FlushCacheResponse", &response),
        Format::Human => propagation(Block::default().with("flushed", "yes"), response.propagation.as_ref())
            .with("revision", response.revision)
            .to_string(),
    })
}

/// Asks, since the next check of every token costs the database a query.
fn confirm(mut answers: impl BufRead) -> Result<(), Failure> {
    write!(io::stderr().lock(), "flush? every token is asked of the database again [y/N] ").map_err(Failure::Output)?;
    let mut answer = String::new();
    answers.read_line(&mut answer).map_err(Failure::Input)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Declined),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_flushes() {
        for (answer, flushes) in [("y\n", true), ("YES\r\n", true), ("\n", false), ("", false), ("no\n", false)] {
            assert_eq!(confirm(answer.as_bytes()).is_ok(), flushes, "{answer:?}");
        }
    }
}
