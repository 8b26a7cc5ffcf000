//! What a report must come up to.
//!
//! ```toml
//! [hit]
//! wrong = { max = 0 }
//! checks_per_second = { min = 40000 }
//! "latency_ms.p99" = { max = 1.0 }
//! "ratio.checks_per_second" = { min = 0.9 }
//! ```
//!
//! A table for each scenario; a name is a figure's place in the JSON report, in the first contender's figures or, with
//! `ratio.`, in the ratio. A figure that could not be observed (`null`) is out of its bounds.

use std::collections::BTreeMap;

use clap::ValueEnum as _;
use serde::Deserialize;
use serde_json::Value;

use super::{Error, Report, Scenario, tally};

/// Bounds of figures, for each scenario.
#[derive(Clone, Debug, Deserialize)]
pub struct Thresholds(BTreeMap<String, BTreeMap<String, Bound>>);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    min: Option<f64>,
    max: Option<f64>,
}

// === impl Thresholds ===

impl Thresholds {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`Error::Thresholds`] when it is no TOML of this form, or a table is no scenario's.
    pub fn read(text: &str) -> Result<Self, Error> {
        let read: Self = toml::from_str(text).map_err(|error| Error::Thresholds(error.to_string()))?;
        match read.0.keys().find(|name| Scenario::from_str(name, false).is_err()) {
            Some(name) => Err(Error::Thresholds(format!("[{name}]: there is no such scenario"))),
            None => Ok(read),
        }
    }

    /// The figures that are out of their bounds, for people.
    ///
    /// # Errors
    /// [`Error::Thresholds`] for a bound of a figure that the report does not have.
    pub fn exceeded(&self, report: &Report) -> Result<Vec<String>, Error> {
        let tree = serde_json::to_value(report).expect("figures are JSON");
        let scenario = tree["scenario"].as_str().unwrap_or_default();
        let bounds = self.0.get(scenario).into_iter().flatten();
        let mut exceeded = Vec::new();
        for (name, bound) in bounds {
            let figure = figure(&tree, name)
                .ok_or_else(|| Error::Thresholds(format!("{scenario}.{name}: the report has no such figure")))?;
            exceeded.extend(bound.judge(&figure).map(|how| format!("{scenario}: {name} is {figure}, {how}")));
        }
        Ok(exceeded)
    }
}

// === impl Bound ===

impl Bound {
    fn judge(self, figure: &Value) -> Option<String> {
        match figure.as_f64() {
            Some(figure) => self.exceeded(figure),
            None => Some("which is no number".to_owned()),
        }
    }

    fn exceeded(self, figure: f64) -> Option<String> {
        match (self.min, self.max) {
            (Some(min), _) if figure < min => Some(format!("less than {min}")),
            (_, Some(max)) if figure > max => Some(format!("more than {max}")),
            (Some(_) | None, Some(_) | None) => None,
        }
    }
}

fn figure(report: &Value, name: &str) -> Option<Value> {
    let run = &report["runs"][0];
    let (from, path) = match name.strip_prefix("ratio.") {
        Some(path) => (&report["ratio"], path),
        None => (run, name),
    };
    let found = path.split('.').try_fold(from, |value, part| value.get(part));
    // Statuses that no call ended with are not in the report.
    let none = || name.strip_prefix("failures.").filter(|status| tally::is_failure(status)).map(|_| Value::from(0));
    found.cloned().or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[hit]\nwrong = { max = 0 }\n\"latency_ms.p99\" = { max = 1 }\nchecks = { min = 5 }\n";

    fn report() -> Value {
        serde_json::json!({ "runs": [{ "wrong": 1, "latency_ms": { "p99": 0.5 } }], "ratio": { "p50": 2.0 } })
    }

    #[test]
    fn a_figure_is_found_by_its_place() {
        assert_eq!(figure(&report(), "latency_ms.p99"), Some(Value::from(0.5)));
        assert_eq!(figure(&report(), "ratio.p50"), Some(Value::from(2.0)));
        assert_eq!(figure(&report(), "latency_ms.p98"), None);
    }

    #[test]
    fn a_status_that_did_not_come_up_is_none_of_the_failures() {
        for status in ["UNAVAILABLE", "LOST", "UNANSWERED"] {
            assert_eq!(figure(&report(), &format!("failures.{status}")), Some(Value::from(0)));
        }
        for misspelt in ["UNAVAILBLE", "OK"] {
            assert_eq!(figure(&report(), &format!("failures.{misspelt}")), None);
        }
    }

    #[test]
    fn a_table_is_a_scenarios() {
        let error = Thresholds::read("[hits]\nwrong = { max = -1 }").unwrap_err().to_string();
        assert_eq!(error, "[hits]: there is no such scenario");
    }

    #[test]
    fn what_the_benchmarks_ship_is_of_this_form() {
        for text in [
            include_str!("../../benches/thresholds.toml"),
            include_str!("../../benches/thresholds-16-in-flight.toml"),
            include_str!("../../benches/thresholds-minute.toml"),
        ] {
            assert!(!Thresholds::read(text).unwrap().0.is_empty());
        }
    }

    #[test]
    fn what_could_not_be_observed_is_out_of_bounds() {
        let bound = Bound { min: None, max: Some(1_000.0) };
        assert!(bound.judge(&Value::Null).is_some());
        assert_eq!(bound.judge(&Value::from(1_000)), None);
    }

    #[test]
    fn a_bound_is_a_least_or_a_most() {
        let thresholds = Thresholds::read(FILE).unwrap();
        let bounds = &thresholds.0["hit"];
        assert_eq!(bounds["wrong"].exceeded(1.0).as_deref(), Some("more than 0"));
        assert_eq!(bounds["checks"].exceeded(4.0).as_deref(), Some("less than 5"));
        assert_eq!(bounds["latency_ms.p99"].exceeded(1.0), None);
        assert!(Thresholds::read("[hit]\nwrong = { most = 0 }").is_err());
    }
}
