//! The command line: one file per verb.
//!
//! [`parse`] reads arguments and, for the verbs that need them, the settings; the
//! [`Job`] that it makes knows its log, its runtime and its exit codes.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::{
    app::{self, Migrate},
    config::{Config, Log, Traces},
    store::{Import, PruneMode},
};

mod bench;
mod cache;
mod completions;
mod config;
mod failure;
mod health;
mod import;
mod migrate;
mod progress;
mod prune;
mod remote;
mod serve;
mod settings;
mod show;
mod status;
mod stdin;
mod token;
mod user;
mod version;

use failure::{Ending, Failure};
use remote::{Remote, Target};

/// Validates opaque API tokens over gRPC.
#[derive(Parser)]
#[command(name = "tokenward", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve until SIGTERM or SIGINT.
    Serve(serve::Serve),
    /// Change or show the database's schema.
    Migrate(migrate::MigrateArgs),
    /// Delete the rows of tokens that expired long ago; `serve` does so by itself every `prune.interval`.
    Prune(prune::PruneArgs),
    /// Take over another program's tokens, in the same database.
    Import(import::ImportArgs),
    /// Check, print or start a configuration.
    Config(config::ConfigArgs),
    /// Measure a service under load; with `--private`, one with a Redis and a PostgreSQL of its own.
    Bench(bench::BenchArgs),
    /// Print a shell's completion script.
    Completions(completions::Completions),
    /// Print the program's version.
    Version,
    #[command(flatten)]
    Call(Call),
}

/// The verbs that speak gRPC to a running server.
#[derive(Subcommand)]
enum Call {
    /// Issue, check, list, change, rotate and revoke tokens.
    Token(token::TokenArgs),
    /// List, read, change and remove the owners of tokens.
    User(user::UserArgs),
    /// Show and flush what replicas remember.
    Cache(cache::CacheArgs),
    /// Ask `grpc.health.v1`. Exits 0 SERVING, 1 bad arguments, 2 no connection, 3 the call failed, 4 not serving.
    Health(health::Health),
    /// Tell how one replica is.
    Status(status::Status),
}

/// What a command line asks for.
pub struct Job(Work);

enum Work {
    Serve(Config, serve::Serve),
    Migrate(Config, Migrate),
    Check(Config),
    Prune(Config, PruneMode),
    Import(Config, Import),
    Print(String),
    Bench(Box<bench::Bench>),
    Call(Target, Call),
}

/// Reads the command line and the settings it names.
///
/// # Errors
/// The exit code, once the reason, a help text or a version has been printed.
pub fn parse() -> Result<Job, ExitCode> {
    let cli = Cli::try_parse().map_err(|error| refused(&error))?;
    cli.prepare().map(Job).map_err(|failure| failure.report(failure::code))
}

/// `health` alone has an exit code of its own for bad arguments.
fn refused(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when this fails.
    let _ = error.print();
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if verb_of(std::env::args_os()).as_deref() == Some("health") => ExitCode::from(health::BAD_ARGUMENTS),
        _ => ExitCode::from(failure::USAGE),
    }
}

fn verb_of(args: impl IntoIterator<Item = OsString>) -> Option<String> {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(args).ok()?;
    matches.subcommand_name().map(str::to_owned)
}

// === impl Job ===

impl Job {
    /// How to log; a client logs only what `RUST_LOG` asks for.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        match &self.0 {
            Work::Serve(config, _)
            | Work::Migrate(config, _)
            | Work::Check(config)
            | Work::Prune(config, _)
            | Work::Import(config, _) => Some(&config.log),
            Work::Print(_) | Work::Bench(_) | Work::Call(..) => None,
        }
    }

    /// Where to send traces; only a server has any.
    #[must_use]
    pub fn traces(&self) -> Option<&Traces> {
        match &self.0 {
            Work::Serve(config, _) => Some(&config.traces),
            Work::Migrate(..)
            | Work::Check(_)
            | Work::Prune(..)
            | Work::Import(..)
            | Work::Print(_)
            | Work::Bench(_)
            | Work::Call(..) => None,
        }
    }

    /// As many threads as the work has use for.
    ///
    /// # Errors
    /// The exit code, once the reason has been printed.
    pub fn runtime(&self) -> Result<Runtime, ExitCode> {
        let mut builder = match &self.0 {
            Work::Serve(..)
            | Work::Migrate(..)
            | Work::Check(_)
            | Work::Prune(..)
            | Work::Import(..)
            | Work::Print(_)
            | Work::Bench(_)
            | Work::Call(..) => Builder::new_current_thread(),
        };
        builder.enable_all().build().map_err(|error| Failure::Runtime(error).report(failure::code))
    }

    /// Does it and prints what comes of it.
    pub async fn run(self) -> ExitCode {
        let code = match &self.0 {
            Work::Call(_, Call::Health(_)) => health::code,
            _ => failure::code,
        };
        match self.0.run().await {
            Ok(ending) => ending.into(),
            Err(failure) => failure.report(code),
        }
    }
}

// === impl Work ===

impl Work {
    async fn run(self) -> Result<Ending, Failure> {
        match self {
            Self::Serve(config, again) => {
                let reread = move || again.clone().load();
                Box::pin(app::serve(config, reread)).await.map_err(Failure::from).map(|()| Ending::Done)
            }
            Self::Migrate(config, verb) => print(&(app::migrate(config, verb).await? + "\n")),
            Self::Check(config) => print(&(app::check(config).await? + "\n")),
            Self::Prune(config, mode) => prune::run(config, mode).await,
            Self::Import(config, import) => import::run(config, import).await,
            Self::Print(text) => print(&text),
            Self::Bench(bench) => Box::pin(bench.run()).await,
            Self::Call(target, call) => call.run(&target).await,
        }
    }
}

// === impl Cli ===

impl Cli {
    fn prepare(self) -> Result<Work, Failure> {
        Ok(match self.verb {
            Verb::Serve(serve) => Work::Serve(serve.clone().load()?, serve),
            Verb::Migrate(migrate) => {
                let (config, verb) = migrate.load()?;
                Work::Migrate(config, verb)
            }
            Verb::Prune(prune) => {
                let (config, mode) = prune.load()?;
                Work::Prune(config, mode)
            }
            Verb::Import(import) => {
                let (config, import) = import.load()?;
                Work::Import(config, import)
            }
            Verb::Config(config) => config.prepare()?,
            Verb::Bench(bench) => Work::Bench(Box::new(bench.prepare(&self.target)?)),
            Verb::Completions(completions) => Work::Print(completions.script(&mut Self::command())),
            Verb::Version => Work::Print(version::text()),
            Verb::Call(call) => Work::Call(self.target, call),
        })
    }
}

// === impl Call ===

impl Call {
    async fn run(self, target: &Target) -> Result<Ending, Failure> {
        match self {
            Self::Token(token) => token.run(target).await,
            Self::User(user) => user.run(target).await,
            Self::Cache(cache) => cache.run(target).await,
            Self::Health(health) => health.run(target).await,
            Self::Status(status) => status.run(target).await,
        }
    }
}

/// Writes to standard output.
fn print(text: &str) -> Result<Ending, Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)?;
    Ok(Ending::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_verb_is_known_although_its_arguments_are_wrong() {
        let verb = |line: &str| verb_of(line.split(' ').map(OsString::from));
        assert_eq!(verb("tokenward health --colour"), Some("health".to_owned()));
        assert_eq!(verb("tokenward user get health --colour"), Some("user".to_owned()));
    }

    #[test]
    fn the_address_stands_before_or_after_the_verb() {
        for line in ["tokenward --address h:1 token list --user u", "tokenward token list --user u --address h:1"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(cli.target.address, "h:1");
        }
    }
}
