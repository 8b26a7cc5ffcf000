//! What must hold, and what must be possible so that it does not hold for want of
//! anything happening.

use stateright::Property;

use crate::model::Coherence;
use crate::state::{Position, Replica, Revocation, Right, Stage, State};

/// **Safety.** An Authenticate that begins after COMPLETE accepts on no replica.
pub const AFTER_COMPLETE: &str = "no accept in a call begun after COMPLETE";

/// **Safety, whoever wrote.** None that begins `L` after the commit accepts, or
/// `L + G` on a replica that cannot reach the database. In strict mode `L` is 0:
/// none that begins after the commit at all.
pub const BOUND: &str = "no accept in a call begun L (L + G) after the commit";

/// **No false refusal.** A token that was valid throughout the call is accepted.
pub const REFUSAL: &str = "no refusal of a token valid throughout the call";

/// A fact from the cache is accepted.
pub const HIT: &str = "a hit is accepted";

/// Facts recover: one that was read after a record is accepted by a replica that
/// knows the record.
pub const RECOVERY: &str = "facts recover after a record";

/// A hit is accepted on a lapsed lease, because the database cannot be reached.
pub const GRACE: &str = "a hit is accepted in an outage";

/// Revoke answers COMPLETE.
pub const COMPLETE: &str = "Revoke answers COMPLETE";

/// Every property; a run says which it expects.
pub(crate) fn all() -> Vec<Property<Coherence>> {
    vec![
        Property::always(AFTER_COMPLETE, |_, state: &State| !state.wrong.after_complete),
        Property::always(BOUND, |_, state: &State| !state.wrong.past_bound),
        Property::always(REFUSAL, |_, state: &State| !state.wrong.refusal),
        Property::sometimes(HIT, |model: &Coherence, state| hits(model, state).next().is_some()),
        Property::sometimes(RECOVERY, |model: &Coherence, state| {
            hits(model, state).any(|(replica, stamp, _)| replica.view.recovered(stamp))
        }),
        Property::sometimes(GRACE, |model: &Coherence, state| {
            hits(model, state).any(|(_, _, right)| right == Right::Grace)
        }),
        Property::sometimes(COMPLETE, |_, state: &State| state.revocation == Revocation::Complete),
    ]
}

/// The hits that would be accepted by the next step of their call.
fn hits<'a>(model: &'a Coherence, state: &'a State) -> impl Iterator<Item = (&'a Replica, Position, Right)> {
    state.replicas.iter().enumerate().flat_map(move |(id, replica)| {
        replica.calls.iter().flatten().filter_map(move |call| match call.stage {
            Stage::HalfTested(_, right) => model.passing(state, id, call).map(|stamp| (replica, stamp, right)),
            Stage::Begun | Stage::Found(_) | Stage::Missed => None,
        })
    })
}
