//! What is wrong with the tables, and what to do about it.

use super::{Finding, catalog::Column};
use crate::{
    config::{SchemaPreset, UserIdType},
    store::{
        dialect::Dialect,
        schema::{Attributes, Schema, TokenTable},
    },
};

/// Characters that a token's selector takes.
const KEY_CHARS: usize = 15;

/// Collects findings.
pub(super) struct Judge<'s> {
    dialect: Dialect,
    schema: &'s Schema,
    digest_chars: usize,
    pub(super) findings: Vec<Finding>,
}

// === impl Judge ===

impl<'s> Judge<'s> {
    pub(super) fn new(dialect: Dialect, schema: &'s Schema, digest_chars: usize) -> Self {
        Self { dialect, schema, digest_chars, findings: vec![] }
    }

    pub(super) fn tokens(&mut self, columns: &[Column]) {
        let t = &self.schema.token;
        if columns.is_empty() {
            return self.no_table("schema.token_table", &t.table);
        }
        if let Some(digest) = self.column(columns, "schema.token_digest", &t.digest) {
            self.holds_text("schema.token_digest", digest, self.digest_chars);
            if !digest.unique {
                let remedy = format!("ALTER TABLE {} ADD PRIMARY KEY ({})", t.table, t.digest);
                self.fault("schema.token_digest", format!("column {} is not the primary key", t.digest), remedy);
            }
        }
        if let Some(key) = self.column(columns, "schema.token_key", &t.key) {
            self.holds_text("schema.token_key", key, KEY_CHARS);
        }
        if let Some(user) = self.column(columns, "schema.token_user", &t.user) {
            self.holds_user(user);
        }
        for (key, name) in [("schema.token_created", &t.created), ("schema.token_expiry", &t.expiry)] {
            if let Some(time) = self.column(columns, key, name) {
                self.holds_time(key, time);
            }
        }
        self.every_column_is_filled(columns, t);
    }

    pub(super) fn users(&mut self, columns: &[Column]) {
        let u = &self.schema.user;
        if columns.is_empty() {
            return self.no_table("schema.user_table", &u.table);
        }
        if let Some(id) = self.column(columns, "schema.user_id", &u.id) {
            self.holds_user(id);
        }
        if let Some(active) = &u.active
            && !columns.iter().any(|column| column.name == *active)
        {
            let remedy = format!("name the column, or give \"\" where every user is active; {}", there_are(columns));
            self.fault("schema.user_active", format!("table {} has no column {active}", u.table), remedy);
        }
        match &u.attributes {
            Attributes::Json(name) => drop(self.column(columns, "schema.user_table", name)),
            Attributes::Columns(names) => {
                for name in names {
                    self.column(columns, "schema.user_attributes", name);
                }
            }
        }
    }

    pub(super) fn rights(&mut self, missing: &[String]) {
        if !missing.is_empty() {
            let remedy = "GRANT them to the account of database.url";
            self.fault("database.url", format!("its account lacks the right to {}", missing.join(", ")), remedy);
        }
    }

    pub(super) fn swapped(&mut self, fuller: &[String]) {
        if !fuller.is_empty() {
            let problem = format!(
                "table {} is empty, and {} is a token table with rows",
                self.schema.token.table,
                fuller.join(", ")
            );
            let remedy = "django-rest-knox leaves an empty table beside a swapped model (KNOX_TOKEN_MODEL): name the model's table";
            self.findings.push(Finding::warning("schema.token_table", problem, remedy));
        }
    }

    fn column<'c>(&mut self, columns: &'c [Column], key: &'static str, name: &str) -> Option<&'c Column> {
        let found = columns.iter().find(|column| column.name == name);
        if found.is_none() {
            let remedy = format!("name the column; {}", there_are(columns));
            self.fault(key, format!("there is no column {name}"), remedy);
        }
        found
    }

    fn no_table(&mut self, key: &'static str, name: &str) {
        let remedy = match (self.schema.preset, self.dialect) {
            (SchemaPreset::Native, _) => "run `tokenward migrate up`",
            (SchemaPreset::Knox, Dialect::Postgres) => {
                "run `manage.py migrate`, or name the table here, and its schema in schema.search_path"
            }
            (SchemaPreset::Knox, Dialect::Sqlite | Dialect::Mysql) => "run `manage.py migrate`, or name the table here",
        };
        self.fault(key, format!("there is no table {name}"), remedy);
    }

    fn holds_text(&mut self, key: &'static str, column: &Column, chars: usize) {
        if !is_text(&column.kind) {
            let remedy = format!("name a text column of {chars} characters at least");
            self.fault(key, format!("column {} is {}", column.name, column.kind), remedy);
        } else if self.dialect != Dialect::Sqlite && length(&column.kind).is_some_and(|length| length < chars) {
            let remedy = format!("{chars} characters are needed: apply the migrations of django-rest-knox 5");
            self.fault(key, format!("column {} is {}", column.name, column.kind), remedy);
        }
    }

    fn holds_time(&mut self, key: &'static str, column: &Column) {
        let (fits, remedy) = match self.dialect {
            Dialect::Sqlite => (true, ""),
            Dialect::Postgres => {
                (column.kind.starts_with("timestamp"), "name a column of type timestamp with time zone")
            }
            Dialect::Mysql => (
                matches!(column.kind.as_str(), "datetime(6)" | "timestamp(6)"),
                "times are kept to the microsecond: datetime(6)",
            ),
        };
        if !fits {
            self.fault(key, format!("column {} is {}", column.name, column.kind), remedy);
        }
    }

    fn holds_user(&mut self, column: &Column) {
        let (wanted, fitting) = (self.schema.user.id_type, fitting(&column.kind, self.dialect));
        if fitting.contains(&wanted) {
            return;
        }
        let remedy = match fitting.first() {
            Some(kind) => format!("set schema.user_id_type = \"{}\"", name(*kind)),
            None => "users are named by an integer, a UUID or text".to_owned(),
        };
        let problem = format!("is {}, and column {} is {}", name(wanted), column.name, column.kind);
        self.fault("schema.user_id_type", problem, remedy);
    }

    fn every_column_is_filled(&mut self, columns: &[Column], t: &TokenTable) {
        let filled = [&t.digest, &t.key, &t.user, &t.created, &t.expiry];
        let is_filled =
            |name: &str| filled.iter().any(|own| *own == name) || t.extra.columns().any(|extra| extra == name);
        for column in columns.iter().filter(|column| column.required && !is_filled(&column.name)) {
            let problem =
                format!("column {} ({}) has no default, and nothing is written into it", column.name, column.kind);
            let remedy = format!("add \"{}=VALUE\" to schema.token_extra", column.name);
            self.fault("schema.token_extra", problem, remedy);
        }
        for extra in t.extra.columns().filter(|extra| !columns.iter().any(|column| column.name == *extra)) {
            self.fault("schema.token_extra", format!("there is no column {extra}"), there_are(columns));
        }
    }

    fn fault(&mut self, key: &'static str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding::fault(key, problem, remedy));
    }
}

fn there_are(columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    format!("the table has {}", names.join(", "))
}

fn is_text(kind: &str) -> bool {
    kind.contains("char") || kind.contains("text") || kind.contains("clob")
}

/// The number in parentheses.
fn length(kind: &str) -> Option<usize> {
    kind.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

/// The types that a key in a column of this kind can have, the likeliest first.
fn fitting(kind: &str, dialect: Dialect) -> &'static [UserIdType] {
    use UserIdType::{Bigint, Char32, Int, Text, Uuid};
    match (kind, dialect) {
        ("uuid", Dialect::Postgres | Dialect::Mysql) => &[Uuid],
        (kind, Dialect::Sqlite) if kind.contains("int") => &[Int, Bigint],
        (kind, _) if kind.starts_with("bigint") => &[Bigint],
        (kind, _) if kind.contains("int") => &[Int, Bigint],
        (kind, Dialect::Sqlite) if is_text(kind) && length(kind) == Some(32) => &[Char32, Uuid, Text],
        (kind, _) if is_text(kind) && length(kind) == Some(32) => &[Char32, Text],
        (kind, _) if is_text(kind) => &[Text],
        _ => &[],
    }
}

fn name(kind: UserIdType) -> &'static str {
    match kind {
        UserIdType::Int => "int",
        UserIdType::Bigint => "bigint",
        UserIdType::Uuid => "uuid",
        UserIdType::Char32 => "char32",
        UserIdType::Text => "text",
    }
}
