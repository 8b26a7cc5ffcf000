//! What goes into the columns of a swapped token model that Django fills and the database does not.
//!
//! The values are configured as text and bound. MySQL and SQLite turn a text into whatever the
//! column holds. PostgreSQL does not, so there it turns a JSON object into a row of the table
//! and the columns are taken from that: whatever type they have, it reads the text itself.

use sea_orm::Value;

use super::dialect::Dialect;

/// Columns and their texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra(Vec<(String, String)>);

/// The parts of an `INSERT` that has further columns, each with its comma; `values` and
/// then `from` take what [`Extra::bound`] binds.
pub(super) struct ExtraSql {
    /// In the list of columns.
    pub(super) columns: String,
    /// In the list of values.
    pub(super) values: String,
    /// What `values` are taken from.
    pub(super) from: Option<String>,
}

// === impl Extra ===

impl Extra {
    /// Reads `COLUMN=VALUE`; `None` where one has no `=`.
    pub(super) fn parse(entries: &[String]) -> Option<Self> {
        let pair = |entry: &String| entry.split_once('=').map(|(column, value)| (column.to_owned(), value.to_owned()));
        entries.iter().map(pair).collect::<Option<_>>().map(Self)
    }

    /// The names.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(column, _)| column.as_str())
    }

    /// The same with every name quoted.
    pub(super) fn quoted(&self, dialect: Dialect) -> Self {
        Self(self.0.iter().map(|(column, value)| (dialect.quote(column), value.clone())).collect())
    }

    /// For an `INSERT` into `table`; both this and the table are quoted.
    pub(super) fn sql(&self, dialect: Dialect, table: &str) -> ExtraSql {
        let row = matches!(dialect, Dialect::Postgres) && !self.0.is_empty();
        let (mut columns, mut values) = (String::new(), String::new());
        for column in self.columns() {
            columns.extend([", ", column]);
            values.extend(if row { [", e.", column] } else { [", ", "?"] });
        }
        let from = row.then(|| format!("jsonb_populate_record(CAST(NULL AS {table}), CAST(? AS jsonb)) e"));
        ExtraSql { columns, values, from }
    }

    /// What is bound for it; not quoted.
    pub(super) fn bound(&self, dialect: Dialect) -> Vec<Value> {
        match dialect {
            Dialect::Sqlite | Dialect::Mysql => self.0.iter().map(|(_, value)| value.as_str().into()).collect(),
            Dialect::Postgres if self.0.is_empty() => vec![],
            Dialect::Postgres => vec![self.row().to_string().into()],
        }
    }

    /// A value that is an object or a list is meant as such; whatever else it may look like, it is text.
    fn row(&self) -> serde_json::Value {
        let value = |text: &String| match serde_json::from_str(text) {
            Ok(json @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) => json,
            Ok(_) | Err(_) => text.as_str().into(),
        };
        self.0.iter().map(|(column, text)| (column.clone(), value(text))).collect()
    }
}
