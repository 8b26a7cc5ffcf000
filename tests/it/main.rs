//! The compiled service against real servers: a file for each claim.

mod harness;

mod bad_input;
mod health;
mod import_rule;
mod outcomes;
mod queries;
mod rpc;
mod shutdown;
