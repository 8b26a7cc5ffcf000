//! Tells what was found: a table, and traces in words.

use std::fmt::{self, Display, Formatter};

use crate::check::{Outcome, Verdict};
use crate::properties::{AFTER_COMPLETE, BOUND, COMPLETE, GRACE, HIT, RECOVERY, REFUSAL};
use crate::runs::Expect;
use crate::trace;

/// The columns for the properties.
const COLUMNS: [(&str, &str); 7] = [
    (AFTER_COMPLETE, "after COMPLETE"),
    (BOUND, "bound"),
    (REFUSAL, "no refusal"),
    (HIT, "hit"),
    (RECOVERY, "recovery"),
    (GRACE, "outage hit"),
    (COMPLETE, "COMPLETE"),
];

/// The table's head.
#[must_use]
pub fn head() -> String {
    let columns = COLUMNS.iter().fold(String::new(), |line, (_, title)| format!("{line} {title:<14}"));
    format!("{:<22}{:>12}{:>11}{:>6}{:>8} {columns} expected", "run", "states", "unique", "depth", "time")
}

/// A row: what was found for each property, and whether all of it was expected.
#[must_use]
pub fn row(outcome: &Outcome) -> String {
    let columns = COLUMNS.iter().fold(String::new(), |line, (property, _)| {
        let verdict = outcome.verdicts.iter().find(|verdict| verdict.property == *property);
        format!("{line} {:<14}", verdict.map_or_else(|| "-".to_owned(), Verdict::to_string))
    });
    let agrees = if outcome.surprises().next().is_none() { "yes" } else { "NO" };
    format!(
        "{:<22}{:>12}{:>11}{:>6}{:>7.1}s {columns} {agrees}",
        outcome.name,
        outcome.states,
        outcome.unique,
        outcome.depth,
        outcome.took.as_secs_f32(),
    )
}

/// What was not expected, with its trace; empty when there is no such thing.
#[must_use]
pub fn surprises(outcome: &Outcome) -> String {
    outcome.surprises().fold(String::new(), |text, verdict| {
        let Outcome { name, shows, .. } = outcome;
        let Verdict { property, expected, .. } = verdict;
        format!("{text}{name} ({shows})\n  \"{property}\": expected {expected:?}, found {verdict}\n{}", traced(verdict))
    })
}

/// A verdict's counterexample or example in words, a step a line.
#[must_use]
pub fn traced(verdict: &Verdict) -> String {
    verdict.found.as_ref().map_or_else(String::new, trace::in_words)
}

// === impl Verdict ===

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.found, self.expected) {
            (Some(trace), Expect::Holds | Expect::Violated) => write!(f, "violated ({})", trace::length(trace)),
            (Some(_), Expect::Reached | Expect::NeverReached) => f.pad("reached"),
            (None, _) if self.undecided => f.pad("not decided"),
            (None, Expect::Holds | Expect::Violated) => f.pad("holds"),
            (None, Expect::Reached | Expect::NeverReached) => f.pad("never"),
        }
    }
}
