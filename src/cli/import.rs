//! `tokenward import drf-authtoken`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{
    Failure,
    failure::Ending,
    print,
    progress::{bar, show},
    settings::Settings,
};
use crate::{
    app,
    config::{Config, Purpose},
    store::{Import, ImportMode},
};

/// PostgreSQL's limit on a name, the lowest of the three databases.
const LONGEST_NAME: usize = 63;

/// What `import` takes.
#[derive(Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand)]
enum From {
    /// Make the keys of Django REST framework's `rest_framework.authtoken` good here and in django-rest-knox 5.
    ///
    /// The table is in the database of `database.url`. Each key becomes a token of its user: clients go on with
    /// the keys that they have. Keys of users that the user table does not have are left out; in schema `native`,
    /// create the users first. What is there already is left alone, so an import that was broken off is run again.
    ///
    /// Each token that is imported is one record of the audit trail, in the log and in the table if there is one.
    ///
    /// The old table still holds the keys in clear: drop it when nothing reads it any more. As long as it stands,
    /// another import brings back tokens that Django has deleted since.
    DrfAuthtoken(DrfAuthtoken),
}

#[derive(Args)]
struct DrfAuthtoken {
    /// The table with the columns `key`, `user_id` and `created`.
    #[arg(long, default_value = "authtoken_token", value_parser = table_name)]
    table: String,
    /// Life of the imported tokens from now on, such as `90d`; without it they never expire, as before.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Count what would be imported, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

// === impl ImportArgs ===

impl ImportArgs {
    pub(super) fn load(self) -> Result<(Config, Import), Failure> {
        let From::DrfAuthtoken(DrfAuthtoken { table, ttl, dry_run }) = self.from;
        let mode = if dry_run { ImportMode::Count } else { ImportMode::Write };
        Ok((self.settings.load(Purpose::Migrate, Vec::new())?.config, Import { table, ttl, mode }))
    }
}

pub(super) async fn run(config: Config, import: Import) -> Result<Ending, Failure> {
    let (bar, mode) = (bar(), import.mode);
    let told = app::import(config, import, |done| show(&bar, done.share, format!("{} imported", done.new))).await;
    bar.finish_and_clear();
    let imported = told?;
    let note = match mode {
        ImportMode::Write => "",
        ImportMode::Count => "dry run: nothing was written\n",
    };
    print(&format!("{note}{imported}\n"))
}

/// It is quoted all the same; this is to tell a typing error from a missing table.
fn table_name(text: &str) -> Result<String, &'static str> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let begins = text.starts_with(|first: char| !first.is_ascii_digit());
    if begins && text.len() <= LONGEST_NAME && text.chars().all(is_letter) {
        Ok(text.to_owned())
    } else {
        Err("a table name has 1 to 63 letters, digits and underscores, no digit first")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_tables() {
        for good in ["authtoken_token", "_t", "T1"] {
            assert_eq!(table_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "1t", "a b", "a\"b", "a;b", "schema.table", "caf\u{e9}", &"x".repeat(64)] {
            assert!(table_name(bad).is_err(), "{bad}");
        }
    }
}
