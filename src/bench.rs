//! `tokenward bench`: a load generator, and servers of its own to put under it.
//!
//! It knows the contract and nothing of the service's insides: what it measures could be another program
//! ([`Contender`]), and every answer is compared with what the token is. One thread makes all calls.

use std::{io, time::Duration};

use http::HeaderValue;
use tokio::task::LocalSet;

use crate::open_files;

mod deck;
mod growth;
mod issue;
mod load;
mod measure;
mod plot;
mod private;
mod report;
mod scenario;
mod tally;
mod thresholds;
mod tokens;
mod wire;

pub use self::{
    deck::Spread,
    plot::plot,
    private::{Contender, Cpus, setting},
    report::Report,
    scenario::Scenario,
    thresholds::Thresholds,
    wire::Address,
};

use self::{
    deck::Deck,
    load::Shape,
    measure::{Measurement, measure},
    private::Ground,
    report::Run,
    tokens::Tokens,
};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is asked, and what goes wrong meanwhile.
    pub scenario: Scenario,
    /// Connections.
    pub connections: usize,
    /// Calls under way on each of them.
    pub in_flight: usize,
    /// Calls under way in all. Fewer than connections go round them.
    pub calls: usize,
    /// Tokens that hits are about.
    pub tokens: u64,
    /// Users that they belong to.
    pub users: u64,
    /// How they are asked about.
    pub spread: Spread,
    /// Tokens in one `BatchAuthenticate`.
    pub batch: usize,
    /// Time that is measured.
    pub duration: Duration,
    /// Time before that under the same load.
    pub warmup: Duration,
    /// What is measured.
    pub site: Site,
}

/// What is measured.
#[derive(Clone, Debug)]
pub enum Site {
    /// A running service, and the caller's credential. Tokens are issued there, and revoked in the end.
    Remote(Address, Option<HeaderValue>),
    /// One on servers of our own.
    Private(Private),
}

/// Servers of our own.
#[derive(Clone, Debug)]
pub struct Private {
    /// Who is measured, in turns.
    pub contenders: Vec<Contender>,
    /// How often each is.
    pub rounds: usize,
    /// Rows in the token table at least; the most, for [`Scenario::Growth`].
    pub rows: u64,
    /// Where the service runs.
    pub server_cpus: Option<Cpus>,
    /// Where the load, Redis and the database run.
    pub other_cpus: Option<Cpus>,
    /// Settings of the service, as environment variables.
    pub settings: Vec<(String, String)>,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not where a server can be reached without TLS.
    #[error("{0} is none of http://HOST:PORT, HOST:PORT and unix:PATH; bench speaks no TLS")]
    Address(String),
    /// Nobody listens there.
    #[error("cannot connect to {at}")]
    Connect {
        /// Where.
        at: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The service does not answer as it should before there is any load.
    #[error("before the load: {0}")]
    Warming(String),
    /// A call before or after the measurement failed.
    #[error("the service answered {code:?}: {message}", code = .0.code(), message = .0.message())]
    Call(Box<tonic::Status>),
    /// A program cannot be started.
    #[error("cannot start {program}")]
    Start {
        /// Which.
        program: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A program ended, or does not answer.
    #[error("{program} is of no use:\n  {tail}")]
    Useless {
        /// Which.
        program: &'static str,
        /// What it wrote last.
        tail: String,
    },
    /// An empty command.
    #[error("a command without a program")]
    NoCommand,
    /// The processors cannot be used.
    #[error("cannot run on these processors")]
    Pin(#[source] io::Error),
    /// Our own database refused a statement.
    #[error("the private database refused a statement")]
    Sql(#[from] sea_orm::DbErr),
    /// A scenario that breaks servers, or fills tables, was to be run on somebody else's.
    #[error("scenario {0} needs --private: it breaks its servers, or needs tokens that nobody has asked about")]
    NeedsPrivate(String),
    /// More fresh tokens were asked about than there were.
    #[error("the service was so fast that fresh tokens ran out: measure for a shorter time")]
    Dry,
    /// A threshold's file is faulty.
    #[error("{0}")]
    Thresholds(String),
    /// The plot cannot be drawn.
    #[error("cannot draw the plot: {0}")]
    Plot(String),
}

/// Measures, and tells `watch` what it is at and how much of that is done, 0 to 1.
///
/// # Errors
/// When servers cannot be started or do not answer; wrong answers and failures under load are no errors, but figures.
///
/// # Cancel safety
/// Dropping the future ends the servers that it started, and leaves tokens that it issued on a running service.
pub async fn run(plan: Plan, watch: impl Fn(&str, f64)) -> Result<Report, Error> {
    LocalSet::new().run_until(Box::pin(run_here(plan, watch))).await
}

async fn run_here(mut plan: Plan, watch: impl Fn(&str, f64)) -> Result<Report, Error> {
    // Where there are too few, a connection says so.
    open_files::raise();
    if plan.scenario == Scenario::HotToken {
        plan.tokens = 1;
    }
    let runs = match plan.site.clone() {
        Site::Remote(..) if plan.scenario.is_private() => {
            return Err(Error::NeedsPrivate(plan.scenario.name()));
        }
        Site::Remote(address, credential) => vec![vec![remote(&plan, &address, credential, &watch).await?]],
        Site::Private(private) => {
            if let Some(cpus) = &private.other_cpus {
                cpus.pin().map_err(Error::Pin)?;
            }
            watch("starting Redis and PostgreSQL", 0.0);
            let ground = Box::pin(Ground::start(plan.users)).await?;
            match plan.scenario {
                Scenario::Growth => vec![vec![Box::pin(growth::run(&plan, &private, ground, &watch)).await?]],
                _ => Box::pin(contest(&plan, &private, ground, &watch)).await?,
            }
        }
    };
    Ok(Report::new(&plan, runs))
}

async fn remote(
    plan: &Plan,
    address: &Address,
    credential: Option<HeaderValue>,
    watch: &impl Fn(&str, f64),
) -> Result<Run, Error> {
    watch("issuing tokens", 0.0);
    let issuer = issue::Issuer::connect(address, credential.clone()).await?;
    let secrets = issuer.issue(plan.tokens, plan.users, |share| watch("issuing tokens", share)).await?;
    let tokens = Tokens::issued(secrets.clone(), plan.users);
    let deck = Deck::new(tokens, plan.scenario.mix(), plan.spread, plan.batch, 0..0);
    let measurement = Measurement { address, credential: credential.as_ref(), deck, servers: None };
    let run = Box::pin(measure(plan, measurement, watch)).await;
    watch("revoking tokens", 1.0);
    issuer.revoke(secrets).await?;
    run.map(|run| run.named(address.url()))
}

/// Measures each contender in turns, on the same servers, so that what changes on the machine meanwhile changes for both.
async fn contest(
    plan: &Plan,
    private: &Private,
    mut ground: Ground,
    watch: &impl Fn(&str, f64),
) -> Result<Vec<Vec<Run>>, Error> {
    let turns = private.rounds * private.contenders.len();
    let share = plan.scenario.fresh_tokens(plan.warmup + plan.duration);
    // What was revoked is gone; what was only read is fresh again once Redis is empty.
    let shares = if plan.scenario.revokes() { turns as u64 } else { 1 };
    let rows = private.rows.max(plan.tokens + share * shares);
    ground.seed(rows, |rows_now| watch(&format!("{rows_now} of {rows} tokens"), ratio(rows_now, rows))).await?;
    let mut runs = vec![Vec::new(); private.contenders.len()];
    let mut fresh = plan.tokens;
    for round in 1..=private.rounds {
        for (contender, runs) in private.contenders.iter().zip(&mut runs) {
            ground.flush().await?;
            let settings = [own(plan.scenario), private.settings.clone()].concat();
            let stand = ground.stand(contender, &settings, private.server_cpus.as_ref()).await?;
            let tokens = Tokens::derived(plan.tokens, plan.users, 1, contender.owned());
            let deck = Deck::new(tokens, plan.scenario.mix(), plan.spread, plan.batch, fresh..fresh + share);
            let address = stand.address().clone();
            let measurement =
                Measurement { address: &address, credential: None, deck, servers: Some((&mut ground, &stand)) };
            let name = contender.name.clone();
            let said = |what: &str, share: f64| watch(&format!("{name}, round {round}: {what}"), share);
            let run = Box::pin(measure(plan, measurement, &said)).await?;
            stand.end();
            runs.push(run.named(name.clone()));
            if plan.scenario.revokes() {
                fresh += share;
            }
        }
    }
    Ok(runs)
}

fn own(scenario: Scenario) -> Vec<(String, String)> {
    scenario.settings().iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a share of what is done")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
