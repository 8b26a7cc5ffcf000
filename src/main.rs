//! Parses the command line, runs it, turns the outcome into an exit code.

use std::process::ExitCode;

use tokenward::{cli, telemetry};

/// Small, short-lived allocations on many threads are what a gRPC service does all day.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run().unwrap_or_else(|code| code)
}

fn run() -> Result<ExitCode, ExitCode> {
    let job = cli::parse()?;
    let runtime = job.runtime()?;
    runtime.block_on(async { telemetry::start(job.log(), job.traces()) });
    let code = runtime.block_on(job.run());
    // A blocking task that is still under way must not hold the exit.
    runtime.shutdown_background();
    Ok(code)
}
