//! `tokenward status`.

use std::time::Duration;

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
    let block = block.with("circuit breaker", status.circuit_breaker.as_ref().map(breaker).unwrap_or_default());
    match &status.coherence {
        Some(known) => coherence(block, known),
        None => block,
    }
}

/// What cached answers may be relied on for.
fn coherence(block: Block, coherence: &pb::Coherence) -> Block {
    let counted = [
        (coherence.facts_refuted, "facts refuted"),
        (coherence.entries_refused, "entries refused"),
        (coherence.reproofs, "proved again"),
        (coherence.violations, "violations"),
        (coherence.tombstones_owed, "tombstones owed"),
    ];
    block
        .with("revision", &coherence.revision)
        .with("journal", journal(coherence))
        .with("lease", lease(coherence))
        .with("counted", counted.map(|(count, what)| format!("{count} {what}")).join(", "))
}

fn journal(coherence: &pb::Coherence) -> String {
    let read = coherence.lag.map_or("not read yet".to_owned(), |lag| format!("read {} ago", time(lag)));
    read + &because(&coherence.failure)
}

fn lease(coherence: &pb::Coherence) -> String {
    if coherence.strict {
        return "strict: each cached answer waits for the journal".to_owned();
    }
    let left = coherence.lease_remaining.map_or("none".to_owned(), |left| format!("{} left", time(left)));
    let [lease, grace] = [coherence.max_staleness, coherence.outage_grace].map(|bound| time(bound.unwrap_or_default()));
    format!("{left} of {lease}, then {grace} of grace")
}

/// To the millisecond.
fn time(time: prost_types::Duration) -> String {
    let time = Duration::try_from(time).unwrap_or_default();
    humantime::format_duration(Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000)).to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lapsed_lease_is_told_with_its_bounds_and_the_reason() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 1_999_999 });
        let known = pb::Coherence {
            revision: "0-7".to_owned(),
            lag: seconds(2),
            max_staleness: seconds(1),
            outage_grace: seconds(30),
            failure: "gone".to_owned(),
            tombstones_owed: 3,
            ..pb::Coherence::default()
        };
        let text = coherence(Block::default(), &known).to_string();
        for line in ["read 2s 1ms ago (gone)", "none of 1s 1ms, then 30s 1ms of grace", "3 tombstones owed"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
