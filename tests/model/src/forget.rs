//! States that differ in nothing that an answer can show are taken as one. This
//! only saves time: a test runs the small searches with and without it.

use crate::protocol::{Hit, LeaseStart, Protocol, Publication, Ticks};
use crate::state::{Cover, Flight, Poll, Replica, Stage, State, View};

/// Drops what can no longer be observed.
pub(crate) fn forget(protocol: &Protocol, state: &mut State) {
    for replica in &mut state.replicas {
        if replica.is_done() {
            retire(replica, protocol.horizon());
        } else if publishes_in_order(protocol) {
            drop_stale(protocol, replica);
        }
    }
}

/// Of a replica that answers no more, nothing can be seen.
fn retire(replica: &mut Replica, horizon: Ticks) {
    replica.lease_age = horizon;
    replica.view = View::default();
    replica.poll = Poll::Idle;
    replica.reaches_database = true;
    replica.memory = None;
    replica.flight = Flight::Idle;
}

/// Mutants of the hit path and the poll do look at a view without its lease.
fn publishes_in_order(protocol: &Protocol) -> bool {
    matches!(protocol.hit, Hit::LeaseThenView | Hit::Strict)
        && protocol.publication != Publication::LeaseThenView
        && protocol.lease_start == LeaseStart::BeforeSending
}

/// A view that no call can read before the next poll replaces it, a poll whose
/// lease would have lapsed before it is published, an outage that outlived grace.
fn drop_stale(protocol: &Protocol, replica: &mut Replica) {
    if !protocol.is_strict() && outlived(replica.poll, protocol.horizon()) {
        replica.poll = Poll::Idle;
    }
    if replica.lease_age >= protocol.horizon() {
        replica.reaches_database = true;
    }
    let publishing = matches!(replica.poll, Poll::HalfPublished(..));
    if !publishing && !is_readable(protocol, replica) {
        replica.view = View::default();
    }
}

fn outlived(poll: Poll, horizon: Ticks) -> bool {
    matches!(poll, Poll::Answered(age, _) if age >= horizon)
}

/// Whether a call may yet test against the view that is published now.
fn is_readable(protocol: &Protocol, replica: &Replica) -> bool {
    let leased = !protocol.is_strict() && replica.lease_age < protocol.horizon();
    let tested = |stage| matches!(stage, Stage::HalfTested(..));
    leased || replica.calls.iter().flatten().any(|call| tested(call.stage) || call.cover == Cover::Done)
}
