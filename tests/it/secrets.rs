//! Secrets stay where they belong: a sweep over what the service does and what goes wrong with it, at log level trace,
//! with every call traced and in both forms of log lines, and then a search of everything that must not hold a part of
//! one.
//!
//! What holds one by contract is the answer of IssueToken and RotateToken, which is not searched. Every other test of
//! the suite is searched as well, by the harness (`harness/canary.rs`, `harness/held.rs`).

use std::{fs, path::Path};

use tempfile::TempDir;
use tokenward::proto::{GetStatusRequest, IssueTokenRequest};

use crate::harness::{
    callers::{self, with_key},
    canary::Canaries,
    client::{Client, Issued},
    eventually::eventually,
    http,
    otlp::Collector,
    redis::Redis,
    server::{Server, Settings, directory, setting, tokenward},
    sql,
    stack::{self, Behind},
    template,
};

mod doors;
mod sweep;

/// Passwords and keys that are searched for.
const DATABASE: &str = "canary-of-the-database-71c09e";
const REDIS: &str = "canary-of-the-cache-5d21f8";
const MAC: &str = "canary-of-the-mac-key-0b7a46-and-some-more-of-it";
const ADMIN: &str = "canary-admin-key-8e4f10-and-some-more-of-it";
const GATEWAY: &str = "canary-gateway-key-c2d693-and-some-more-of-it";
/// A caller's key that nobody has, a password that is wrong, and what somebody takes for a URL or a key.
const WRONG_KEY: &str = "canary-of-a-wrong-key-94b7aa-and-some-more";
const WRONG_PASSWORD: &str = "canary-of-a-wrong-password-3c55e1";
const MISTAKE: &str = "canary-of-a-mistake-f0a8d2";

const CALLERS: &str = r#"
    [[caller]]
    name = "admin"
    keys_file = "admin.keys"
    methods = ["*"]

    [[caller]]
    name = "gateway"
    keys_file = "gateway.keys"
    methods = ["TokenService/Authenticate"]
"#;

/// Of what there are records, and spans, before they are searched.
const AUDITED: [&str; 6] = ["IssueToken", "Revoke", "RotateToken", "DeleteUser", "FlushCache", "CallRefused"];
const TRACED: [&str; 6] = [
    "tokenward.v1.TokenService/Authenticate",
    "tokenward.v1.TokenService/Revoke",
    "envoy.service.auth.v3.Authorization/Check",
    "POST /introspect",
    "GETRANGE",
    "find",
];

/// A service whose every secret is a canary.
struct Scene {
    server: Server,
    client: Client,
    postgres: Behind<crate::harness::postgres::Postgres>,
    redis: Behind<Redis>,
    settings: Settings,
    /// The callers file and the keys.
    callers: TempDir,
    collector: Collector,
    tokens: Vec<Issued>,
    /// What was seen: where, and what.
    seen: Vec<(String, Vec<u8>)>,
}

// === impl Scene ===

impl Scene {
    async fn start(format: &str) -> Self {
        let (postgres, mut redis) = (stack::postgres().await, stack::redis().await);
        redis.server.set_password(REDIS).await;
        let (callers, named) = callers::written(CALLERS, &[("admin.keys", ADMIN), ("gateway.keys", GATEWAY)]);
        let collector = Collector::start().await;
        let database = format!("postgres://tokenward:{DATABASE}@{}/tokenward", postgres.relay.address());
        let own = vec![
            setting("TOKENWARD_DATABASE__URL", database),
            setting("TOKENWARD_REDIS__URL", format!("redis://:{REDIS}@{}", redis.relay.address())),
            setting("TOKENWARD_CACHE__MAC_KEY", MAC),
            setting("TOKENWARD_LOG__FORMAT", format),
            setting("TOKENWARD_LOG__LEVEL", "trace"),
            setting("TOKENWARD_SERVER__REFLECTION", "true"),
            setting("TOKENWARD_COHERENCE__REPROOF_RATIO", "1"),
            setting("TOKENWARD_HTTP__LISTEN", "127.0.0.1:0"),
            setting("TOKENWARD_INTROSPECTION__ENABLED", "true"),
            setting("TOKENWARD_EXT_AUTHZ__ENABLED", "true"),
            setting("TOKENWARD_AUDIT__TABLE", "true"),
            setting("TOKENWARD_TRACES__ENDPOINT", collector.url()),
            setting("TOKENWARD_TRACES__RATIO", "1"),
        ];
        let settings = [own, named].concat();
        let dir = directory();
        template::run(tokenward(dir.path(), &settings).args(["migrate", "up"]));
        let server = Server::start_in(dir, &settings).await;
        let client = server.client();
        Self { server, client, postgres, redis, settings, callers, collector, tokens: vec![], seen: vec![] }
    }

    /// Keeps what a call or a command said.
    fn note(&mut self, place: &str, said: impl Into<Vec<u8>>) {
        self.seen.push((place.to_owned(), said.into()));
    }

    /// Runs a verb to its end, whatever that is, and keeps what it says.
    fn run(&mut self, settings: &Settings, args: &[&str]) {
        self.run_in(&directory(), settings, args);
    }

    fn run_in(&mut self, dir: &TempDir, settings: &Settings, args: &[&str]) {
        let output = tokenward(dir.path(), settings).args(args).output().expect("the program starts");
        self.note(&format!("the output of {args:?}"), [output.stdout, output.stderr].concat());
    }

    async fn issue(&mut self, user: &str, more: IssueTokenRequest) -> Issued {
        let request = IssueTokenRequest { user_id: user.to_owned(), ..more };
        let issued = self.client.tokens.clone().issue_token(with_key(request, ADMIN)).await;
        let issued = Issued::from(issued.expect("a token can be issued").into_inner());
        self.tokens.push(issued.clone());
        issued
    }

    /// The second listener, while something is going on and at the end.
    async fn read_pages(&mut self) {
        for path in ["/", "/status.json", "/metrics", "/livez", "/readyz", "/nothing"] {
            let page = http::get(&self.server.http(), path).await;
            self.note(&format!("GET {path}"), page.head + &page.body);
        }
    }

    /// What is written behind has been: records of the trail, and spans of each kind.
    async fn settle(&self) {
        let url = self.postgres.server.admin_url();
        let recorded = async || {
            let tables = sql::everything(&url).await;
            let (_, rows) = tables.iter().find(|(table, _)| table == "tokenward_audit")?;
            let rows = String::from_utf8_lossy(rows);
            AUDITED.iter().all(|event| rows.contains(event)).then_some(())
        };
        eventually("the table has records", recorded).await;
        let traced = async || {
            let names: Vec<_> = self.collector.spans().into_iter().map(|span| span.name).collect();
            TRACED.iter().all(|wanted| names.iter().any(|name| name == wanted)).then_some(())
        };
        eventually("spans are exported", traced).await;
    }

    /// Everything that is left where others can look.
    async fn look_around(&mut self) {
        self.settle().await;
        self.read_pages().await;
        self.note("traces", self.collector.text());
        self.note("traces", self.collector.bytes());
        self.note("the output of the server", self.server.output());
        self.note("the process list", self.server.command_line());
        for (key, value) in self.redis.server.everything().await {
            self.note("Redis", [key.as_bytes(), b" ", &value].concat());
        }
        let url = self.postgres.server.admin_url();
        for (table, rows) in sql::everything(&url).await {
            self.note(&format!("the table {table}"), rows);
        }
        // With the values that statements were executed with.
        self.note("the log of PostgreSQL", self.postgres.server.log());
        let status = self.client.status.clone().get_status(with_key(GetStatusRequest {}, ADMIN)).await;
        self.note("GetStatus", format!("{:?}", status.expect("a service knows its status")));
        self.note("its directory", names(self.server.dir()));
    }

    /// All that was seen, without a part of any canary.
    fn assert_nothing_shows(&self) {
        let mut canaries = Canaries::default();
        for secret in [DATABASE, REDIS, MAC, ADMIN, GATEWAY, WRONG_KEY, WRONG_PASSWORD, MISTAKE] {
            canaries.add(secret);
        }
        for token in &self.tokens {
            canaries.add(&token.secret);
        }
        let mut found = Vec::new();
        for (place, text) in &self.seen {
            found.extend(canaries.found_in(text).into_iter().map(|what| format!("{place}: {what}")));
        }
        assert!(found.is_empty(), "{} finds: {:#?}", found.len(), &found[..found.len().min(20)]);
    }
}

fn names(dir: &Path) -> String {
    let entries = fs::read_dir(dir).expect("a test's directory is readable").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned() + " ").collect()
}

async fn no_secret_shows(format: &str) {
    let mut scene = Scene::start(format).await;
    sweep::calls(&mut scene).await;
    doors::every_door(&mut scene).await;
    sweep::refusals(&mut scene).await;
    sweep::commands(&mut scene);
    sweep::outages(&mut scene).await;
    doors::every_door(&mut scene).await;
    scene.look_around().await;
    assert!(scene.server.output().contains("TRACE"), "it logs at the level that was asked for");
    scene.assert_nothing_shows();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_in_human_logs_or_anywhere_else() {
    no_secret_shows("human").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_in_json_logs_or_anywhere_else() {
    no_secret_shows("json").await;
}
