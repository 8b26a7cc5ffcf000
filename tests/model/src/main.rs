//! `cargo run --release -p tokenward-model [-- [--small] [--traces] [NAME ..]]`:
//! searches the named runs, or all of them, and prints a table. Ends with failure
//! if anything was found that was not expected, or expected and not found.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::available_parallelism;

use tokenward_model::check::{Outcome, check};
use tokenward_model::model::Merging;
use tokenward_model::report;
use tokenward_model::runs::{self, Run, Size};

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let size = if asked("--small") { Size::Small } else { Size::Full };
    let traces = asked("--traces");
    let mut out = io::stdout().lock();
    writeln!(out, "{}", report::head())?;
    let mut surprises = String::new();
    for run in selected(&arguments) {
        let outcome = check(&run, size, Merging::On, available_parallelism()?.get());
        writeln!(out, "{}", report::row(&outcome))?;
        if traces {
            write_traces(&mut out, &outcome)?;
        }
        surprises.push_str(&report::surprises(&outcome));
    }
    write!(out, "{surprises}")?;
    Ok(if surprises.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The runs that are named, or all.
fn selected(arguments: &[String]) -> Vec<Run> {
    let named = |run: &Run| arguments.iter().any(|argument| argument == run.name);
    let any = arguments.iter().any(|argument| !argument.starts_with("--"));
    runs::all().into_iter().filter(|run| !any || named(run)).collect()
}

fn write_traces(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    for verdict in outcome.verdicts.iter().filter(|verdict| verdict.found.is_some()) {
        writeln!(out, "  {}: {}", outcome.name, verdict.property)?;
        write!(out, "{}", report::traced(verdict))?;
    }
    Ok(())
}
