//! The interval test: what no history of a coherent service has.

use std::time::{Duration, Instant};

use super::history::{Answer, Change, Check, Holds, State};

/// How long after a change an accept may still begin.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// After the service promised: zero, but where Redis loses what it acknowledged.
    pub(super) promise: Duration,
    /// After another program's commit, by replica.
    pub(super) commit: Vec<Duration>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// Accepts that began after the service had said that there would be none.
    pub(super) after_promise: Tally,
    /// Accepts that began later after another program's commit than the bound.
    pub(super) after_commit: Tally,
    /// Refusals while the token was valid from beginning to end.
    pub(super) refusals: Tally,
    /// Statuses that no fault excuses.
    pub(super) broken: usize,
    /// The service said that it could not tell.
    pub(super) unavailable: usize,
    /// No answer at all.
    pub(super) lost: usize,
    /// All checks.
    pub(super) checks: usize,
    /// The first few violations in words.
    pub(super) examples: Vec<String>,
}

/// How many violations, of how many answers that could have been one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) violations: usize,
    pub(super) of: usize,
}

/// What a check had to answer, if it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    RefuseAsPromised,
    RefuseAsCommitted,
    Accept,
    Either,
}

/// Violations that are put into words.
const EXAMPLES: usize = 5;

/// Judges every check against what was done to its token.
pub(super) fn judge(lives: &[Vec<Change>], checks: &[Check], bounds: &Bounds) -> Verdict {
    let mut verdict = Verdict { checks: checks.len(), ..Verdict::default() };
    for check in checks {
        let must = must(&lives[check.token], check, bounds);
        if verdict.count(check.answer, must) && verdict.examples.len() < EXAMPLES {
            verdict.examples.push(words(&lives[check.token], check, must));
        }
    }
    verdict
}

// === impl Verdict ===

impl Verdict {
    /// Violations of any kind.
    pub(super) fn violations(&self) -> usize {
        self.after_promise.violations + self.after_commit.violations + self.refusals.violations + self.broken
    }

    /// Whether it is a violation.
    fn count(&mut self, answer: Answer, must: Must) -> bool {
        let (tally, wrong) = match must {
            Must::RefuseAsPromised => (&mut self.after_promise, Answer::Accepted),
            Must::RefuseAsCommitted => (&mut self.after_commit, Answer::Accepted),
            Must::Accept => (&mut self.refusals, Answer::Refused),
            Must::Either => (&mut Tally::default(), Answer::Broken),
        };
        tally.of += 1;
        tally.violations += usize::from(answer == wrong && must != Must::Either);
        match answer {
            Answer::Broken => self.broken += 1,
            Answer::Unavailable => self.unavailable += 1,
            Answer::Lost => self.lost += 1,
            Answer::Accepted | Answer::Refused => {}
        }
        answer == wrong || answer == Answer::Broken
    }
}

// === impl Bounds ===

impl Bounds {
    /// From when on no accept may begin; `None` when nobody knows whether it ended.
    fn enforced(&self, end: &Change, replica: usize) -> Option<Instant> {
        match end.holds {
            Holds::Unknown => None,
            Holds::Promised(from) => Some(from + self.promise),
            Holds::Committed => Some(end.returned + self.commit[replica]),
        }
    }
}

fn must(life: &[Change], check: &Check, bounds: &Bounds) -> Must {
    let certainly_live = life.iter().rposition(|change| {
        change.to == State::Live && change.holds != Holds::Unknown && change.returned <= check.invoked
    });
    let ended_since = |begin: usize| {
        life[begin + 1..].iter().any(|change| change.to == State::Ended && change.invoked <= check.returned)
    };
    if certainly_live.is_some_and(|begin| !ended_since(begin)) {
        return Must::Accept;
    }
    let live_since =
        |end: usize| life[end + 1..].iter().any(|change| change.to == State::Live && change.invoked <= check.returned);
    let ended = life.iter().enumerate().find(|(at, change)| {
        change.to == State::Ended
            && bounds.enforced(change, check.replica).is_some_and(|from| from < check.invoked)
            && !live_since(*at)
    });
    match ended.map(|(_, change)| change.holds) {
        Some(Holds::Committed) => Must::RefuseAsCommitted,
        Some(_) => Must::RefuseAsPromised,
        None => Must::Either,
    }
}

fn words(life: &[Change], check: &Check, must: Must) -> String {
    let since = |at: Instant| {
        let (later, sign) = match at.checked_duration_since(check.invoked) {
            Some(later) => (later, '+'),
            None => (check.invoked - at, '-'),
        };
        format!("{sign}{}us", later.as_micros())
    };
    let changes: Vec<_> = life
        .iter()
        .map(|change| {
            format!("{:?} {:?} {}..{}", change.to, kind(change.holds), since(change.invoked), since(change.returned))
        })
        .collect();
    let Check { token, replica, answer, .. } = check;
    let took = check.returned - check.invoked;
    format!(
        "token {token}, replica {replica}: {answer:?} in {took:?}, had to {must:?}; times from its begin: {changes:?}"
    )
}

fn kind(holds: Holds) -> &'static str {
    match holds {
        Holds::Unknown => "unknown",
        Holds::Promised(_) => "promised",
        Holds::Committed => "committed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history whose times are milliseconds.
    struct Story {
        zero: Instant,
        life: Vec<Change>,
    }

    impl Story {
        /// A token that was issued from 0 to 10.
        fn new() -> Self {
            let mut story = Self { zero: Instant::now(), life: Vec::new() };
            story.life.push(story.step(State::Live, 0, 10, Holds::Promised(story.at(10))));
            story
        }

        fn at(&self, ms: u64) -> Instant {
            self.zero + Duration::from_millis(ms)
        }

        fn step(&self, to: State, invoked: u64, returned: u64, holds: Holds) -> Change {
            Change { to, invoked: self.at(invoked), returned: self.at(returned), holds }
        }

        /// Revoked from 100 to 120, promised from `from`.
        fn promised(mut self, from: u64) -> Self {
            self.life.push(self.step(State::Ended, 100, 120, Holds::Promised(self.at(from))));
            self
        }

        fn then(mut self, to: State, invoked: u64, returned: u64, holds: Holds) -> Self {
            self.life.push(self.step(to, invoked, returned, holds));
            self
        }

        fn judge(&self, invoked: u64, returned: u64, answer: Answer) -> Verdict {
            self.judge_on(0, invoked, returned, answer)
        }

        fn judge_on(&self, replica: usize, invoked: u64, returned: u64, answer: Answer) -> Verdict {
            let (invoked, returned) = (self.at(invoked), self.at(returned));
            let bounds =
                Bounds { promise: Duration::ZERO, commit: vec![Duration::from_secs(1), Duration::from_secs(3)] };
            judge(std::slice::from_ref(&self.life), &[Check { token: 0, replica, invoked, returned, answer }], &bounds)
        }
    }

    fn tally(violations: usize) -> Tally {
        Tally { violations, of: 1 }
    }

    #[test]
    fn an_accept_after_complete_is_a_violation_and_one_that_began_before_is_not() {
        let story = Story::new().promised(120);
        assert_eq!(story.judge(121, 130, Answer::Accepted).after_promise, tally(1));
        assert_eq!(story.judge(121, 130, Answer::Refused).violations(), 0);
        assert_eq!(story.judge(119, 900, Answer::Accepted).violations(), 0);
    }

    #[test]
    fn pending_holds_from_the_time_that_it_names() {
        let story = Story::new().promised(620);
        assert_eq!(story.judge(600, 700, Answer::Accepted).violations(), 0);
        assert_eq!(story.judge(621, 700, Answer::Accepted).after_promise, tally(1));
    }

    #[test]
    fn another_programs_commit_holds_after_the_bound_of_the_replica() {
        let story = Story::new().then(State::Ended, 100, 120, Holds::Committed);
        assert_eq!(story.judge(1_119, 1_130, Answer::Accepted).violations(), 0);
        assert_eq!(story.judge(1_121, 1_130, Answer::Accepted).after_commit, tally(1));
        assert_eq!(story.judge_on(1, 3_119, 3_130, Answer::Accepted).violations(), 0);
        assert_eq!(story.judge_on(1, 3_121, 3_130, Answer::Accepted).after_commit, tally(1));
    }

    #[test]
    fn a_refusal_is_a_violation_only_wholly_inside_a_validity_interval() {
        let story = Story::new().promised(120);
        assert_eq!(story.judge(11, 99, Answer::Refused).refusals, tally(1));
        assert_eq!(story.judge(11, 99, Answer::Accepted).violations(), 0);
        assert_eq!(story.judge(11, 100, Answer::Refused).violations(), 0, "the end had begun");
        assert_eq!(story.judge(9, 99, Answer::Refused).violations(), 0, "the token was being issued");
    }

    #[test]
    fn a_user_who_is_active_again_is_refused_no_more_and_accepted_at_once() {
        let story = Story::new().promised(120).then(State::Live, 200, 220, Holds::Committed);
        assert_eq!(story.judge(199, 200, Answer::Accepted).violations(), 0, "it may have begun");
        assert_eq!(story.judge(190, 199, Answer::Accepted).after_promise, tally(1));
        assert_eq!(story.judge(221, 230, Answer::Refused).refusals, tally(1));
        assert_eq!(story.judge(219, 230, Answer::Refused).violations(), 0);
        let again = story.then(State::Ended, 300, 320, Holds::Committed);
        assert_eq!(again.judge(1_321, 1_330, Answer::Accepted).after_commit, tally(1));
        assert_eq!(again.judge(500, 510, Answer::Accepted).violations(), 0);
    }

    #[test]
    fn an_end_without_an_answer_forbids_nothing_and_excuses_every_refusal() {
        let story = Story::new().then(State::Ended, 100, 120, Holds::Unknown);
        assert_eq!(story.judge(5_000, 5_001, Answer::Accepted).violations(), 0);
        assert_eq!(story.judge(5_000, 5_001, Answer::Refused).violations(), 0);
        let again = story.promised(120).then(State::Live, 300, 320, Holds::Unknown);
        assert_eq!(again.judge(330, 340, Answer::Refused).violations(), 0);
        assert_eq!(again.judge(330, 340, Answer::Accepted).violations(), 0);
    }

    #[test]
    fn a_broken_status_is_a_violation_and_an_unavailable_one_is_counted() {
        let story = Story::new();
        assert_eq!(story.judge(50, 60, Answer::Broken).violations(), 1);
        assert_eq!(story.judge(5, 6, Answer::Broken).violations(), 1, "whatever had to be answered");
        let verdict = story.judge(50, 60, Answer::Unavailable);
        assert_eq!((verdict.violations(), verdict.unavailable), (0, 1));
    }
}
