use super::*;
use crate::bench::{
    Private, Scenario, Site,
    tally::{Kind, Outcome},
};

/// A hundred a slice, ten while it is broken, nothing at first.
fn outage() -> Vec<u64> {
    let mut slices = vec![100; 10];
    slices.extend([0, 0, 0, 10, 10, 10, 10, 10, 10, 10]);
    slices.extend([10, 10, 50, 100, 100, 100, 100, 100, 100, 100]);
    slices
}

#[test]
fn a_fault_is_over_when_the_throughput_is_back() {
    let marks =
        Marks { broken: Duration::from_secs(1), healing: Duration::from_millis(1900), healed: Duration::from_secs(2) };
    let figures = FaultFigures::of(&outage(), marks);
    assert_eq!((figures.before_per_second, figures.during_per_second), (1000.0, 100.0));
    assert!((figures.after_per_second - 1000.0).abs() < 1e-9);
    assert_eq!(figures.to_degraded_ms, Some(0.0 + 100.0));
    assert_eq!(figures.to_recovered_ms, Some(100.0));
    assert!((figures.restart_ms - 100.0).abs() < 1e-9);
}

#[test]
fn what_never_comes_back_has_no_time() {
    let mut slices = outage();
    slices.truncate(22);
    assert_eq!(back_to(&slices, 1000.0, Duration::from_millis(1900)), None);
}

#[test]
fn the_round_in_the_middle_speaks_for_all() {
    let run = |rate: f64| Run {
        checks_per_second: rate,
        ..Run::new(&Tally::new(), Duration::from_secs(1), Usage::default(), None)
    };
    let chosen = middle(vec![run(3.0), run(1.0), run(2.0)]);
    assert_eq!((chosen.checks_per_second, chosen.rounds), (2.0, vec![3.0, 1.0, 2.0]));
    let ratio = Ratio::of(&[run(3.0), run(1.0), run(2.0)], &[run(2.0), run(1.0), run(4.0)]);
    assert!((ratio.checks_per_second - 1.0).abs() < 1e-9);
}

fn plan() -> Plan {
    Plan {
        scenario: Scenario::RedisKill,
        connections: 100,
        in_flight: 2,
        calls: 4,
        tokens: 10,
        users: 5,
        spread: Spread::Uniform,
        batch: 1,
        duration: Duration::from_secs(3),
        warmup: Duration::ZERO,
        site: Site::Private(Private {
            contenders: Vec::new(),
            rounds: 1,
            rows: 0,
            server_cpus: None,
            other_cpus: None,
            settings: Vec::new(),
        }),
    }
}

/// Two right answers of two kinds in a second, one that failed, and one that was refused.
fn run() -> Run {
    let mut tally = Tally::new();
    let now = std::time::Instant::now();
    for (kind, outcome) in [
        (Kind::Known, Outcome::Right(1)),
        (Kind::Ended, Outcome::Right(1)),
        (Kind::Known, Outcome::Status("UNAVAILABLE")),
        (Kind::Unknown, Outcome::Status("RESOURCE_EXHAUSTED")),
    ] {
        tally.note(kind, outcome, Duration::from_millis(2), now);
    }
    let second = Duration::from_secs(1);
    let usage = Usage { cpu: Some(second / 100), redis_cpu: Some(second / 1_000), sql: None, redis: Some(4) };
    let marks = Marks { broken: second, healing: second * 2, healed: second * 2 };
    Run::new(&tally, second, usage, Some(marks)).named("tokenward".to_owned())
}

#[test]
fn the_table_has_each_figure_of_each_contender() {
    let table = Report::new(&plan(), vec![vec![run()], vec![run().named("other".to_owned())]]).table();
    assert!(table.starts_with("redis-kill: 100 connections, 4 calls under way, 10 tokens of 5 users, uniform, 3 s\n"));
    for (name, figure) in [
        ("", "tokenward"),
        ("checks/s", "2"),
        ("p50 ms", "2.001"),
        ("longest call ms", "2.0"),
        ("CPU us/check", "5000.00"),
        ("Redis per 10,000", "20000.0"),
        ("Redis CPU us/check", "500.00"),
        ("SQL/s", "-"),
        ("failed", "1"),
    ] {
        let line = table.lines().skip(2).find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
        assert!(line.split_whitespace().any(|cell| cell == figure), "{name} {figure}: {table}");
    }
    for line in [
        "the first by the second: checks/s 1.000",
        "tokenward: 1 calls ended UNAVAILABLE",
        "other: 1 calls about unknown tokens were refused",
        "tokenward: ended: 1 answers",
        "checks/s before the fault",
    ] {
        assert!(table.contains(line), "{line}: {table}");
    }
}

#[test]
fn the_table_has_a_line_for_each_step() {
    let step = |cpu, memory| Step { cpu_us_per_check: Some(cpu), resident_mib: Some(memory), ..Step::of(&run(), 7, 5) };
    let steps = vec![step(1.0, 10.0), step(1.5, 12.0)];
    let grown = Run { growth: Some(Growth::of(&steps, &steps)), steps, ..run() };
    let table = Report::new(&plan(), vec![vec![grown]]).table();
    assert!(table.contains("greatest by least: 1.500 of the CPU for a hit, 1.200 of the memory"), "{table}");
    assert_eq!(table.matches("7 rows, 5 tokens passed").count(), 2, "{table}");
}
