//! The table that a run of the matrix prints.

use std::{fmt::Write as _, time::Duration};

use super::judge::{Tally, Verdict};
use crate::harness::stack::On;

/// One line.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) on: On,
    pub(super) tokens: usize,
    /// Ends by call: complete, pending, without an answer.
    pub(super) ends: [usize; 3],
    pub(super) revoked: Spread,
    pub(super) committed: Spread,
    pub(super) detected: Option<Duration>,
    pub(super) cache_back: Option<Duration>,
    pub(super) database_back: Option<Duration>,
    pub(super) sql: Option<usize>,
    /// Accepts after COMPLETE that the bound allows, since Redis lost what it had acknowledged.
    pub(super) allowed: usize,
    pub(super) verdict: Verdict,
}

/// Median, 99th percentile, maximum; of how many.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    p50: Duration,
    p99: Duration,
    max: Duration,
    of: usize,
}

const HEAD: &str = "\
| fault | on | checks | tokens | ended: complete / pending / no answer | call to enforced, ms: p50 / p99 / max (of) \
| commit to enforced, ms: p50 / p99 / max (of) | accepts after COMPLETE (and allowed) | accepts after the bound | wrong refusals \
| other statuses | UNAVAILABLE | no answer | lost after, ms | back after, ms: cache / database | SQL per 1,000 |
| --- | --- | ---: | ---: | --- | --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- | ---: |
";

// === impl Spread ===

impl Spread {
    pub(super) fn of(figures: &mut [Duration]) -> Self {
        figures.sort_unstable();
        let Some(last) = figures.len().checked_sub(1) else { return Self::default() };
        Self { p50: figures[last / 2], p99: figures[last * 99 / 100], max: figures[last], of: figures.len() }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_millis();
        write!(f, "{} / {} / {} ({})", ms(self.p50), ms(self.p99), ms(self.max), self.of)
    }
}

/// The whole table.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    for row in rows {
        writeln!(text, "{}", row.line()).expect("a String takes any text");
    }
    text
}

// === impl Row ===

impl Row {
    fn line(&self) -> String {
        let Verdict { after_promise, after_commit, refusals, broken, unavailable, lost, checks, .. } = &self.verdict;
        let [complete, pending, unanswered] = self.ends;
        let of = |tally: &Tally| format!("{} of {}", tally.violations, tally.of);
        let ms = |time: Option<Duration>| time.map_or("-".to_owned(), |time| time.as_millis().to_string());
        let cells = [
            self.name.clone(),
            format!("{:?}", self.on),
            checks.to_string(),
            self.tokens.to_string(),
            format!("{complete} / {pending} / {unanswered}"),
            self.revoked.to_string(),
            self.committed.to_string(),
            if self.allowed > 0 { format!("{} (+{})", of(after_promise), self.allowed) } else { of(after_promise) },
            of(after_commit),
            of(refusals),
            broken.to_string(),
            unavailable.to_string(),
            lost.to_string(),
            ms(self.detected),
            format!("{} / {}", ms(self.cache_back), ms(self.database_back)),
            self.sql.map_or("-".to_owned(), |count| count.to_string()),
        ];
        format!("| {} |", cells.join(" | "))
    }

    /// What is wrong with it: a violation, or that there was nothing that could have been one.
    pub(super) fn fault(&self) -> Option<String> {
        let verdict = &self.verdict;
        if verdict.violations() > 0 {
            return Some(format!("{} on {:?}: {:#?}", self.name, self.on, verdict.examples));
        }
        let chances = [verdict.after_promise.of, verdict.after_commit.of, verdict.refusals.of];
        let tried = chances.iter().all(|of| *of > 0);
        (!tried).then(|| format!("{} on {:?}: nothing was tried: {chances:?}", self.name, self.on))
    }
}
