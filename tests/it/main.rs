//! The compiled service against real servers: a file for each claim.

mod harness;

mod attacks;
mod audit;
mod bad_input;
mod bench;
mod callers;
mod cli;
mod coherence;
mod deploy;
mod django;
mod doors;
mod guides;
mod health;
mod http;
mod import_rule;
mod interop;
mod journal;
mod knox;
mod logs;
mod metrics;
mod outage;
mod outcomes;
mod page;
mod queries;
mod replicas;
mod rpc;
mod secrets;
mod security;
mod shutdown;
mod sliding;
mod token_format;
mod topology;
mod traces;
mod upkeep;
mod watch;
