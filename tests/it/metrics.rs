//! What `/metrics` shows: what the documentation lists, and nothing that stands still.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokenward::proto::{AnswerSource, DeleteUserRequest, RevokeAllRequest, User};

use crate::harness::{
    client::Client,
    eventually::{eventually, report},
    http::get,
    prometheus::{Prometheus, promtool},
    raw::Call,
    relay::Fault,
    stack::{On, Stack, With},
};

mod counted;
mod seldom;

const SETTINGS: [(&str, &str); 4] = [
    ("TOKENWARD_HTTP__LISTEN", "127.0.0.1:0"),
    ("TOKENWARD_BREAKER__OPEN_MAX", "500ms"),
    ("TOKENWARD_COHERENCE__REPROOF_RATIO", "1"),
    ("TOKENWARD_HEALTH__INTERVAL", "50ms"),
];

/// A family: its type, and the names of its labels.
type Family = (String, BTreeSet<String>);
/// A family, what its labels have to hold, and a number.
type Row = (&'static str, &'static [&'static str], f64);

/// One scrape.
struct Scrape(String);

// === impl Scrape ===

impl Scrape {
    async fn of(url: &str) -> Self {
        Self(get(url, "/metrics").await.body)
    }

    /// The samples by name and labels: `name{a="b"}`.
    fn samples(&self) -> BTreeMap<&str, f64> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| line.rsplit_once(' '));
        samples.map(|(name, value)| (name, value.parse().expect("a sample is a number"))).collect()
    }

    /// The sum of the samples of a family whose labels hold all of these.
    fn sum(&self, family: &str, labels: &[&str]) -> f64 {
        let of = |name: &str| name == family || name.strip_prefix(family).is_some_and(|rest| rest.starts_with('{'));
        let samples = self.samples().into_iter();
        samples.filter(|(name, _)| of(name) && labels.iter().all(|label| name.contains(label))).map(|(_, it)| it).sum()
    }

    /// By how much that sum is greater than it was in an earlier scrape.
    fn gained(&self, since: &Self, family: &str, labels: &[&str]) -> f64 {
        self.sum(family, labels) - since.sum(family, labels)
    }

    fn families(&self) -> BTreeMap<String, Family> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        types.map(|(name, kind)| (name.to_owned(), (kind.to_owned(), self.labels(name, kind)))).collect()
    }

    fn labels(&self, family: &str, kind: &str) -> BTreeSet<String> {
        let name = if kind == "histogram" { format!("{family}_bucket") } else { family.to_owned() };
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(&*name)?.strip_prefix('{')?.split_once('}'));
        let pairs = lines.flat_map(|(labels, _)| labels.split("\",")).filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, _)| name.to_owned()).filter(|name| name != "le").collect()
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The rows of the tables in `docs/metrics.md`.
fn documented() -> BTreeMap<String, Family> {
    let text = fs::read_to_string(repository("docs/metrics.md")).expect("the list is there");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let labels = cells[3].split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (cells[1].clone(), (cells[2].clone(), labels))
    };
    rows.map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_what_the_documentation_lists_and_promtool_has_nothing_to_say() {
    let stack = Stack::start_with(On::Sqlite, With::Redis, &SETTINGS).await;
    let client = stack.client();
    let issued = client.issue("alice").await;
    client.authenticate(&issued.secret).await;
    client.revoke(&issued.secret).await;
    let url = stack.server.http();
    let has_lease = async || {
        let scrape = Scrape::of(&url).await;
        scrape.0.contains("journal_lease_age_seconds").then_some(scrape)
    };
    let scrape = eventually("there is a lease", has_lease).await;
    assert_eq!(scrape.families(), documented());
    assert!(scrape.sum("tokenward_journal_lease", &[]) > 0.5, "there is a lease");
    let file = stack.server.dir().join("scrape.txt");
    fs::write(&file, &scrape.0).expect("a test's directory is writable");
    promtool(&["check", "metrics"], &file).unwrap_or_else(|said| panic!("{said}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_shown_names_a_token_or_a_user() {
    let stack = Stack::start_with(On::Sqlite, With::Memory, &SETTINGS).await;
    let issued = stack.client().issue("a-user-of-this-name").await;
    stack.client().authenticate(&issued.secret).await;
    let url = stack.server.http();
    for page in ["/metrics", "/status.json", "/readyz", "/livez"] {
        let body = get(&url, page).await.body;
        for secret in [&*issued.secret, &*issued.token_id, "a-user-of-this-name"] {
            assert!(!body.contains(secret), "{page}: {body}");
        }
    }
}

/// What [`exercise`] moves, and by how much at least.
const MOVED: [Row; 22] = [
    ("grpc_server_started_total", &["grpc_method=\"Authenticate\""], 4.0),
    ("grpc_server_handled_total", &["grpc_method=\"Authenticate\"", "grpc_code=\"OK\""], 4.0),
    ("grpc_server_handled_total", &["grpc_method=\"unknown\"", "grpc_code=\"Unimplemented\""], 1.0),
    ("grpc_server_handling_seconds_count", &["grpc_method=\"Authenticate\""], 4.0),
    ("tokenward_authentications_total", &["result=\"active\"", "source=\"database\""], 1.0),
    ("tokenward_authentications_total", &["result=\"active\"", "source=\"shared_cache\""], 1.0),
    ("tokenward_authentications_total", &["result=\"unknown\"", "source=\"database\""], 1.0),
    ("tokenward_authentications_total", &["result=\"unknown\"", "source=\"local_cache\""], 1.0),
    ("tokenward_authentications_total", &["result=\"malformed\"", "source=\"none\""], 1.0),
    ("tokenward_issued_total", &[], 4.0),
    ("tokenward_revocations_total", &["scope=\"token\""], 1.0),
    ("tokenward_revocations_total", &["scope=\"user_tokens\""], 1.0),
    ("tokenward_revocations_total", &["scope=\"user_deleted\""], 1.0),
    ("tokenward_revocations_total", &["scope=\"user_disabled\""], 1.0),
    ("tokenward_revocation_propagation_seconds_count", &["state=\"complete\""], 4.0),
    ("tokenward_cache_requests_total", &["tier=\"redis\"", "result=\"hit\""], 1.0),
    ("tokenward_cache_requests_total", &["tier=\"redis\"", "result=\"miss\""], 1.0),
    ("tokenward_cache_requests_total", &["tier=\"memo\"", "result=\"negative_hit\""], 1.0),
    ("tokenward_database_query_seconds_count", &["query=\"find\""], 2.0),
    ("tokenward_database_query_seconds_count", &["query=\"issue\""], 4.0),
    ("tokenward_database_query_seconds_count", &["query=\"poll\""], 1.0),
    ("tokenward_database_query_seconds_count", &["query=\"ping\""], 1.0),
];

async fn exercise(client: &Client, url: &str) {
    let issued = client.issue("alice").await;
    let cached =
        async || (client.authenticate(&issued.secret).await.source() == AnswerSource::SharedCache).then_some(());
    eventually("it is answered from Redis", cached).await;
    client.reason(&"0".repeat(64)).await;
    client.reason(&"0".repeat(64)).await;
    client.reason("with space").await;
    client.revoke(&issued.secret).await;
    for user in ["bob", "carol", "dave"] {
        client.issue(user).await;
    }
    let all = RevokeAllRequest { user_id: "bob".to_owned(), ..RevokeAllRequest::default() };
    client.tokens.clone().revoke_all(all).await.expect("all can be revoked");
    let delete = DeleteUserRequest { user_id: "carol".to_owned() };
    client.users.clone().delete_user(delete).await.expect("a user can be deleted");
    client.upsert_user(User { user_id: "dave".to_owned(), active: false, ..User::default() }).await;
    Call::new("/made.up.Service/by-a-client", Vec::new()).send(url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_moves() {
    let stack = Stack::start_with(On::Sqlite, With::Redis, &SETTINGS).await;
    let url = stack.server.http();
    let before = Scrape::of(&url).await;
    exercise(&stack.client(), stack.server.url()).await;
    let all = async || {
        let after = Scrape::of(&url).await;
        let stands = |row: &&Row| after.gained(&before, row.0, row.1) < row.2;
        let still: Vec<_> = MOVED.iter().filter(stands).collect();
        let reproved = after.sum("tokenward_cache_reproofs_total", &[]) >= 1.0;
        if !still.is_empty() {
            report(&format!("stands still: {still:?}"));
        }
        (still.is_empty() && reproved).then_some(after)
    };
    let scrape = eventually("all of it has moved", all).await;
    assert!(scrape.sum("grpc_server_in_flight", &["Authenticate"]) < 0.5);
    assert!(!scrape.0.contains("by-a-client"), "a client's text is no label");
    for (result, count) in [("malformed", "1"), ("unknown", "2")] {
        let counted = scrape.gained(&before, "tokenward_authentications_total", &[&format!("result=\"{result}\"")]);
        assert_eq!(counted.to_string(), count, "{result}: once for each call");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_redis_shows_and_its_end_does() {
    let mut stack = Stack::start_with(On::Sqlite, With::Redis, &SETTINGS).await;
    let (url, client) = (stack.server.http(), stack.client());
    let secret = client.issue("alice").await.secret;
    let ended = client.issue("bob").await.secret;
    client.authenticate(&secret).await;
    stack.redis().server.kill();
    let is = async |rows: &[Row]| {
        let scrape = Scrape::of(&url).await;
        rows.iter().all(|(name, labels, least)| scrape.sum(name, labels) >= *least).then_some(scrape)
    };
    let opens = async || {
        client.authenticate(&secret).await;
        let opened: [Row; 2] = [
            ("tokenward_breaker_transitions_total", &["to=\"open\""], 1.0),
            ("tokenward_cache_requests_total", &["tier=\"redis\"", "result=\"bypass\""], 1.0),
        ];
        is(&opened).await.filter(|scrape| scrape.sum("tokenward_health_status", &["service=\"redis\""]) < 0.5)
    };
    let scrape = eventually("the breaker opens", opens).await;
    assert!(scrape.sum("tokenward_cache_fill_rejected_total", &["reason=\"bypass\""]) >= 1.0);
    client.revoke(&ended).await;
    let scrape = Scrape::of(&url).await;
    for (state, count) in [("complete", 0.0), ("pending", 1.0)] {
        let answered = scrape.sum("tokenward_revocation_propagation_seconds_count", &[state]);
        assert!((answered - count).abs() < 0.5, "{answered} {state}");
    }
    for name in ["pending", "pending_oldest_age_seconds"] {
        assert!(scrape.sum(&format!("tokenward_revocation_{name}"), &[]) > 0.0, "{name}");
    }
    assert!(scrape.sum("tokenward_cache_tombstones_owed_total", &[]) >= 1.0);
    assert!(scrape.sum("tokenward_health_status", &["service=\"\""]) > 0.5, "the replica goes on");
    stack.redis().server.restart().await;
    let closes = async || {
        let closed: [Row; 2] = [
            ("tokenward_breaker_state", &["state=\"closed\""], 1.0),
            ("tokenward_health_status", &["service=\"redis\""], 1.0),
        ];
        is(&closed).await.filter(|scrape| scrape.sum("tokenward_revocation_pending", &[]) < 0.5)
    };
    eventually("the breaker closes and the tombstone is written", closes).await;
    let told = async || {
        let page: Value = serde_json::from_str(&get(&url, "/status.json").await.body).expect("it is JSON");
        let turns = page["breaker_transitions"].as_array().expect("transitions are told");
        assert_eq!(turns.last().expect("there were some")["state"], "CIRCUIT_BREAKER_STATE_CLOSED");
        let points = page["recent"].as_array().expect("points are told");
        points.iter().any(|point| point["checks_per_second"].as_f64() > Some(0.0)).then_some(())
    };
    eventually("the last seconds are told", told).await;
}

/// In memory alone each answer is proved by a poll, and there is no lease; with Redis there is one, whose age and the
/// journal's lag grow while the database cannot be reached.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_there_while_cached_answers_may_be_given_and_not_when_the_database_is_lost() {
    const AGE: &str = "tokenward_journal_lease_age_seconds";
    for with in [With::Memory, With::Redis] {
        let mut stack = Stack::start_with(On::Postgres, with, &SETTINGS).await;
        let url = stack.server.http();
        let figures = async |what: &str, lease: f64, holds: fn(f64, Option<f64>) -> bool| {
            let shown = async || {
                let scrape = Scrape::of(&url).await;
                let (samples, age) = (scrape.samples(), scrape.samples().get(AGE).copied());
                assert!(age.is_none() || with == With::Redis, "without a lease, it has no age");
                let [is, lag] = ["lease", "lag_seconds"].map(|name| samples[&*format!("tokenward_journal_{name}")]);
                ((is - lease).abs() < 0.5 && age.is_some() == (with == With::Redis) && holds(lag, age)).then_some(())
            };
            eventually(what, shown).await;
        };
        let fresh = |lag, age: Option<f64>| lag < 1.0 && age.is_none_or(|age| age < 1.0);
        // Longer than a lease, which is one second.
        let old = |lag, age: Option<f64>| lag > 1.5 && age.is_none_or(|age| age > 1.5);
        figures("cached answers may be given", 1.0, fresh).await;
        stack.postgres().relay.inject(Fault::Refuse);
        figures("no longer", 0.0, old).await;
        stack.postgres().relay.inject(Fault::None);
        figures("again", 1.0, fresh).await;
    }
}

fn rules() -> String {
    fs::read_to_string(repository("deploy/prometheus/alerts.yaml")).expect("the rules are there")
}

/// The metrics that a text names, without their suffixes.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours =
        words.filter(|word| ["tokenward_", "grpc_server_", "process_"].iter().any(|head| word.starts_with(head)));
    let family =
        |name: &str| ["_bucket", "_sum", "_count"].iter().find_map(|tail| name.strip_suffix(tail)).map(str::to_owned);
    ours.map(|name| family(name).unwrap_or_else(|| name.to_owned())).collect()
}

#[test]
fn every_metric_that_a_rule_names_exists_and_promtool_accepts_the_rules() {
    let (named, known) = (named(&rules()), documented());
    assert!(named.len() > 8, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !known.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let path = repository("deploy/prometheus/alerts.yaml");
    let said = promtool(&["check", "rules", path.to_str().expect("a path is text")], Path::new("/dev/null"));
    said.unwrap_or_else(|said| panic!("{said}"));
}

/// The rules as they are, but for how long a condition has to last.
fn sooner(rules: &str) -> String {
    let lasts = |line: &str| line.trim_start().starts_with("for:");
    let lines = rules.lines().map(|line| if lasts(line) { "        for: 1s" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alert_fires_when_redis_is_killed_and_clears_when_it_is_back() {
    let mut stack = Stack::start_with(On::Sqlite, With::Redis, &SETTINGS).await;
    let client = stack.client();
    let secret = client.issue("alice").await.secret;
    let prometheus = Prometheus::start(&stack.server.http(), &sooner(&rules())).await;
    let alert = "TokenwardRedisBreakerOpen";
    let is = async |state: Option<&str>| {
        client.authenticate(&secret).await;
        (prometheus.alert(alert).await.as_deref() == state).then_some(())
    };
    assert_eq!(prometheus.alert(alert).await, None);
    stack.redis().server.kill();
    eventually("the alert fires", async || is(Some("firing")).await).await;
    stack.redis().server.restart().await;
    eventually("the alert clears", async || is(None).await).await;
    assert_eq!(prometheus.failures().await, Vec::<String>::new());
    for quiet in ["TokenwardDown", "TokenwardNotReady", "TokenwardCoherenceViolation"] {
        assert_eq!(prometheus.alert(quiet).await, None, "{quiet}");
    }
}
