//! A trace in words: each step, and what the system looks like after it.

use std::fmt::Write as _;

use crate::action::{Action, CallStep, FlightStep};
use crate::check::Trace;
use crate::state::{Cell, Flight, Redis, State, Token};

/// How many steps it has.
pub(crate) fn length(trace: &Trace) -> usize {
    trace.clone().into_actions().len()
}

/// A line for each step.
pub(crate) fn in_words(trace: &Trace) -> String {
    let pairs = trace.clone().into_vec();
    let mut text = String::new();
    for (number, pair) in pairs.windows(2).enumerate() {
        let [(before, Some(action)), (after, _)] = pair else { continue };
        let step = format!("{action}{}", answer(before, *action, after));
        writeln!(text, "  {:>3}. {step:<64} | {}", number + 1, scene(after)).expect("a string takes any text");
    }
    text
}

/// The answer of a call that ended in this step.
fn answer(before: &State, action: Action, after: &State) -> &'static str {
    let calls = |state: &State| state.replicas.iter().flat_map(|replica| replica.calls).flatten().count();
    if calls(after) >= calls(before) {
        return "";
    }
    if accepts(before, action) { ": ACCEPTS" } else { ": refuses" }
}

fn accepts(before: &State, action: Action) -> bool {
    match action {
        Action::Call(_, _, CallStep::ReadsDatabase) => before.token == Token::Valid,
        Action::Flight(replica, FlightStep::Returns) => {
            matches!(before.replicas[replica].flight, Flight::Answered(Some(_)))
        }
        _ => true,
    }
}

/// The system, in a line.
fn scene(state: &State) -> String {
    let token = match state.token {
        Token::Valid => "valid".to_owned(),
        Token::Ended(age) => format!("ended {age} ago"),
    };
    let [a, b] = [0, 1].map(|replica| state.replicas[replica].lease_age);
    format!("{token}, lease ages {a} {b}, {}, Revoke {:?}", key(state.redis), state.revocation)
}

fn key(redis: Redis) -> String {
    match redis {
        Redis::Honest { cell: Cell::Empty, .. } => "key empty".to_owned(),
        Redis::Honest { cell: Cell::Fact(stamp), .. } => format!("key: fact {stamp}"),
        Redis::Honest { cell: Cell::Tombstone(left), .. } => format!("key: tombstone for {left}"),
        Redis::Adversary(facts) => format!("Redis may return facts {:?}", facts.iter().collect::<Vec<_>>()),
    }
}
