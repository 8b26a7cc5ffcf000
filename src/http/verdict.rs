//! What an operator has to know first: whether the replica does its work, and what keeps it from it.

use std::{cmp::Reverse, time::Duration};

use serde::Serialize;

use crate::{
    proto::{self as pb, CircuitBreakerState},
    transport::health::{DATABASE, REDIS, Readiness},
};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// Everything works.
    Ok,
    /// Answers are right, and a part is missing.
    Degraded,
    /// No requests should come here, or answers may be wrong.
    Down,
}

/// The worst that there is, and all that there is.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) level: Level,
    /// In few words.
    pub(super) headline: String,
    /// In sentences.
    pub(super) reasons: Vec<String>,
}

/// Whether probes let requests come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// They do.
    Serving,
    /// They do not.
    NotServing,
    /// They do not any more: the process ends.
    Draining,
}

/// One thing that is wrong.
struct Finding {
    level: Level,
    headline: &'static str,
    reason: String,
}

// === impl Admission ===

impl Admission {
    pub(super) fn of(readiness: &Readiness) -> Self {
        match (readiness.is_draining(), readiness.is_serving("")) {
            (true, _) => Self::Draining,
            (false, true) => Self::Serving,
            (false, false) => Self::NotServing,
        }
    }
}

/// Judges what `GetStatus` tells.
pub(super) fn judge(status: &pb::GetStatusResponse, admission: Admission) -> Verdict {
    let mut findings: Vec<_> =
        [admitted(admission), recorded(status), database(status), redis(status), lease(status), pending(status)]
            .into_iter()
            .flatten()
            .collect();
    findings.sort_by_key(|finding| Reverse(finding.level));
    let Some(worst) = findings.first() else {
        let reasons = vec!["Every part answers, and nothing is pending.".to_owned()];
        return Verdict { level: Level::Ok, headline: "All is well".to_owned(), reasons };
    };
    let (level, headline) = (worst.level, worst.headline.to_owned());
    Verdict { level, headline, reasons: findings.into_iter().map(|finding| finding.reason).collect() }
}

fn admitted(admission: Admission) -> Option<Finding> {
    let (headline, reason) = match admission {
        Admission::Serving => return None,
        Admission::NotServing => ("Not serving", "Probes say NOT_SERVING, so load balancers send nothing here."),
        Admission::Draining => ("Draining", "The process was told to end, and load balancers send nothing more."),
    };
    Some(Finding { level: Level::Down, headline, reason: reason.to_owned() })
}

/// A change without a record is what the whole protocol rests on not to happen.
fn recorded(status: &pb::GetStatusResponse) -> Option<Finding> {
    let violations = status.coherence.as_ref()?.violations;
    (violations > 0).then(|| Finding {
        level: Level::Down,
        headline: "Tokens end unrecorded",
        reason: format!(
            "Cached answers that the database contradicts, without a record in the journal: {violations} since the start. \
             Run `tokenward config check`, then `tokenward cache flush`."
        ),
    })
}

fn database(status: &pb::GetStatusResponse) -> Option<Finding> {
    let lost = lost(status, DATABASE)?;
    let reason = format!(
        "The database gives no answer: {lost}. Checks are answered from Redis for a while, nothing is issued or revoked."
    );
    Some(Finding { level: Level::Degraded, headline: "The database is lost", reason })
}

fn redis(status: &pb::GetStatusResponse) -> Option<Finding> {
    let (headline, why) = if let Some(lost) = lost(status, REDIS) {
        ("Redis is lost", lost)
    } else {
        let breaker = status.circuit_breaker.as_ref()?;
        match breaker.state() {
            CircuitBreakerState::Open | CircuitBreakerState::HalfOpen => ("The breaker is open", &*breaker.cause),
            CircuitBreakerState::Closed | CircuitBreakerState::Unspecified => return None,
        }
    };
    let reason = format!("Redis is left alone: {why}. The database answers the checks, and revocations take longer.");
    Some(Finding { level: Level::Degraded, headline, reason })
}

fn lease(status: &pb::GetStatusResponse) -> Option<Finding> {
    let coherence = status.coherence.as_ref()?;
    if coherence.strict || coherence.lease_remaining.is_some() || status.cache_kind == "off" {
        return None;
    }
    let why = if coherence.failure.is_empty() { "it was not read in time" } else { &coherence.failure };
    let reason = format!("The journal gives no lease: {why}. Cached answers are not believed.");
    Some(Finding { level: Level::Degraded, headline: "No lease", reason })
}

fn pending(status: &pb::GetStatusResponse) -> Option<Finding> {
    let owed = status.coherence.as_ref()?.tombstones_owed;
    let reason = format!("Tombstones that Redis has not taken yet: {owed}. This replica does not read those entries.");
    (owed > 0).then_some(Finding { level: Level::Degraded, headline: "Invalidations are pending", reason })
}

/// Why a component is lost; `None` when it is not, or there is none.
fn lost<'a>(status: &'a pb::GetStatusResponse, name: &str) -> Option<&'a str> {
    status.components.iter().find(|part| part.name == name && !part.serving).map(|part| part.cause.as_str())
}

/// The whole status as text, for readers without scripts.
pub(super) fn text(status: &pb::GetStatusResponse, verdict: &Verdict) -> String {
    let mut lines =
        vec![format!("version              {}", status.version), format!("replica              {}", status.replica_id)];
    for part in &status.components {
        let state = if part.serving { "serving".to_owned() } else { format!("LOST: {}", part.cause) };
        lines.push(format!("{:<20} {state}", part.name));
    }
    if let Some(breaker) = &status.circuit_breaker {
        let state = breaker.state().as_str_name().trim_start_matches("CIRCUIT_BREAKER_STATE_");
        lines.push(format!("breaker              {state}, opened {} times", breaker.opened_count));
    }
    if let Some(coherence) = &status.coherence {
        lines.push(format!("journal read         {}", span(coherence.lag.as_ref())));
        let lease = if coherence.strict { "strict".to_owned() } else { span(coherence.lease_remaining.as_ref()) };
        lines.push(format!("lease                {lease}"));
        lines.push(format!("pending              {}", coherence.tombstones_owed));
        lines.push(format!("unrecorded changes   {}", coherence.violations));
    }
    lines.push(format!("verdict              {:?}: {}", verdict.level, verdict.headline));
    lines.join("\n")
}

fn span(duration: Option<&prost_types::Duration>) -> String {
    let known = duration.and_then(|duration| Duration::try_from(*duration).ok());
    known.map_or_else(|| "none".to_owned(), |known| format!("{} ms", known.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, cause: &str) -> pb::Component {
        pb::Component { name: name.to_owned(), serving: cause.is_empty(), cause: cause.to_owned(), since_time: None }
    }

    fn well() -> pb::GetStatusResponse {
        pb::GetStatusResponse {
            components: vec![part(DATABASE, ""), part(REDIS, "")],
            circuit_breaker: Some(pb::CircuitBreaker {
                state: CircuitBreakerState::Closed.into(),
                ..Default::default()
            }),
            coherence: Some(pb::Coherence {
                lease_remaining: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn judged(change: impl FnOnce(&mut pb::GetStatusResponse)) -> (Level, String, usize) {
        let mut status = well();
        change(&mut status);
        let verdict = judge(&status, Admission::Serving);
        (verdict.level, verdict.headline, verdict.reasons.len())
    }

    fn coherence(status: &mut pb::GetStatusResponse) -> &mut pb::Coherence {
        status.coherence.as_mut().unwrap()
    }

    #[test]
    fn what_works_is_well() {
        assert_eq!(judged(|_| {}), (Level::Ok, "All is well".to_owned(), 1));
        let strict = |status: &mut pb::GetStatusResponse| {
            (coherence(status).lease_remaining, coherence(status).strict) = (None, true);
        };
        assert_eq!(judged(strict).0, Level::Ok, "there are no leases");
    }

    #[test]
    fn each_loss_has_a_headline_and_its_cause() {
        let lost = |name, headline: &str| {
            let mut status = well();
            status.components.retain(|part| part.name != name);
            status.components.push(part(name, "refused"));
            let verdict = judge(&status, Admission::Serving);
            assert_eq!((verdict.level, verdict.headline.as_str()), (Level::Degraded, headline));
            assert!(verdict.reasons[0].contains("refused"), "{verdict:?}");
        };
        lost(DATABASE, "The database is lost");
        lost(REDIS, "Redis is lost");
        let open = |status: &mut pb::GetStatusResponse| {
            status.circuit_breaker.as_mut().unwrap().state = CircuitBreakerState::HalfOpen.into();
        };
        assert_eq!(judged(open).1, "The breaker is open");
        assert_eq!(judged(|status| coherence(status).lease_remaining = None).1, "No lease");
        assert_eq!(judged(|status| coherence(status).tombstones_owed = 3).1, "Invalidations are pending");
    }

    #[test]
    fn the_worst_comes_first_and_nothing_is_left_out() {
        let both = |status: &mut pb::GetStatusResponse| {
            coherence(status).tombstones_owed = 1;
            coherence(status).violations = 2;
        };
        assert_eq!(judged(both), (Level::Down, "Tokens end unrecorded".to_owned(), 2));
        for (admission, headline) in [(Admission::NotServing, "Not serving"), (Admission::Draining, "Draining")] {
            let verdict = judge(&well(), admission);
            assert_eq!((verdict.level, verdict.headline.as_str()), (Level::Down, headline));
        }
    }

    #[test]
    fn the_text_says_the_same_without_a_script() {
        let mut status = well();
        status.components = vec![part(DATABASE, "refused")];
        let text = text(&status, &judge(&status, Admission::Serving));
        assert!(text.contains("database             LOST: refused"), "{text}");
        assert!(text.contains("lease                1000 ms"), "{text}");
        assert!(text.ends_with("Degraded: The database is lost"), "{text}");
    }
}
