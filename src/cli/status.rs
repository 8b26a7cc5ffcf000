//! `tokenward status`.

use clap::Args;

use super::{
    Ending, Failure, Target, print,
    show::{Block, Format, FormatArgs, bare, instant, json},
};
use crate::proto as pb;

/// What `status` takes.
#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    format: FormatArgs,
}

// === impl Status ===

impl Status {
    pub(super) async fn run(self, target: &Target) -> Result<Ending, Failure> {
        let remote = target.connect().await?;
        let response = remote.status().get_status(remote.request(pb::GetStatusRequest {})).await?.into_inner();
        print(&match self.format.format() {
            Format::Human => human(&response).to_string(),
            Format::Json => json("tokenward.v1.GetStatusResponse", &response),
        })
    }
}

fn human(status: &pb::GetStatusResponse) -> Block {
    let block = Block::default()
        .with("version", &status.version)
        .with("replica_id", &status.replica_id)
        .with("started", instant(status.start_time.as_ref(), ""))
        .with("insecure", if status.insecure { "yes: callers are not authenticated" } else { "no" })
        .with("database", &status.database_kind)
        .with("cache", &status.cache_kind);
    let block = status.components.iter().fold(block, |block, part| block.with("component", component(part)));
    block.with("circuit breaker", status.circuit_breaker.as_ref().map(breaker).unwrap_or_default())
}

fn component(part: &pb::Component) -> String {
    let state = if part.serving { "serving" } else { "not serving" };
    format!("{} {state}{}{}", part.name, since(part.since_time.as_ref()), because(&part.cause))
}

fn breaker(breaker: &pb::CircuitBreaker) -> String {
    format!(
        "{}{}{}; opened {} times since the start",
        bare(breaker.state().as_str_name(), "CIRCUIT_BREAKER_STATE_"),
        since(breaker.transition_time.as_ref()),
        because(&breaker.cause),
        breaker.opened_count,
    )
}

fn since(time: Option<&prost_types::Timestamp>) -> String {
    time.map(|time| format!(" since {time}")).unwrap_or_default()
}

fn because(cause: &str) -> String {
    if cause.is_empty() { String::new() } else { format!(" ({cause})") }
}
