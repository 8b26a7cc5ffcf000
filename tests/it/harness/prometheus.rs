//! Debian's Prometheus, on a port of its own, with the alert rules of this repository.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::{eventually::eventually, http::get, process::Process};

/// A Prometheus that scrapes one target five times a second.
pub(crate) struct Prometheus {
    process: Process,
    url: String,
    _dir: TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts one that scrapes `target` (`http://ADDRESS:PORT`) and evaluates these rules.
    pub(crate) async fn start(target: &str, rules: &str) -> Self {
        let dir = super::template::directory();
        fs::write(dir.path().join("rules.yaml"), rules).expect("a test's directory is writable");
        let target = target.trim_start_matches("http://");
        let config = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs: [{{job_name: tokenward, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        fs::write(dir.path().join("prometheus.yaml"), config).expect("a test's directory is writable");
        let mut command = Command::new("prometheus");
        command
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"])
            .current_dir(dir.path());
        let process = Process::spawn(command, dir.path(), "prometheus");
        let url = eventually("Prometheus listens", async || listening_on(&process.stderr())).await;
        Self { process, url, _dir: dir }
    }

    /// The state of an alert, `pending` or `firing`; `None` when it is neither.
    pub(crate) async fn alert(&self, name: &str) -> Option<String> {
        let alerts = self.api("/api/v1/alerts").await;
        let alerts = alerts["data"]["alerts"].as_array().expect("the API tells of alerts");
        let found = alerts.iter().find(|alert| alert["labels"]["alertname"] == name)?;
        Some(found["state"].as_str().expect("an alert has a state").to_owned())
    }

    /// The rules that could not be evaluated, with why.
    pub(crate) async fn failures(&self) -> Vec<String> {
        let rules = self.api("/api/v1/rules").await;
        let groups = rules["data"]["groups"].as_array().expect("the API tells of rules");
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("a group has rules"));
        let failed = rules.filter(|rule| rule["health"] == "err");
        failed.map(|rule| format!("{}: {}", rule["name"], rule["lastError"])).collect()
    }

    async fn api(&self, path: &str) -> Value {
        let page = get(&self.url, path).await;
        assert_eq!(page.code, 200, "{}: {}", page.body, self.process.stderr());
        serde_json::from_str(&page.body).expect("the API speaks JSON")
    }
}

/// `msg="Listening on" address=127.0.0.1:PORT`
fn listening_on(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("msg=\"Listening on\" address=")?;
    let (address, _) = rest.split_once('\n')?;
    log.contains("Server is ready to receive web requests").then(|| format!("http://{}", address.trim()))
}

/// What `promtool` says of its input: an error's text, unless all is well.
pub(crate) fn promtool(args: &[&str], input: &Path) -> Result<(), String> {
    let input = fs::File::open(input).expect("the input is there");
    let output = Command::new("promtool").args(args).stdin(input).output().expect("promtool can be run");
    let said = || String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
    if output.status.success() { Ok(()) } else { Err(said()) }
}
