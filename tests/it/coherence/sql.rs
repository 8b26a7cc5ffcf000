//! What other programs write: an administrator, Django, a cascade.

use std::{fmt, time::Duration};

use sea_orm::DbErr;
use tokio::time::timeout;

use crate::harness::{
    sql,
    stack::{DJANGO, On},
};

/// Whose tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    Native,
    Knox,
}

/// A way into the database past the relays.
#[derive(Clone, Debug)]
pub(super) struct Sql {
    on: On,
    schema: Schema,
    url: String,
}

/// Why a statement has no answer; it may take effect all the same.
#[derive(Debug)]
pub(super) enum NoAnswer {
    Failed(DbErr),
    Late,
}

/// A database that hangs is given up after this.
const PATIENCE: Duration = Duration::from_secs(4);

// === impl NoAnswer ===

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Late => f.write_str("no answer"),
        }
    }
}

// === impl Sql ===

impl Sql {
    pub(super) fn new(on: On, schema: Schema, url: String) -> Self {
        Self { on, schema, url }
    }

    /// Where it leads.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn schema(&self) -> Schema {
        self.schema
    }

    /// Runs statements, in one transaction where there are several.
    pub(super) async fn run(&self, statements: &str) -> Result<(), NoAnswer> {
        match timeout(PATIENCE, sql::execute(&self.url, statements)).await {
            Ok(done) => done.map_err(NoAnswer::Failed),
            Err(_) => Err(NoAnswer::Late),
        }
    }

    /// Runs statements that must succeed.
    pub(super) async fn must(&self, statements: &str) {
        self.run(statements).await.unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// Before the service's own migration.
    pub(super) async fn prepare_schema(&self) {
        if self.schema == Schema::Knox {
            self.must(&format!("SET ROLE tokenward; {DJANGO}")).await;
        }
    }

    /// After it: an operator may well want tokens to go with their user.
    pub(super) async fn finish_schema(&self) {
        if self.schema == Schema::Native && self.on != On::Sqlite {
            self.must(
                "ALTER TABLE tokenward_token ADD CONSTRAINT tokens_go_with_their_user \
                 FOREIGN KEY (user_id) REFERENCES tokenward_user (id) ON DELETE CASCADE",
            )
            .await;
        }
    }

    /// A user, where the service does not make them.
    pub(super) fn create_user(&self, user: &str) -> Option<String> {
        (self.schema == Schema::Knox).then(|| {
            format!(
                "INSERT INTO auth_user VALUES ({user}, '', NULL, false, 'user{user}', '', '', '', false, true, now())"
            )
        })
    }

    pub(super) fn delete_token(&self, token_id: &str) -> String {
        format!("DELETE FROM {} WHERE digest LIKE '{token_id}%'", self.tokens())
    }

    pub(super) fn expire_token(&self, token_id: &str) -> String {
        let past = match self.on {
            On::Sqlite => "datetime('now', '-1 minute')",
            On::Postgres => "now() - interval '1 minute'",
            On::MariaDb => "UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE",
        };
        format!("UPDATE {} SET expiry = {past} WHERE digest LIKE '{token_id}%'", self.tokens())
    }

    pub(super) fn set_active(&self, user: &str, active: bool) -> String {
        match self.schema {
            Schema::Native => format!("UPDATE tokenward_user SET active = {active} WHERE id = '{user}'"),
            Schema::Knox => format!("UPDATE auth_user SET is_active = {active} WHERE id = {user}"),
        }
    }

    /// With the tokens: by a cascade, or by Django's own.
    pub(super) fn delete_user(&self, user: &str) -> String {
        match self.schema {
            Schema::Native => format!("DELETE FROM tokenward_user WHERE id = '{user}'"),
            Schema::Knox => {
                format!("DELETE FROM knox_authtoken WHERE user_id = {user}; DELETE FROM auth_user WHERE id = {user}")
            }
        }
    }

    /// What keeps triggers from firing, and what undoes it.
    pub(super) fn triggers(&self, enabled: bool) -> String {
        let verb = if enabled { "ENABLE ALWAYS" } else { "DISABLE" };
        let (tokens, users) = (self.tokens(), self.users());
        format!(
            "DO $$ DECLARE t record; BEGIN FOR t IN SELECT tgname, tgrelid::regclass AS tab FROM pg_trigger \
             WHERE NOT tgisinternal AND tgrelid IN ('{tokens}'::regclass, '{users}'::regclass) LOOP \
             EXECUTE format('ALTER TABLE %s {verb} TRIGGER %I', t.tab, t.tgname); END LOOP; END $$"
        )
    }

    fn tokens(&self) -> &'static str {
        match self.schema {
            Schema::Native => "tokenward_token",
            Schema::Knox => "knox_authtoken",
        }
    }

    fn users(&self) -> &'static str {
        match self.schema {
            Schema::Native => "tokenward_user",
            Schema::Knox => "auth_user",
        }
    }
}
