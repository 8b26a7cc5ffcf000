//! What came of the calls: counts, latencies, and how they lie in time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tonic::Code;

use crate::proto::code;

/// Time that one slice of the time line covers.
pub(super) const SLICE: Duration = Duration::from_millis(100);
/// The longest latency that is told from longer ones: a minute, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// What a call was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// A token that has been asked about before.
    Known,
    /// A token that nobody has asked about yet.
    Fresh,
    /// Several known tokens.
    Batch,
    /// A token that was never issued.
    Unknown,
    /// The end of a token.
    Revoke,
    /// A token whose end has been answered with OK.
    Ended,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Right answers, this many.
    Right(u64),
    /// Answers of which at least one is wrong.
    Wrong,
    /// A status other than OK.
    Status(&'static str),
    /// No answer: the connection ended.
    Lost,
}

/// Everything that is noted while a run is measured.
#[derive(Debug)]
pub(super) struct Tally {
    began: Instant,
    /// By kind.
    pub(super) kinds: BTreeMap<Kind, Calls>,
    /// Answers that are wrong.
    pub(super) wrong: u64,
    /// Calls without an answer, by status.
    pub(super) failures: BTreeMap<&'static str, u64>,
    /// Those of them that were about tokens which were never issued: a bound on such calls is no failure.
    pub(super) refused: u64,
    /// Answers by where they came from, as `AnswerSource` numbers it.
    pub(super) sources: [u64; 5],
    /// Right answers in each slice of time.
    pub(super) slices: Vec<u64>,
    /// The longest call, whatever came of it.
    pub(super) longest: Duration,
    /// The longest time without a right answer.
    pub(super) gap: Duration,
    last: Instant,
}

/// Calls of one kind that were answered rightly.
#[derive(Debug)]
pub(super) struct Calls {
    /// Tokens that answers were about.
    pub(super) checks: u64,
    /// Nanoseconds a call.
    pub(super) latency: Histogram<u64>,
}

/// A call that nobody answered, a connection that ended, and a revocation that is not everywhere yet.
const UNANSWERED: &str = "UNANSWERED";
const LOST: &str = "LOST";
pub(super) const PENDING: &str = "PENDING";

/// Whether a failed call can have this status.
pub(super) fn is_failure(status: &str) -> bool {
    let codes = (1..=16).map(|number| code::name(Code::from_i32(number)));
    codes.chain([UNANSWERED, LOST, PENDING]).any(|name| name == status)
}

// === impl Kind ===

impl Kind {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Fresh => "fresh",
            Self::Batch => "batch",
            Self::Unknown => "unknown",
            Self::Revoke => "revoke",
            Self::Ended => "ended",
        }
    }

    /// Whether it is counted as checks of tokens that users hold.
    pub(super) fn is_check(self) -> bool {
        match self {
            Self::Known | Self::Fresh | Self::Batch | Self::Ended => true,
            Self::Unknown | Self::Revoke => false,
        }
    }
}

// === impl Tally ===

impl Tally {
    /// Nothing, from now on.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            kinds: BTreeMap::new(),
            wrong: 0,
            failures: BTreeMap::new(),
            refused: 0,
            sources: [0; 5],
            slices: Vec::new(),
            longest: Duration::ZERO,
            gap: Duration::ZERO,
            last: now,
        }
    }

    /// Notes a call that ended `now` after `took`.
    pub(super) fn note(&mut self, kind: Kind, outcome: Outcome, took: Duration, now: Instant) {
        self.longest = self.longest.max(took);
        match outcome {
            Outcome::Right(checks) => {
                self.kinds.entry(kind).or_insert_with(Calls::new).note(checks, took);
                if kind.is_check() {
                    self.slice(checks, now);
                }
            }
            Outcome::Wrong => self.wrong += 1,
            Outcome::Status(_) if kind == Kind::Unknown => self.refused += 1,
            Outcome::Status(name) => *self.failures.entry(name).or_default() += 1,
            Outcome::Lost => *self.failures.entry(LOST).or_default() += 1,
        }
    }

    /// Ends it `now`, with calls under way that began at these times: nothing has answered since the last right answer.
    pub(super) fn end(&mut self, open: impl Iterator<Item = Instant>, now: Instant) {
        self.gap = self.gap.max(now.saturating_duration_since(self.last));
        let oldest = open.map(|start| now.saturating_duration_since(start)).max();
        self.longest = self.longest.max(oldest.unwrap_or_default());
    }

    /// Notes a call that was waited for so long, and in vain.
    pub(super) fn unanswered(&mut self, age: Duration) {
        self.longest = self.longest.max(age);
        *self.failures.entry(UNANSWERED).or_default() += 1;
    }

    /// Takes over what came of calls that were under way at the end; they are no part of its rates and percentiles.
    pub(super) fn trailed_by(&mut self, rest: &Self) {
        self.wrong += rest.wrong;
        self.longest = self.longest.max(rest.longest);
        for (name, count) in &rest.failures {
            *self.failures.entry(name).or_default() += count;
        }
    }

    /// Notes where an answer came from.
    pub(super) fn came_from(&mut self, source: i32) {
        let source = usize::try_from(source).ok().filter(|source| *source < self.sources.len());
        self.sources[source.unwrap_or_default()] += 1;
    }

    /// Time since its beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Checks of tokens that users hold, and the latencies of their calls.
    pub(super) fn checks(&self) -> Calls {
        let mut all = Calls::new();
        for (_, calls) in self.kinds.iter().filter(|(kind, _)| kind.is_check()) {
            all.checks += calls.checks;
            all.latency.add(&calls.latency).expect("all have the same bounds");
        }
        all
    }

    fn slice(&mut self, checks: u64, now: Instant) {
        let at = now.saturating_duration_since(self.began).as_nanos() / SLICE.as_nanos();
        let at = usize::try_from(at).expect("a run has fewer slices than memory has bytes");
        if self.slices.len() <= at {
            self.slices.resize(at + 1, 0);
        }
        self.slices[at] += checks;
        self.gap = self.gap.max(now.saturating_duration_since(self.last));
        self.last = now;
    }
}

// === impl Calls ===

impl Calls {
    fn new() -> Self {
        let latency = Histogram::new_with_bounds(1_000, LONGEST, 3).expect("the bounds are in order");
        Self { checks: 0, latency }
    }

    fn note(&mut self, checks: u64, took: Duration) {
        self.checks += checks;
        self.latency.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_right_answers() {
        let mut tally = Tally::new();
        let began = tally.began;
        let at = |millis| began + Duration::from_millis(millis);
        let notes = [
            (at(10), Outcome::Right(1)),
            (at(20), Outcome::Right(1)),
            (at(200), Outcome::Status("UNAVAILABLE")),
            (at(320), Outcome::Right(2)),
            (at(330), Outcome::Wrong),
        ];
        for (now, outcome) in notes {
            tally.note(Kind::Known, outcome, Duration::from_millis(2), now);
        }
        assert_eq!(tally.gap, Duration::from_millis(300));
        assert_eq!(tally.slices, [2, 0, 0, 2]);
        assert_eq!((tally.checks().checks, tally.wrong), (4, 1));
        assert_eq!(tally.failures, BTreeMap::from([("UNAVAILABLE", 1)]));
        // A service that answers no more leaves a gap to the end, and calls that are as old as it.
        let open = [at(325), at(340)];
        tally.end(open.into_iter(), at(1_000));
        assert_eq!((tally.gap, tally.longest), (Duration::from_millis(680), Duration::from_millis(675)));
    }

    #[test]
    fn calls_that_nobody_answers_have_failed() {
        let (mut tally, mut rest) = (Tally::new(), Tally::new());
        let now = rest.began;
        rest.note(Kind::Known, Outcome::Wrong, Duration::from_secs(1), now);
        rest.note(Kind::Known, Outcome::Right(1), Duration::from_secs(2), now);
        rest.unanswered(Duration::from_secs(10));
        tally.trailed_by(&rest);
        assert_eq!((tally.wrong, tally.longest, tally.checks().checks), (1, Duration::from_secs(10), 0));
        assert_eq!(tally.failures, BTreeMap::from([("UNANSWERED", 1)]));
    }

    #[test]
    fn floods_and_revocations_are_no_checks() {
        let mut tally = Tally::new();
        let now = tally.began;
        for kind in [Kind::Unknown, Kind::Revoke, Kind::Ended] {
            tally.note(kind, Outcome::Right(1), Duration::from_millis(1), now);
        }
        assert_eq!(tally.checks().checks, 1);
    }
}
