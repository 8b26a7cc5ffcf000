//! A Django project and the service on one database, and what is asked of both.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokenward::proto::{AnswerSource, InactiveReason};

use super::project::{Django, KNOX_5, Packages, Project, on_mariadb, on_postgres, on_sqlite};
use crate::harness::{
    client::{Client, about},
    eventually::{eventually, report, within},
    server::{Settings, directory, setting},
    stack::{self, Database, On, Stack, With},
};

/// The default of `coherence.max_staleness`.
const BOUND: Duration = Duration::from_secs(1);
/// The bound holds whether or not a poll was slow.
const SETTINGS: [(&str, &str); 2] =
    [("TOKENWARD_DATABASE__SCHEMA", "knox"), ("TOKENWARD_COHERENCE__OUTAGE_GRACE", "0s")];

const FILE: &str = "site.sqlite3";

/// What a site is made of.
pub(super) struct Plan {
    pub(super) on: On,
    pub(super) with: With,
    pub(super) packages: Packages,
    /// Who else writes to the service's Redis.
    pub(super) beside: Beside,
    /// Django's settings.
    pub(super) django: Value,
    /// The service's.
    pub(super) service: Vec<(&'static str, &'static str)>,
}

/// What Django has in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing.
    Nothing,
    /// The cache of django-rest-knox-redis.
    KnoxRedis,
}

/// Both, and what they share.
pub(super) struct Site {
    // Dropped before the database.
    pub(super) django: Django,
    pub(super) project: Project,
    pub(super) stack: Stack,
    /// The service's settings.
    pub(super) settings: Settings,
    bound: Duration,
    file: TempDir,
}

/// A token that knox issued.
pub(super) struct Theirs {
    pub(super) secret: String,
    pub(super) row: Value,
}

// === impl Plan ===

impl Plan {
    /// The defaults of both: in the service's own memory on SQLite, in Redis on a server.
    pub(super) fn on(on: On) -> Self {
        let with = if on == On::Sqlite { With::Memory } else { With::Redis };
        Self { on, with, packages: KNOX_5, beside: Beside::Nothing, django: json!({}), service: vec![] }
    }

    /// Django's tables first, then ours beside them.
    pub(super) async fn start(self) -> Site {
        let file = directory();
        let (database, django, url) = self.database(&file).await;
        let mut project = Project::new(self.packages, django);
        project.migrate(&self.django);
        let mut settings: Vec<_> = SETTINGS.to_vec();
        settings.extend(self.service);
        settings.push(("TOKENWARD_DATABASE__URL", &url));
        let mut stack = Stack::start_on(database, self.with, &settings).await;
        if self.beside == Beside::KnoxRedis {
            project.cache_in(&stack.redis().server);
        }
        let django = project.start(&joined(&extra(&stack, &json!({})), &self.django));
        let settings = settings.into_iter().map(|(key, value)| setting(key, value)).collect();
        let bound = if self.with == With::Memory { Duration::ZERO } else { BOUND };
        Site { django, project, stack, settings, bound, file }
    }

    async fn database(&self, file: &TempDir) -> (Database, Value, String) {
        match self.on {
            On::Postgres => {
                let postgres = stack::postgres().await;
                let url = format!("postgres://tokenward@{}/tokenward", postgres.relay.address());
                let django = on_postgres(&postgres.server);
                (Database::Postgres(postgres), django, url)
            }
            On::MariaDb => {
                let mariadb = stack::mariadb().await;
                let url = format!("mysql://root@{}/tokenward", mariadb.relay.address());
                let django = on_mariadb(&mariadb.server);
                (Database::MariaDb(mariadb), django, url)
            }
            On::Sqlite => {
                let path = file.path().join(FILE);
                (Database::Sqlite, on_sqlite(&path), format!("sqlite://{}", path.display()))
            }
        }
    }
}

// === impl Site ===

impl Site {
    /// With the defaults of both.
    pub(super) async fn start(on: On) -> Self {
        Plan::on(on).start().await
    }

    /// The SQLite file, where that is the database.
    pub(super) fn file(&self) -> PathBuf {
        self.file.path().join(FILE)
    }

    pub(super) fn client(&self) -> Client {
        self.stack.client()
    }

    /// A user of Django's, by its primary key.
    pub(super) async fn user(&self, name: &str) -> String {
        self.django.text("create_user", json!([name])).await
    }

    /// A token that knox issued.
    pub(super) async fn theirs(&self, user: &str) -> Theirs {
        Theirs::from(&self.django.call("issue", json!([user])).await)
    }

    /// What a view answers that a class protects: knox's, the example's or knox-redis's.
    pub(super) async fn seen(&self, class: &str, authorization: &str) -> Value {
        self.django.call("request", json!(["GET", format!("/{class}/whoami/"), authorization])).await
    }

    /// Whether such a view accepts a token.
    pub(super) async fn accepts(&self, class: &str, secret: &str) -> bool {
        self.seen(class, &format!("Token {secret}")).await["status"] == 200
    }

    pub(super) async fn post(&self, path: &str, secret: &str) -> i64 {
        let answer = self.django.call("request", json!(["POST", path, format!("Token {secret}")])).await;
        answer["status"].as_i64().expect("a status")
    }

    /// Looks until the token is refused. No look that began later than the bound after its end may
    /// accept it; on SQLite, where cached answers are proved one by one, no look at all.
    pub(super) async fn refused_within_the_bound(&self, what: &str, secret: &str) -> InactiveReason {
        let (client, bound, ended) = (self.client(), self.bound, Instant::now());
        let refused = async || {
            let began = Instant::now();
            let answer = client.try_authenticate(about(secret)).await.ok()?;
            assert!(!answer.active || began <= ended + bound, "{what}: accepted {:?} later", began - ended);
            (!answer.active).then(|| answer.inactive_reason())
        };
        let (reason, took) = within(what, 20 * BOUND, refused).await;
        report(&format!("  {what}: noticed after {took:?}"));
        reason
    }
}

// === impl Theirs ===

impl From<&Value> for Theirs {
    fn from(issued: &Value) -> Self {
        Self { secret: issued["secret"].as_str().expect("a secret").to_owned(), row: issued["row"].clone() }
    }
}

/// Settings of Django's.
pub(super) fn extra(stack: &Stack, knox: &Value) -> Value {
    let target = stack.server.url().trim_start_matches("http://");
    json!({ "TOKENWARD": { "TARGET": target, "TIMEOUT": 10, "REVOKE_TIMEOUT": 10 }, "REST_KNOX": knox })
}

/// Waits until the token is answered from the cache.
pub(super) async fn hot(client: &Client, secret: &str) {
    let hit = async || {
        let answer = client.authenticate(secret).await;
        assert!(answer.active, "{answer:?}");
        matches!(answer.source(), AnswerSource::SharedCache | AnswerSource::LocalCache).then_some(())
    };
    eventually("the token is answered from the cache", hit).await;
}

fn joined(first: &Value, second: &Value) -> Value {
    let entries = [first, second].into_iter().filter_map(Value::as_object).flatten();
    Value::Object(entries.map(|(key, value)| (key.clone(), value.clone())).collect())
}
