//! Responses.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{
        Answer, CacheStats, Entry, Event, Holds, InactiveReason, Inspected, Outdated, Page, Propagation, Replaced,
        Source, Tier, Timestamp, TokenRecord, TokenState, User,
    },
    proto as pb,
};

use super::page_token;

/// One token's answer.
pub(crate) fn authenticated(answer: Answer) -> pb::AuthenticateResponse {
    let mut response = pb::AuthenticateResponse {
        source: source(answer.source).into(),
        age: Some(duration(answer.age)),
        cacheable_for: answer.reusable_for.map(duration),
        ..pb::AuthenticateResponse::default()
    };
    match answer.verdict {
        Ok(record) => {
            response.active = true;
            // Nobody else has the record of a hit in Redis: its texts are not copied.
            let (token, user) = taken(Arc::unwrap_or_clone(record), TokenState::Active);
            (response.token, response.user) = (Some(token), Some(user));
        }
        Err(reason) => response.inactive_reason = inactive_reason(reason).into(),
    }
    response
}

fn source(source: Source) -> pb::AnswerSource {
    match source {
        Source::TokenFormat => pb::AnswerSource::TokenFormat,
        Source::LocalCache => pb::AnswerSource::LocalCache,
        Source::SharedCache => pb::AnswerSource::SharedCache,
        Source::Database => pb::AnswerSource::Database,
    }
}

fn inactive_reason(reason: InactiveReason) -> pb::InactiveReason {
    match reason {
        InactiveReason::Malformed => pb::InactiveReason::Malformed,
        InactiveReason::Unknown => pb::InactiveReason::Unknown,
        InactiveReason::Expired => pb::InactiveReason::Expired,
        InactiveReason::Revoked => pb::InactiveReason::Revoked,
        InactiveReason::UserDisabled => pb::InactiveReason::UserDisabled,
        InactiveReason::ScopeMissing => pb::InactiveReason::ScopeMissing,
    }
}

/// A token's public record.
pub(crate) fn token(record: &TokenRecord, state: TokenState) -> pb::Token {
    taken(record.clone(), state).0
}

/// A token's public record, and its user.
fn taken(record: TokenRecord, state: TokenState) -> (pb::Token, pb::User) {
    let owner = owner(record.user);
    let token = pb::Token {
        token_id: record.digest.token_id().to_string(),
        user_id: owner.user_id.clone(),
        display_name: record.label.display_name,
        scopes: record.label.scopes,
        metadata: record.label.metadata.into_iter().collect(),
        state: token_state(state).into(),
        create_time: Some(timestamp(record.created)),
        expire_time: record.expiry.map(timestamp),
        last_used_time: record.last_used.map(timestamp),
        revoke_time: record.revoked.map(timestamp),
        hint: record.label.hint,
    };
    (token, owner)
}

fn token_state(state: TokenState) -> pb::TokenState {
    match state {
        TokenState::Active => pb::TokenState::Active,
        TokenState::Expired => pb::TokenState::Expired,
        TokenState::Revoked => pb::TokenState::Revoked,
    }
}

/// A user.
pub(crate) fn user(user: &User) -> pb::User {
    owner(user.clone())
}

fn owner(User { id, active, attributes }: User) -> pb::User {
    pb::User { user_id: id.into(), active, attributes: attributes.into_iter().collect() }
}

/// A page of the listing of `user`'s tokens in `states`.
pub(crate) fn listed(page: &Page, user: &str, states: &[TokenState], now: Timestamp) -> pb::ListTokensResponse {
    pb::ListTokensResponse {
        tokens: page.records.iter().map(|record| token(record, record.state(now))).collect(),
        next_page_token: page.next.map(|cursor| page_token::write(cursor, user, states)).unwrap_or_default(),
    }
}

/// A successor, its secret, and what it replaced.
pub(crate) fn rotated(replaced: &Replaced, now: Timestamp) -> pb::RotateTokenResponse {
    let token = |record: &TokenRecord| token(record, record.state(now));
    pb::RotateTokenResponse {
        secret: replaced.secret.expose().to_owned(),
        token: Some(token(&replaced.successor)),
        superseded: Some(token(&replaced.superseded)),
        propagation: Some(propagation(replaced.revocation.propagation)),
        revision: replaced.revocation.position.to_string(),
    }
}

/// Something that ended, or a heartbeat.
pub(crate) fn event(event: Event) -> pb::WatchRevocationsResponse {
    use pb::watch_revocations_response::Subject;
    pb::WatchRevocationsResponse {
        subject: event.subject.map(|outdated| match outdated {
            Outdated::Token(id) => Subject::TokenId(id.to_string()),
            Outdated::User(id) => Subject::UserId(id.to_string()),
        }),
        revision: event.position.to_string(),
        event_time: Some(timestamp(event.at)),
    }
}

/// What a cache has counted since `start`.
pub(crate) fn cache_stats(stats: &CacheStats, start: Timestamp) -> pb::GetCacheStatsResponse {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    pb::GetCacheStatsResponse {
        cache_kind: stats.kind.to_owned(),
        start_time: Some(timestamp(start)),
        hits: Some(pb::CacheHits {
            memo: count(stats.memo_hits),
            memory: count(stats.memory_hits),
            redis: count(stats.redis_hits),
        }),
        misses: count(stats.misses),
        hit_rate: stats.hit_rate(),
        facts_refuted: count(stats.facts_refuted),
        facts_unproven: count(stats.facts_unproven),
        entries_refused: count(stats.entries_refused),
        fills_tombstoned: count(stats.fills_tombstoned),
        tombstones_owed: count(stats.tombstones_owed),
        memory_entries: stats.memory_entries.map(count),
        memo_entries: count(stats.memo_entries),
        redis_keys: stats.redis_keys.map(count),
    }
}

/// What caches hold of a token.
pub(crate) fn inspection(inspected: &Inspected) -> pb::InspectCacheResponse {
    pb::InspectCacheResponse {
        token_id: inspected.token.to_string(),
        entries: inspected.entries.iter().map(entry).collect(),
        revision: inspected.position.map(|position| position.to_string()).unwrap_or_default(),
    }
}

fn entry(entry: &Entry) -> pb::CacheEntry {
    let tier = match entry.tier {
        Tier::Memo => "memo",
        Tier::Memory => "memory",
        Tier::Redis => "redis",
    };
    let state = match &entry.holds {
        Holds::Nothing => pb::CacheEntryState::Absent,
        Holds::Fact { .. } => pb::CacheEntryState::Fact,
        Holds::Tombstone => pb::CacheEntryState::Tombstone,
        Holds::NotActive => pb::CacheEntryState::NotActive,
        Holds::Refused => pb::CacheEntryState::Refused,
        Holds::Unknown => pb::CacheEntryState::Unreachable,
    };
    let mut shown = pb::CacheEntry {
        tier: tier.to_owned(),
        state: state.into(),
        usable: entry.cause.is_none(),
        cause: entry.cause.clone().unwrap_or_default(),
        remaining: entry.remaining.map(duration),
        ..pb::CacheEntry::default()
    };
    if let Holds::Fact { position, read_at, record } = &entry.holds {
        shown.revision = position.to_string();
        shown.read_time = Some(timestamp(*read_at));
        // Its state at the time of the read: only what was live is kept.
        let (token, user) = taken(TokenRecord::clone(record), record.state(*read_at));
        (shown.token, shown.user) = (Some(token), Some(user));
    }
    shown
}

/// How far a change has spread.
pub(crate) fn propagation(propagation: Propagation) -> pb::Propagation {
    match propagation {
        Propagation::Complete => pb::Propagation { state: pb::PropagationState::Complete.into(), max_staleness: None },
        Propagation::Pending { max_staleness } => pb::Propagation {
            state: pb::PropagationState::Pending.into(),
            max_staleness: Some(duration(max_staleness)),
        },
    }
}

/// A time of day.
pub(crate) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default();
    prost_types::Timestamp { seconds: time.timestamp(), nanos }
}

/// A length of time.
pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}
