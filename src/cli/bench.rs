//! `tokenward bench`.

use std::{fs, path::PathBuf, time::Duration};

use clap::{Args, builder::RangedU64ValueParser};
use http::HeaderValue;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Ending, Failure, Target, print, progress,
    show::{Format, FormatArgs},
};
use crate::bench::{self, Contender, Cpus, Plan, Private, Report, Scenario, Site, Spread, Thresholds};

/// What `bench` takes.
#[derive(Args)]
pub(super) struct BenchArgs {
    /// What is asked, and what goes wrong meanwhile.
    #[arg(long, value_enum, default_value = "hit")]
    scenario: Scenario,
    /// Connections.
    #[arg(long, default_value = "8", value_name = "NUMBER", value_parser = at_most(10_000))]
    connections: u64,
    /// Calls under way on each connection.
    #[arg(long, default_value = "8", value_name = "NUMBER", value_parser = at_most(256))]
    in_flight: u64,
    /// Calls under way in all, instead of so many on each connection; fewer than connections go round them.
    #[arg(long, value_name = "NUMBER", value_parser = at_most(2_560_000))]
    calls: Option<u64>,
    /// Tokens that hits are about.
    #[arg(long, default_value = "10000", value_name = "NUMBER", value_parser = at_most(10_000_000))]
    tokens: u64,
    /// Users that they belong to.
    #[arg(long, default_value = "1000", value_name = "NUMBER", value_parser = at_most(10_000_000))]
    users: u64,
    /// Ask about the n-th token as often as 1/n to this power, instead of about each alike.
    #[arg(long, value_name = "EXPONENT")]
    zipf: Option<f64>,
    /// Tokens in one call of `BatchAuthenticate`.
    #[arg(long, default_value = "100", value_name = "NUMBER", value_parser = at_most(100))]
    batch: u64,
    /// Time that is measured; a fault takes the second third of it.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Time under load before that.
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Start a Redis, a PostgreSQL and the service in a temporary directory, and measure that. Needs redis-server and
    /// PostgreSQL's programs.
    #[arg(long)]
    private: bool,
    #[command(flatten)]
    own: OwnArgs,
    /// Write the latencies by percentile as an SVG picture.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Bounds of figures (TOML); exits 1 when one is exceeded.
    #[arg(long, value_name = "FILE")]
    thresholds: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// What servers of our own take.
#[derive(Args)]
#[command(next_help_heading = "Options of --private")]
struct OwnArgs {
    /// A program to measure in turns with the service: it gets the service's settings as environment variables, and
    /// says on its first line of output where it listens.
    #[arg(long, requires = "private", value_name = "COMMAND")]
    against: Option<String>,
    /// Measure that program alone.
    #[arg(long, requires = "against")]
    only_against: bool,
    /// How often each is measured; the middle counts.
    #[arg(long, requires = "private", default_value = "1", value_name = "NUMBER", value_parser = at_most(100))]
    rounds: u64,
    /// Rows in the token table at least; scenario growth goes from 1000 up to so many.
    #[arg(long, requires = "private", default_value = "10000", value_name = "NUMBER", value_parser = at_most(100_000_000))]
    rows: u64,
    /// Processors that the service runs on, such as 0 or 0,2-3.
    #[arg(long, requires = "private", value_name = "LIST")]
    server_cpus: Option<Cpus>,
    /// Processors that everything else runs on.
    #[arg(long, requires = "private", value_name = "LIST")]
    others_cpus: Option<Cpus>,
    /// A setting of the service, such as cache.near=true; may be given several times.
    #[arg(long = "set", requires = "private", value_name = "SECTION.NAME=VALUE", value_parser = bench::setting)]
    settings: Vec<(String, String)>,
}

/// What is to be measured, and what becomes of the figures.
pub(super) struct Bench {
    plan: Plan,
    plot: Option<PathBuf>,
    thresholds: Option<Thresholds>,
    format: Format,
}

fn at_most(limit: u64) -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=limit)
}

fn size(number: u64) -> usize {
    usize::try_from(number).expect("the arguments are bounded")
}

// === impl BenchArgs ===

impl BenchArgs {
    pub(super) fn prepare(self, target: &Target) -> Result<Bench, Failure> {
        let thresholds = self.thresholds.as_ref().map(read).transpose()?;
        if self.zipf.is_some_and(|exponent| !(exponent.is_finite() && exponent >= 0.0)) {
            return Err(Failure::Usage("--zipf: must be a number from 0".to_owned()));
        }
        let most = self.connections * self.in_flight;
        if self.calls.is_some_and(|calls| calls > most) {
            return Err(Failure::Usage(format!(
                "--calls: must be at most {most}, which is --connections x --in-flight"
            )));
        }
        let site = if self.private { Site::Private(self.own.private()?) } else { remote(target)? };
        let plan = Plan {
            scenario: self.scenario,
            connections: size(self.connections),
            in_flight: size(self.in_flight),
            calls: size(self.calls.unwrap_or(most)),
            tokens: self.tokens,
            users: self.users,
            spread: self.zipf.map_or(Spread::Uniform, Spread::Zipf),
            batch: size(self.batch),
            duration: self.duration,
            warmup: self.warmup,
            site,
        };
        Ok(Bench { plan, plot: self.plot, thresholds, format: self.format.format() })
    }
}

fn remote(target: &Target) -> Result<Site, Failure> {
    let address = target.address.parse().map_err(|error: bench::Error| Failure::Usage(error.to_string()))?;
    let credential = target.credential()?.map(|value| HeaderValue::from_bytes(value.as_bytes()));
    let credential = credential.transpose().map_err(|_| Failure::Usage("the caller's key is no header".to_owned()))?;
    Ok(Site::Remote(address, credential))
}

fn read(file: &PathBuf) -> Result<Thresholds, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::Usage(format!("--thresholds {}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| refused(&error))?;
    Thresholds::read(&text).map_err(|error| refused(&error))
}

// === impl OwnArgs ===

impl OwnArgs {
    fn private(self) -> Result<Private, Failure> {
        let ours = Contender::tokenward().map_err(Failure::Runtime)?;
        let other = self.against.as_deref().map(Contender::of);
        let contenders = [Some(ours).filter(|_| !self.only_against), other].into_iter().flatten().collect();
        Ok(Private {
            contenders,
            rounds: size(self.rounds),
            rows: self.rows,
            server_cpus: self.server_cpus,
            other_cpus: self.others_cpus,
            settings: self.settings,
        })
    }
}

// === impl Bench ===

impl Bench {
    /// Measures until the end or a signal; either way the servers that it started end.
    pub(super) async fn run(self) -> Result<Ending, Failure> {
        let bar = progress::bar();
        let watch = |what: &str, share: f64| progress::show(&bar, share, what.to_owned());
        let mut terminated = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
        let report = tokio::select! {
            report = Box::pin(bench::run(self.plan, watch)) => report?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Declined),
            _ = terminated.recv() => return Err(Failure::Declined),
        };
        bar.finish_and_clear();
        if let Some(file) = &self.plot {
            let failed = |source| Failure::Write { file: file.display().to_string(), source };
            fs::write(file, bench::plot(&report)?).map_err(failed)?;
        }
        print(&match self.format {
            Format::Human => report.table(),
            Format::Json => report.json(),
        })?;
        judge(self.thresholds.as_ref(), &report)
    }
}

fn judge(thresholds: Option<&Thresholds>, report: &Report) -> Result<Ending, Failure> {
    let exceeded = thresholds.map(|thresholds| thresholds.exceeded(report)).transpose()?.unwrap_or_default();
    if exceeded.is_empty() { Ok(Ending::Done) } else { Err(Failure::Threshold(exceeded.join("\n"))) }
}
