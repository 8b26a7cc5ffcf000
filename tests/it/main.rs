//! The compiled service against real servers: a file for each claim.

mod harness;
