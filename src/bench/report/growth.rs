//! How figures change from step to step.

use serde::Serialize;

use super::Run;

/// A step of a scenario that has several.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct Step {
    pub(in super::super) rows: u64,
    pub(in super::super) passed: u64,
    pub(in super::super) checks_per_second: f64,
    pub(in super::super) cpu_us_per_check: Option<f64>,
    pub(in super::super) p99_ms: f64,
    pub(in super::super) resident_mib: Option<f64>,
    pub(in super::super) failed: u64,
    pub(in super::super) wrong: u64,
}

/// The greatest figure by the least; 1 is flat.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in super::super) struct Growth {
    /// Of the CPU for a hit, with ever more rows.
    pub(in super::super) cpu_spread: Option<f64>,
    /// Of the memory, while tokens pass through.
    pub(in super::super) memory_spread: Option<f64>,
}

// === impl Step ===

impl Step {
    /// The figures of a run with so many rows, after so many tokens were asked about.
    pub(in super::super) fn of(run: &Run, rows: u64, passed: u64) -> Self {
        Self {
            rows,
            passed,
            checks_per_second: run.checks_per_second,
            cpu_us_per_check: run.cpu_us_per_check,
            p99_ms: run.latency_ms.p99,
            resident_mib: run.resident_mib,
            failed: run.failed,
            wrong: run.wrong,
        }
    }
}

impl Step {
    /// Wrong answers and failed calls of all steps.
    pub(in super::super) fn amiss(steps: &[Self]) -> (u64, u64) {
        (steps.iter().map(|step| step.wrong).sum(), steps.iter().map(|step| step.failed).sum())
    }
}

// === impl Growth ===

impl Growth {
    /// Of steps with ever more rows, and steps while tokens pass.
    pub(in super::super) fn of(hits: &[Step], passing: &[Step]) -> Self {
        Self {
            cpu_spread: spread(hits.iter().map(|step| step.cpu_us_per_check)),
            memory_spread: spread(passing.iter().map(|step| step.resident_mib)),
        }
    }
}

/// `None` when a figure is missing, or there is none.
fn spread(figures: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let figures: Vec<_> = figures.collect::<Option<_>>()?;
    let (least, greatest) = (figures.iter().copied().reduce(f64::min)?, figures.iter().copied().reduce(f64::max)?);
    (least > 0.0).then_some(greatest / least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_amiss_in_any_step_counts() {
        let step = |wrong, failed| Step {
            rows: 1,
            passed: 1,
            checks_per_second: 1.0,
            cpu_us_per_check: None,
            p99_ms: 1.0,
            resident_mib: None,
            failed,
            wrong,
        };
        assert_eq!(Step::amiss(&[step(0, 2), step(3, 0), step(0, 1)]), (3, 3));
    }

    #[test]
    fn a_spread_is_the_greatest_by_the_least() {
        let some = |figures: &[f64]| spread(figures.iter().copied().map(Some));
        assert_eq!((some(&[2.0, 1.0, 1.5]), some(&[3.0]), some(&[])), (Some(2.0), Some(1.0), None));
        assert_eq!(spread([Some(1.0), None].into_iter()), None);
    }
}
