//! The small search of every run: what must hold holds, and each mutant is
//! caught. A failure prints the trace in words.

use tokenward_model::check::check;
use tokenward_model::model::Merging;
use tokenward_model::report;
use tokenward_model::runs::{self, Expect, Run, Size};

/// A test for each run, and a list of their names.
macro_rules! tests {
    ($($test:ident: $run:literal,)*) => {
        const TESTED: &[&str] = &[$($run),*];
        $(
            #[test]
            fn $test() {
                confirm($run);
            }
        )*
    };
}

tests! {
    holds_without_faults: "healthy",
    holds_when_redis_fails_and_the_service_dies: "redis-down",
    holds_when_a_retried_revoke_all_only_waits: "revoke-all-retry",
    keeps_the_bound_when_redis_loses_acknowledged_writes: "lost-writes",
    holds_with_the_worst_redis_and_lease_ack: "adversary",
    holds_when_a_poll_publishes_in_two_steps: "publication",
    holds_with_in_process_facts_and_lease_ack: "in-process",
    holds_while_another_token_is_revoked: "other-revocation",
    holds_for_sql_writers: "sql-writer",
    holds_while_the_journal_is_purged: "purge",
    strict_is_linearizable_with_revoke: "strict",
    strict_is_linearizable_with_sql_writers: "strict-sql",
    holds_in_a_database_outage_with_grace: "grace",
    keeps_the_bound_in_an_outage_with_the_worst_redis: "grace-adversary",
    holds_when_calls_share_a_read: "flight",
    refuses_no_valid_token_when_calls_share_a_read: "flight-sql",
    catches_the_usual_cache: "naive",
    catches_a_put_that_replaces_a_tombstone: "no-put-guard",
    catches_del_instead_of_a_tombstone: "no-tombstone",
    catches_a_tombstone_shorter_than_the_lease: "short-tombstone",
    catches_a_fallback_delete_that_removes_tombstones: "plain-delete",
    catches_complete_without_the_barrier: "no-barrier",
    catches_a_retry_that_answers_at_once: "no-retry",
    catches_in_process_facts_with_cache_ack: "memory-cache-ack",
    catches_stamps_that_are_not_in_commit_order: "insert-order",
    catches_a_purge_without_a_floor: "no-floor",
    catches_a_hit_without_a_lease: "no-lease",
    catches_a_hit_that_reads_the_view_before_the_lease: "view-then-lease",
    catches_a_poll_that_publishes_the_lease_before_the_view: "lease-then-view",
    catches_a_lease_that_counts_from_the_answer: "lease-at-answer",
    catches_a_strict_hit_that_joins_a_poll: "strict-joins-poll",
    catches_a_tombstone_shorter_than_lease_and_grace: "grace-short-tombstone",
    catches_complete_after_the_wait_with_grace: "grace-complete",
    catches_a_call_that_joins_a_read_sent_before_it: "late-join",
    catches_a_valid_token_refused_by_a_joined_read: "late-join-sql",
}

#[test]
fn every_run_has_a_test() {
    let names: Vec<_> = runs::all().iter().map(|run| run.name).collect();
    assert_eq!(names, TESTED);
}

/// Merging may hide nothing: without it, the smallest runs of each kind find the
/// same.
#[test]
fn merging_states_changes_no_verdict() {
    for name in ["strict-sql", "sql-writer", "no-put-guard", "short-tombstone", "grace-short-tombstone", "late-join"] {
        let run = find(name);
        let verdicts = |merging| {
            let outcome = check(&run, Size::Small, merging, 1);
            outcome.verdicts.iter().map(|verdict| verdict.found.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(Merging::On), verdicts(Merging::Off), "{name}");
    }
}

/// A mutant differs from what holds, so the switch that it turns must be seen: the
/// usual cache's trace tells the race by name.
#[test]
fn a_trace_tells_the_race_in_words() {
    let outcome = check(&find("naive"), Size::Small, Merging::On, 1);
    let violated = outcome.verdicts.iter().find(|verdict| verdict.expected == Expect::Violated).unwrap();
    let words = report::traced(violated);
    assert!(words.contains("Revoke: commits"), "{words}");
    assert!(words.contains("a put of the fact stamped 0 arrives"), "{words}");
    assert!(words.contains("takes the second test of its fact: ACCEPTS"), "{words}");
}

fn confirm(name: &str) {
    let outcome = check(&find(name), Size::Small, Merging::On, 1);
    let surprises = report::surprises(&outcome);
    assert!(surprises.is_empty(), "{surprises}");
}

fn find(name: &str) -> Run {
    runs::all().into_iter().find(|run| run.name == name).expect("every name in this file is a run's")
}
