//! Parses the command line, runs it, turns the outcome into an exit code.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tokenward::{
    app::{self, Migrate},
    config::{self, Flag, Purpose, SecretText, Sources},
};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Serve(Common),
    Migrate {
        verb: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
struct Common {
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long)]
    database_url: Option<String>,
    #[arg(long)]
    redis_url: Option<String>,
    #[arg(long)]
    listen: Option<String>,
    #[arg(long)]
    insecure: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(std::env::var("TOKENWARD_LOG__LEVEL").unwrap_or("info".into()))
        .init();
    let (purpose, common, verb) = match Cli::parse().verb {
        Verb::Serve(c) => (Purpose::Serve, c, String::new()),
        Verb::Migrate { verb, common } => (Purpose::Migrate, common, verb),
    };
    let mut flags = vec![];
    for (spelling, key, v) in [
        ("--database-url", "database.url", common.database_url),
        ("--redis-url", "redis.url", common.redis_url),
        ("--listen", "server.listen", common.listen),
        ("--insecure", "server.insecure", common.insecure.then(|| "true".to_owned())),
    ] {
        if let Some(v) = v {
            flags.push(Flag { spelling, key, text: SecretText::new(v) });
        }
    }
    let loaded = config::load(Sources { purpose, file: common.config, env: std::env::vars(), flags })
        .map_err(|f| f.to_string())?;
    match verb.as_str() {
        "" => app::serve(loaded.config).await?,
        "up" => println!("{}", app::migrate(loaded.config, Migrate::Up).await?),
        "down" => println!("{}", app::migrate(loaded.config, Migrate::Down { steps: 1 }).await?),
        _ => println!("{}", app::migrate(loaded.config, Migrate::Status).await?),
    }
    Ok(())
}
