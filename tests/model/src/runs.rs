//! What is checked: runs that must hold, and mutants that must not.

mod holds;
mod mutants;

pub use self::holds::holds;
pub use self::mutants::mutants;
use crate::environment::{Bound, Environment, Writer};
use crate::model::{Coherence, Merging};
use crate::properties::RECOVERY;
use crate::protocol::Protocol;

/// One protocol in one world, and what is expected of it.
#[derive(Clone, Debug)]
pub struct Run {
    /// A short name, to select it by.
    pub name: &'static str,
    /// What the run shows, in a sentence.
    pub shows: &'static str,
    /// The protocol.
    pub protocol: Protocol,
    /// The world.
    pub environment: Environment,
    /// What is expected, for each property that the run says anything about.
    pub expects: Vec<(&'static str, Expect)>,
    /// The search of the test suite.
    pub small: Bound,
    /// The search of the program.
    pub full: Bound,
}

/// What is expected of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No reachable state violates it.
    Holds,
    /// A reachable state violates it.
    Violated,
    /// A reachable state is an example of it.
    Reached,
    /// None is.
    NeverReached,
}

/// Which of its two bounds a run is checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One call on each replica, as a rule. A mutant's search ends when the
    /// violations that it must have are found.
    Small,
    /// One call on one replica and two on the other, as a rule; to the end.
    Full,
}

/// One call on each replica, and `L` is one tick.
pub const SMALL: Bound = Bound { calls: [1, 1], at_once: 1, lease: 1 };

/// A replica that makes two calls, one after the other.
pub const FULL: Bound = Bound { calls: [1, 2], at_once: 1, lease: 2 };

/// One call on each replica again, enough to catch most mutants.
pub const PAIR: Bound = Bound { calls: [1, 1], ..FULL };

/// Every run, those that must hold first.
#[must_use]
pub fn all() -> Vec<Run> {
    holds().into_iter().chain(mutants()).collect()
}

// === impl Run ===

impl Run {
    /// What the checker explores.
    #[must_use]
    pub fn model(&self, size: Size, merging: Merging) -> Coherence {
        let bound = match size {
            Size::Small => self.small,
            Size::Full => self.full,
        };
        let protocol = self.protocol.clone().with_lease(bound.lease);
        Coherence { protocol, environment: self.environment.clone(), bound, merging }
    }

    /// What the checker explores to reach a property. Facts can recover only after
    /// a record that leaves the token valid: a run that has none, to be smaller, is
    /// given one for this question.
    #[must_use]
    pub fn model_to_reach(&self, property: &str, size: Size) -> Coherence {
        let model = self.model(size, Merging::On);
        match (property, self.environment.writer) {
            (RECOVERY, Writer::Nobody | Writer::RevokesAnother) => {
                Coherence { environment: model.environment.renaming(), ..model }
            }
            _ => model,
        }
    }

    /// Whether the protocol has a part taken out: all that is claimed then is
    /// what breaks.
    #[must_use]
    pub fn is_mutant(&self) -> bool {
        !self.expects.iter().any(|(_, expect)| matches!(expect, Expect::Reached | Expect::NeverReached))
    }

    /// The properties that must be violated.
    pub fn violations(&self) -> impl Iterator<Item = &'static str> {
        self.expects.iter().filter(|(_, expect)| *expect == Expect::Violated).map(|(name, _)| *name)
    }
}
