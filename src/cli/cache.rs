//! `tokenward cache stats|inspect|flush`.

use clap::{Args, Subcommand};

use super::{
    Ending, Failure, Target, print,
    show::{Block, Format, FormatArgs, bare, instant, json, stretch},
    stdin::{Words, confirm},
    token::record,
    user::propagation,
};
use crate::proto::{self as pb, inspect_cache_request::Target as Inspected};

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
    /// Tell what the replica that answers has counted since its start.
    Stats,
    /// Show what the replica and Redis hold of a token, and whether it would be answered from. Exits 0 if one of them
    /// would answer and 1 if none would.
    Inspect(Inspect),
    /// Have cached facts proved again, after a change that no trigger sees (TRUNCATE in MariaDB, a restored backup).
    Flush {
        /// Only those of this user's tokens.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// Do not ask first.
        #[arg(long)]
        yes: bool,
    },
}

/// What `cache inspect` takes.
#[derive(Args)]
struct Inspect {
    #[command(flatten)]
    words: Words,
    /// The one with this id, instead of the one on standard input.
    #[arg(long, value_name = "TOKEN_ID", conflicts_with = "token")]
    id: Option<String>,
}

// === impl CacheArgs ===

impl CacheArgs {
    pub(super) async fn run(self, target: &Target) -> Result<Ending, Failure> {
        let format = self.format.format();
        match self.verb {
            Verb::Stats => stats(target, format).await,
            Verb::Inspect(inspect) => inspect.run(target, format).await,
            Verb::Flush { user, yes } => {
                // The next check of every token costs the database a query.
                if !yes && user.is_none() {
                    confirm("flush? every token is asked of the database again")?;
                }
                flush(target, user, format).await
            }
        }
    }
}

async fn flush(target: &Target, user: Option<String>, format: Format) -> Result<Ending, Failure> {
    let remote = target.connect().await?;
    let request = pb::FlushCacheRequest { user_id: user.unwrap_or_default() };
    let response = remote.cache().flush_cache(remote.request(request)).await?.into_inner();
    print(&match format {
        Format::Json => json("tokenward.v1.FlushCacheResponse", &response),
        Format::Human => propagation(Block::default().with("flushed", "yes"), response.propagation.as_ref())
            .with("revision", response.revision)
            .to_string(),
    })
}

async fn stats(target: &Target, format: Format) -> Result<Ending, Failure> {
    let remote = target.connect().await?;
    let response = remote.cache().get_cache_stats(remote.request(pb::GetCacheStatsRequest {})).await?.into_inner();
    print(&match format {
        Format::Json => json("tokenward.v1.GetCacheStatsResponse", &response),
        Format::Human => counted(&response).to_string(),
    })
}

fn counted(stats: &pb::GetCacheStatsResponse) -> Block {
    let hits = stats.hits.unwrap_or_default();
    let number = |count: Option<i64>| count.map(|count| count.to_string()).unwrap_or_default();
    Block::default()
        .with("cache", &stats.cache_kind)
        .with("since", instant(stats.start_time.as_ref(), ""))
        .with("hit rate", format!("{:.1} %", stats.hit_rate * 100.0))
        .with("hits", format!("{} redis, {} memory, {} memo", hits.redis, hits.memory, hits.memo))
        .with("misses", stats.misses.to_string())
        .with("facts refuted", stats.facts_refuted.to_string())
        .with("facts unproven", stats.facts_unproven.to_string())
        .with("entries refused", stats.entries_refused.to_string())
        .with("fills tombstoned", stats.fills_tombstoned.to_string())
        .with("tombstones owed", stats.tombstones_owed.to_string())
        .with("memory entries", number(stats.memory_entries))
        .with("memo entries", stats.memo_entries.to_string())
        .with("redis keys", number(stats.redis_keys))
}

// === impl Inspect ===

impl Inspect {
    async fn run(self, target: &Target, format: Format) -> Result<Ending, Failure> {
        let asked = match self.id {
            Some(id) => Inspected::TokenId(id),
            None => Inspected::Token(self.words.read()?.expose().to_owned()),
        };
        let remote = target.connect().await?;
        let request = remote.request(pb::InspectCacheRequest { target: Some(asked) });
        let response = remote.cache().inspect_cache(request).await?.into_inner();
        print(&match format {
            Format::Json => json("tokenward.v1.InspectCacheResponse", &response),
            Format::Human => inspected(&response),
        })?;
        Ok(if response.entries.iter().any(|entry| entry.usable) { Ending::Done } else { Ending::Inactive })
    }
}

fn inspected(response: &pb::InspectCacheResponse) -> String {
    let head = Block::default().with("token_id", &response.token_id).with("journal", &response.revision);
    let entries = response.entries.iter().map(|entry| format!("\n{}", held(entry)));
    std::iter::once(head.to_string()).chain(entries).collect()
}

fn held(entry: &pb::CacheEntry) -> Block {
    let block = Block::default()
        .with("cache", &entry.tier)
        .with("holds", bare(entry.state().as_str_name(), "CACHE_ENTRY_STATE_"))
        .with("answers", if entry.usable { "yes".to_owned() } else { format!("no: {}", entry.cause) })
        .with("position", &entry.revision)
        .with("read", instant(entry.read_time.as_ref(), ""))
        .with("kept for", stretch(entry.remaining.as_ref()));
    if entry.token.is_some() { record(block, entry.token.as_ref()) } else { block }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_why_it_is_not_answered_from() {
        let entry = pb::CacheEntry {
            tier: "redis".to_owned(),
            state: pb::CacheEntryState::Fact.into(),
            cause: "the journal outdates it".to_owned(),
            revision: "0-7".to_owned(),
            ..pb::CacheEntry::default()
        };
        let text = held(&entry).to_string();
        for line in ["holds     FACT", "answers   no: the journal outdates it", "position  0-7"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
