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
//! `ratio.`, in the ratio.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Error, Report};

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
    /// [`Error::Thresholds`] when it is no TOML of this form.
    pub fn read(text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| Error::Thresholds(error.to_string()))
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
            exceeded.extend(bound.exceeded(figure).map(|how| format!("{scenario}: {name} is {figure}, {how}")));
        }
        Ok(exceeded)
    }
}

// === impl Bound ===

impl Bound {
    fn exceeded(self, figure: f64) -> Option<String> {
        match (self.min, self.max) {
            (Some(min), _) if figure < min => Some(format!("less than {min}")),
            (_, Some(max)) if figure > max => Some(format!("more than {max}")),
            (Some(_) | None, Some(_) | None) => None,
        }
    }
}

fn figure(report: &Value, name: &str) -> Option<f64> {
    let run = &report["runs"][0];
    let (from, path) = match name.strip_prefix("ratio.") {
        Some(path) => (&report["ratio"], path),
        None => (run, name),
    };
    path.split('.').try_fold(from, |value, part| value.get(part))?.as_f64()
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
        assert_eq!(figure(&report(), "latency_ms.p99"), Some(0.5));
        assert_eq!(figure(&report(), "ratio.p50"), Some(2.0));
        assert_eq!(figure(&report(), "latency_ms.p98"), None);
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
