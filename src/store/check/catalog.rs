//! What the database says of its tables. Names are bound, or quoted.

use sea_orm::{QueryResult, Value};

use crate::store::{Inner, dialect::Dialect, error::StoreError, schema::Schema};

/// Asks one database.
pub(super) struct Catalog<'i>(&'i Inner);

/// A column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// In lower case, with its length.
    pub(super) kind: String,
    /// An `INSERT` that leaves it out fails.
    pub(super) required: bool,
    /// No two rows have the same, and it is found by an index.
    pub(super) unique: bool,
}

/// Columns by which a token table of knox is told from others.
const SIGNS: &str = "'digest', 'token_key', 'user_id', 'expiry'";

// === impl Catalog ===

impl<'i> Catalog<'i> {
    pub(super) fn new(inner: &'i Inner) -> Self {
        Self(inner)
    }

    /// The columns of a table in their order; none where there is no table.
    pub(super) async fn columns(&self, table: &str) -> Result<Vec<Column>, StoreError> {
        let (sql, name) = match self.0.dialect {
            Dialect::Sqlite => (SQLITE_COLUMNS, table.to_owned()),
            Dialect::Postgres => (POSTGRES_COLUMNS, self.0.dialect.quote(table)),
            Dialect::Mysql => (MYSQL_COLUMNS, table.to_owned()),
        };
        self.rows(sql, vec![name.into()]).await?.iter().map(column).collect()
    }

    /// What may not be done to which table, such as `INSERT on "knox_authtoken"`. Only PostgreSQL
    /// tells in one statement.
    pub(super) async fn missing_rights(&self, schema: &Schema) -> Result<Vec<String>, StoreError> {
        if self.0.dialect != Dialect::Postgres {
            return Ok(vec![]);
        }
        let (token, user) = (self.0.dialect.quote(&schema.token.table), self.0.dialect.quote(&schema.user.table));
        let rights = self.rows(POSTGRES_RIGHTS, vec![token.into(), user.into()]).await?;
        Ok(rights.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?)
    }

    /// Other token tables that have rows, where the configured one has none.
    pub(super) async fn fuller_tables(&self, schema: &Schema) -> Result<Vec<String>, StoreError> {
        let dialect = self.0.dialect;
        let (sql, own) = match dialect {
            Dialect::Sqlite => {
                (format!("{SQLITE_ALIKE} ({SIGNS}) GROUP BY m.name HAVING COUNT(*) = 4"), schema.token.table.clone())
            }
            Dialect::Postgres => (
                format!("{POSTGRES_ALIKE} ({SIGNS}) GROUP BY c.oid HAVING COUNT(*) = 4"),
                dialect.quote(&schema.token.table),
            ),
            Dialect::Mysql => {
                (format!("{MYSQL_ALIKE} ({SIGNS}) GROUP BY table_name HAVING COUNT(*) = 4"), schema.token.table.clone())
            }
        };
        let mut fuller = vec![];
        if self.has_rows(&dialect.quote(&schema.token.table)).await? {
            return Ok(fuller);
        }
        for row in self.rows(&sql, vec![own.into()]).await? {
            let (name, quoted): (String, String) = match dialect {
                Dialect::Postgres => (row.try_get_by_index(0)?, row.try_get_by_index(0)?),
                Dialect::Sqlite | Dialect::Mysql => {
                    let name: String = row.try_get_by_index(0)?;
                    (name.clone(), dialect.quote(&name))
                }
            };
            if self.has_rows(&quoted).await? {
                fuller.push(name);
            }
        }
        Ok(fuller)
    }

    async fn has_rows(&self, quoted: &str) -> Result<bool, StoreError> {
        Ok(!self.rows(&format!("SELECT 1 FROM {quoted} LIMIT 1"), vec![]).await?.is_empty())
    }

    async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, StoreError> {
        self.0.pool.rows(&self.0.dialect.sql(sql), values).await
    }
}

fn column(row: &QueryResult) -> Result<Column, StoreError> {
    let flag = |index| row.try_get_by_index::<i64>(index).map(|flag| flag != 0);
    let (name, kind): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    Ok(Column { name, kind: kind.to_lowercase(), required: flag(2)?, unique: flag(3)? })
}

// Each gives (name, type, 1 for required, 1 for unique).

const SQLITE_COLUMNS: &str = "SELECT i.name, i.type, i.\"notnull\" <> 0 AND i.dflt_value IS NULL, \
    i.pk = 1 AND (SELECT MAX(p.pk) FROM pragma_table_info(?1) p) = 1 FROM pragma_table_info(?1) i ORDER BY i.cid";

const POSTGRES_COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), \
    CASE WHEN a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' THEN 1 ELSE 0 END::bigint, \
    CASE WHEN EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid \
    AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) THEN 1 ELSE 0 END::bigint \
    FROM pg_attribute a WHERE a.attrelid = to_regclass(?) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const MYSQL_COLUMNS: &str = "SELECT CAST(c.column_name AS CHAR), CAST(c.column_type AS CHAR), \
    CAST(c.is_nullable = 'NO' AND c.column_default IS NULL AND c.extra = '' AS SIGNED), \
    CAST(EXISTS (SELECT 1 FROM information_schema.statistics s WHERE s.table_schema = c.table_schema \
    AND s.table_name = c.table_name AND s.non_unique = 0 GROUP BY s.index_name \
    HAVING COUNT(*) = 1 AND MAX(s.column_name) = c.column_name) AS SIGNED) \
    FROM information_schema.columns c WHERE c.table_schema = DATABASE() AND c.table_name = ? ORDER BY c.ordinal_position";

/// Locking a row takes the right to change it.
const POSTGRES_RIGHTS: &str = "SELECT r.privilege || ' on ' || r.name FROM (SELECT ?::text AS token, ?::text AS owner) n, \
    LATERAL (VALUES (n.token, 'SELECT'), (n.token, 'INSERT'), (n.token, 'UPDATE'), (n.token, 'DELETE'), \
    (n.owner, 'SELECT'), (n.owner, 'UPDATE')) AS r(name, privilege) WHERE to_regclass(r.name) IS NOT NULL AND NOT \
    CASE WHEN r.privilege = 'DELETE' THEN has_table_privilege(to_regclass(r.name), r.privilege) \
    ELSE has_any_column_privilege(to_regclass(r.name), r.privilege) END";

const SQLITE_ALIKE: &str = "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) i \
    WHERE m.type = 'table' AND m.name <> ? AND i.name IN";

const POSTGRES_ALIKE: &str = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
    WHERE c.relkind IN ('r', 'p') AND c.oid IS DISTINCT FROM to_regclass(?)::oid AND NOT a.attisdropped \
    AND has_table_privilege(c.oid, 'SELECT') AND a.attname IN";

const MYSQL_ALIKE: &str = "SELECT CAST(table_name AS CHAR) FROM information_schema.columns \
    WHERE table_schema = DATABASE() AND table_name <> ? AND column_name IN";
