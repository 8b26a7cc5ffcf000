//! What is refused of the settings that only tables of another program need.

use super::{
    super::{Database, DigestForm, SchemaNames, SchemaPreset, Tokens},
    Judge,
};

impl Judge<'_> {
    /// What only another program's tables need.
    pub(super) fn adopted(&mut self, names: &SchemaNames, database: &Database) {
        let url = database.url.expose();
        if !names.search_path.is_empty() && !url.starts_with("postgres") {
            let remedy = "remove it; on MySQL and SQLite database.url names the database";
            self.refuse(&["schema.search_path", "database.url"], "is for PostgreSQL", remedy);
        }
        names.search_path.iter().for_each(|name| self.name("schema.search_path", Some(name)));
        if names.time_zone.as_deref().is_some_and(|zone| zone.parse::<chrono_tz::Tz>().is_err()) {
            let remedy = "give a name of the IANA database, such as Europe/Berlin";
            self.refuse(&["schema.time_zone"], "is not a time zone", remedy);
        }
        names.token_extra.iter().for_each(|extra| self.extra(extra));
        if database.schema == SchemaPreset::Native {
            let set = [
                ("schema.time_zone", names.time_zone.is_some()),
                ("schema.token_extra", !names.token_extra.is_empty()),
            ];
            for (key, _) in set.iter().filter(|(_, set)| *set) {
                let remedy = "remove it, or set database.schema = \"knox\"";
                self.refuse(&[key, "database.schema"], "is for tables of another program", remedy);
            }
        }
    }

    fn extra(&mut self, extra: &str) {
        match extra.split_once('=') {
            Some((column, _)) => self.name("schema.token_extra", Some(column)),
            None => self.refuse(&["schema.token_extra"], "has an entry without =", "give COLUMN=VALUE for each column"),
        }
    }

    pub(super) fn digests(&mut self, tokens: &Tokens) {
        let Some(accepted) = &tokens.accept_digests else { return };
        if !accepted.contains(&DigestForm::Knox5) {
            let remedy = "add knox5, the form in which this service stores the tokens that it issues";
            self.refuse(&["tokens.accept_digests"], "lacks knox5", remedy);
        }
        if tokens.upgrade_digests && !accepted.contains(&DigestForm::Knox4) {
            let remedy = "add knox4 to tokens.accept_digests, or set tokens.upgrade_digests = false";
            self.refuse(&["tokens.upgrade_digests", "tokens.accept_digests"], "has no row to rewrite", remedy);
        }
    }
}
