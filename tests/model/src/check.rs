//! Runs the checker and compares what it found with what was expected.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use crate::action::Action;
use crate::model::{Coherence, Merging};
use crate::runs::{Expect, Run, Size};
use crate::state::State;

/// A path through the model: each state with the step taken in it.
pub type Trace = stateright::Path<State, Action>;

/// What one search found.
#[derive(Debug)]
pub struct Outcome {
    /// Its run's name.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// States generated, repeats included.
    pub states: usize,
    /// Different states.
    pub unique: usize,
    /// The longest of the shortest paths to a state.
    pub depth: usize,
    /// How long the search took.
    pub took: Duration,
    /// One for each property that the run says anything about.
    pub verdicts: Vec<Verdict>,
}

/// What was expected of a property, and what was found.
#[derive(Debug)]
pub struct Verdict {
    /// The property.
    pub property: &'static str,
    /// What was expected.
    pub expected: Expect,
    /// The counterexample, or the example.
    pub found: Option<Trace>,
    /// Whether the search was ended before it could tell.
    pub undecided: bool,
}

/// Searches a run on that many threads.
#[must_use]
pub fn check(run: &Run, size: Size, merging: Merging, threads: usize) -> Outcome {
    let began = Instant::now();
    let early = size == Size::Small && run.is_mutant();
    let end = if early { stop_at(run.violations()) } else { to_the_end() };
    let search = search(run.model(size, merging), end, threads);
    let took = began.elapsed();
    let found = search.discoveries();
    let seen = |property: &str| found.contains_key(property);
    Outcome {
        name: run.name,
        shows: run.shows,
        states: search.state_count(),
        unique: search.unique_state_count(),
        depth: search.max_depth(),
        took,
        verdicts: run.expects.iter().map(|expect| verdict(run, size, *expect, seen, early)).collect(),
    }
}

fn search(model: Coherence, end: HasDiscoveries, threads: usize) -> impl Checker<Coherence> {
    model.checker().finish_when(end).threads(threads).spawn_bfs().join()
}

fn stop_at(properties: impl Iterator<Item = &'static str>) -> HasDiscoveries {
    HasDiscoveries::AllOf(properties.collect())
}

/// Waits for a discovery that no property makes.
fn to_the_end() -> HasDiscoveries {
    stop_at(std::iter::once("every state has been visited"))
}

fn verdict(
    run: &Run,
    size: Size,
    (property, expected): (&'static str, Expect),
    seen: impl Fn(&str) -> bool,
    early: bool,
) -> Verdict {
    let asked = seen(property) || expected == Expect::Reached;
    let found = asked.then(|| shortest(run.model_to_reach(property, size), property)).flatten();
    let undecided = early && found.is_none() && expected != Expect::Violated;
    Verdict { property, expected, found, undecided }
}

/// The checker keeps the last discovery of a search; one that ends at the first
/// has a short one.
fn shortest(model: Coherence, property: &'static str) -> Option<Trace> {
    search(model, stop_at(std::iter::once(property)), 1).discovery(property)
}

// === impl Outcome ===

impl Outcome {
    /// The verdicts that are not what was expected.
    pub fn surprises(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| !verdict.is_as_expected())
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether the search agrees with the expectation, as far as it went.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        match self.expected {
            Expect::Holds | Expect::NeverReached => self.found.is_none(),
            Expect::Violated | Expect::Reached => self.found.is_some(),
        }
    }
}
