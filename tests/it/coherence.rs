//! Three replicas, concurrent clients and writers, a history of everything, faults: no
//! token is accepted after its end was promised, none is refused while it is valid.
//!
//! `history` is what happened, `judge` the test on it; `run` makes the load around a fault.
//! The few tests here are part of the suite; `make faults` runs the whole matrix.

mod clients;
mod cluster;
mod ending;
mod faults;
mod history;
mod judge;
mod report;
mod run;
mod sql;
mod world;
mod writers;

use self::{
    faults::{DatabaseFault, Fault, RedisFault, ServiceFault},
    run::{Pace, Plan, run},
};
use crate::harness::eventually::report as print;

async fn holds(plan: Plan) {
    let row = run(plan).await;
    print(&report::table(std::slice::from_ref(&row)));
    row.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_holds_while_fills_are_late() {
    holds(Plan::new(Fault::None, Pace::SHORT)).await;
}
