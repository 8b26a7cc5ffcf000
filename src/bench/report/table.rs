//! The table for people: a line for each figure, a column for each contender.

use std::fmt::Write as _;

use super::{FaultFigures, Report, Run};

/// Shown for what could not be observed.
const UNKNOWN: &str = "-";

pub(super) fn table(report: &Report) -> String {
    let mut text = format!(
        "{}: {} connections, {} calls under way, {} tokens of {} users, {}, {:.0} s\n\n",
        report.scenario,
        report.connections,
        report.calls,
        report.tokens,
        report.users,
        report.spread,
        report.duration_s
    );
    let rows = rows(report);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..=report.runs.len()).map(width).collect();
    for row in &rows {
        let mut line = format!("{:<1$}", row[0], widths[0]);
        for (cell, width) in row[1..].iter().zip(&widths[1..]) {
            put(&mut line, format_args!("  {cell:>width$}"));
        }
        put(&mut text, format_args!("{}\n", line.trim_end()));
    }
    if let Some(ratio) = &report.ratio {
        put(
            &mut text,
            format_args!(
                "\nthe first by the second: checks/s {:.3}, p50 {:.3}, p99 {:.3}, CPU {}\n",
                ratio.checks_per_second,
                ratio.p50,
                ratio.p99,
                ratio.cpu_us_per_check.map_or_else(|| UNKNOWN.to_owned(), |cpu| format!("{cpu:.3}"))
            ),
        );
    }
    report.runs.iter().for_each(|run| details(run, &mut text));
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes what is written to it");
}

fn rows(report: &Report) -> Vec<Vec<String>> {
    let maybe = |value: Option<f64>, digits: usize| value.map_or(UNKNOWN.to_owned(), |it| format!("{it:.digits$}"));
    let mut rows = vec![
        row(report, "", |run| run.server.clone()),
        row(report, "checks/s", |run| format!("{:.0}", run.checks_per_second)),
        row(report, "p50 ms", |run| format!("{:.3}", run.latency_ms.p50)),
        row(report, "p99 ms", |run| format!("{:.3}", run.latency_ms.p99)),
        row(report, "p99.9 ms", |run| format!("{:.3}", run.latency_ms.p99_9)),
        row(report, "longest call ms", |run| format!("{:.1}", run.longest_call_ms)),
        row(report, "longest gap ms", |run| format!("{:.1}", run.longest_gap_ms)),
        row(report, "CPU us/check", |run| maybe(run.cpu_us_per_check, 2)),
        row(report, "cores used", |run| maybe(run.cores, 2)),
        row(report, "load's CPU us/check", |run| maybe(run.load_cpu_us_per_check, 2)),
        row(report, "SQL per 10,000", |run| maybe(run.sql_per_10k_checks, 1)),
        row(report, "SQL/s", |run| maybe(run.sql_per_second, 1)),
        row(report, "Redis per 10,000", |run| maybe(run.redis_per_10k_checks, 1)),
        row(report, "Redis CPU us/check", |run| maybe(run.redis_cpu_us_per_check, 2)),
        row(report, "wrong", |run| run.wrong.to_string()),
        row(report, "failed", |run| run.failed.to_string()),
        row(report, "start ms", |run| maybe(run.startup_ms, 0)),
        row(report, "memory MiB", |run| maybe(run.resident_mib, 1)),
    ];
    if report.runs.iter().any(|run| run.rounds.len() > 1) {
        let rounds = |run: &Run| run.rounds.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(" ");
        rows.push(row(report, "checks/s of rounds", rounds));
    }
    rows
}

fn row(report: &Report, name: &str, figure: impl Fn(&Run) -> String) -> Vec<String> {
    [name.to_owned()].into_iter().chain(report.runs.iter().map(figure)).collect()
}

/// What only some scenarios have.
fn details(run: &Run, text: &mut String) {
    for (status, count) in &run.failures {
        put(text, format_args!("{}: {count} calls ended {status}\n", run.server));
    }
    if run.refused > 0 {
        put(text, format_args!("{}: {} calls about unknown tokens were refused\n", run.server, run.refused));
    }
    for (kind, calls) in &run.kinds {
        let latency = calls.latency_ms;
        put(
            text,
            format_args!(
                "{}: {kind}: {} answers, p50 {:.3} ms, p99 {:.3} ms\n",
                run.server, calls.checks, latency.p50, latency.p99
            ),
        );
    }
    if let Some(fault) = &run.fault {
        fault_details(fault, run, text);
    }
    if let Some(ramp) = run.ramp_ms {
        put(text, format_args!("{}: after {ramp:.0} ms as fast as at the end\n", run.server));
    }
    if let Some(growth) = run.growth {
        let times = |spread: Option<f64>| spread.map_or(UNKNOWN.to_owned(), |spread| format!("{spread:.3}"));
        put(
            text,
            format_args!(
                "{}: greatest by least: {} of the CPU for a hit, {} of the memory while tokens pass\n",
                run.server,
                times(growth.cpu_spread),
                times(growth.memory_spread)
            ),
        );
    }
    for step in &run.steps {
        put(
            text,
            format_args!(
                "{}: {} rows, {} tokens passed: {:.0} checks/s, p99 {:.3} ms, CPU {:.2} us, memory {:.1} MiB\n",
                run.server,
                step.rows,
                step.passed,
                step.checks_per_second,
                step.p99_ms,
                step.cpu_us_per_check.unwrap_or(f64::NAN),
                step.resident_mib.unwrap_or(f64::NAN)
            ),
        );
    }
}

fn fault_details(fault: &FaultFigures, run: &Run, text: &mut String) {
    let after = |time: Option<f64>| time.map_or("never".to_owned(), |time| format!("after {time:.0} ms"));
    put(
        text,
        format_args!(
            "{}: {:.0} checks/s before the fault; {:.0} during it, {}; {:.0} after it, back {} (the server's own return took {:.0} ms)\n",
            run.server,
            fault.before_per_second,
            fault.during_per_second,
            after(fault.to_degraded_ms),
            fault.after_per_second,
            after(fault.to_recovered_ms),
            fault.restart_ms
        ),
    );
}
