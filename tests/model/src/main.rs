//! The program: searches the runs that are named, or all of them, and prints a table.
//! Ends with failure if anything was found that was not expected, or expected and not found.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::available_parallelism;

use tokenward_model::check::{Outcome, check};
use tokenward_model::model::Merging;
use tokenward_model::report;
use tokenward_model::runs::{self, Run, Size};

/// What is printed before the list of runs.
const USAGE: &str = "\
Searches every state that a model of tokenward's coherence protocol can reach.

Usage: cargo run --release -p tokenward-model -- [--small] [--traces] [RUN ..]

  --small   the bounds of the test suite: seconds instead of minutes
  --traces  print each counterexample, and an example of what must be possible
  --help    print this

A row for each run: the states that were generated and how many of them differ, the
longest of the shortest paths to a state, and what was found of each property:
  after COMPLETE  no check that begins after Revoke answered COMPLETE accepts
  bound           none that begins L after a commit accepts (L + G in an outage)
  no refusal      no valid token is refused
  hit, recovery, outage hit, COMPLETE
                  these happen at all, so that the run is not empty
  expected        whether all of it is as it must be: a run with a part of the
                  protocol taken out must be violated, with the length of the trace

It ends with failure if anything is not as expected. All runs, or:
";

/// What was asked for.
struct Request {
    size: Size,
    traces: bool,
    runs: Vec<Run>,
}

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = io::stdout().lock();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        write!(out, "{}", help())?;
        return Ok(ExitCode::SUCCESS);
    }
    match Request::read(&arguments) {
        Ok(request) => request.serve(&mut out),
        Err(unknown) => {
            writeln!(io::stderr(), "tokenward-model: there is no {unknown}; --help lists what there is")?;
            Ok(ExitCode::from(2))
        }
    }
}

fn help() -> String {
    let line = |run: Run| format!("  {:<22} {}\n", run.name, run.shows);
    USAGE.to_owned() + &runs::all().into_iter().map(line).collect::<String>()
}

// === impl Request ===

impl Request {
    /// The first argument that is neither an option nor a run is the error.
    fn read(arguments: &[String]) -> Result<Self, String> {
        let mut request = Self { size: Size::Full, traces: false, runs: Vec::new() };
        for argument in arguments {
            match argument.as_str() {
                "--small" => request.size = Size::Small,
                "--traces" => request.traces = true,
                name => request.runs.push(find(name).ok_or(name)?),
            }
        }
        if request.runs.is_empty() {
            request.runs = runs::all();
        }
        Ok(request)
    }

    fn serve(self, out: &mut impl Write) -> io::Result<ExitCode> {
        writeln!(out, "{}", report::head())?;
        let mut surprises = String::new();
        for run in self.runs {
            let outcome = check(&run, self.size, Merging::On, available_parallelism()?.get());
            writeln!(out, "{}", report::row(&outcome))?;
            if self.traces {
                write_traces(out, &outcome)?;
            }
            surprises.push_str(&report::surprises(&outcome));
        }
        write!(out, "{surprises}")?;
        Ok(if surprises.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn find(name: &str) -> Option<Run> {
    runs::all().into_iter().find(|run| run.name == name)
}

fn write_traces(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    for verdict in outcome.verdicts.iter().filter(|verdict| verdict.found.is_some()) {
        writeln!(out, "  {}: {}", outcome.name, verdict.property)?;
        write!(out, "{}", report::traced(verdict))?;
    }
    Ok(())
}
