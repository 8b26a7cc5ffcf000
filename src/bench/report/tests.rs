use super::*;

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
