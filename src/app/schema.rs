//! The verbs that work on the database and serve nothing: `migrate` and `config check`.

use std::time::Duration;

use super::{Error, door};
use crate::{
    config::{Config, SchemaPreset},
    store::{Database, Finding, Severity},
};

/// Longest time for a connection, and for a look into the catalog, which nobody waits for as for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to do with the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrate {
    /// Apply what is pending.
    Up,
    /// Take back the newest changes.
    Down {
        /// How many.
        steps: u32,
    },
    /// Only look.
    Status,
}

/// Changes or shows the schema; the text is for people.
///
/// # Errors
/// When the database cannot be reached, or a change fails; the changes before it stay.
pub async fn migrate(mut config: Config, verb: Migrate) -> Result<String, Error> {
    patient(&mut config);
    let database = Database::open(&config).await?;
    let lines = match verb {
        Migrate::Up => changed("applied", "the schema is up to date", &database.migrate_up().await?),
        Migrate::Down { steps } => changed("taken back", "nothing to take back", &database.migrate_down(steps).await?),
        Migrate::Status => {
            database.schema_status().await?.iter().map(|change| format!("{} {}", change.state, change.name)).collect()
        }
    };
    database.close().await;
    Ok(lines.join("\n"))
}

/// Reads the callers and the files for TLS, and compares the settings with the database; the text is for people.
///
/// # Errors
/// Everything that is wrong with the callers, or with the files for TLS; [`Error::Unfit`] with everything that does not fit; when the database cannot be reached.
pub async fn check(mut config: Config) -> Result<String, Error> {
    door::check(&config)?;
    patient(&mut config);
    config.database.statement_timeout = config.database.statement_timeout.max(PATIENCE);
    let mut lines = vec!["configuration is valid".to_owned()];
    if Database::is_yet_to_be_created(&config) {
        let absent = Finding::fault("database.url", "the file is not there", "name the file that Django uses");
        return match config.database.schema {
            SchemaPreset::Knox => Err(Error::Unfit(absent.to_string())),
            SchemaPreset::Native => Ok(format!("{}\nthe database file is not there yet: `serve` creates it", lines[0])),
        };
    }
    let database = Database::open(&config).await?;
    let findings = database.check().await?;
    database.close().await;
    let fits = findings.iter().all(|finding| finding.severity == Severity::Warning);
    lines.extend(findings.iter().map(Finding::to_string));
    if fits { Ok(lines.join("\n")) } else { Err(Error::Unfit(lines[1..].join("\n"))) }
}

/// For a verb: a connection may take longer than a check would wait for it.
pub(super) fn patient(config: &mut Config) {
    config.database.acquire_timeout = config.database.acquire_timeout.max(PATIENCE);
}

fn changed(verb: &str, nothing: &str, names: &[String]) -> Vec<String> {
    if names.is_empty() {
        vec![nothing.to_owned()]
    } else {
        names.iter().map(|name| format!("{verb} {name}")).collect()
    }
}
