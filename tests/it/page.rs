//! The status page, in a real browser.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{Instant, interval},
};

use crate::harness::{
    browser::{Scheme, Visit, corner, picture, visit},
    client::Client,
    eventually::{eventually, report, within},
    http::{get, try_get},
    server::{Server, setting},
    stack::{On, Stack, With},
    template::directory,
};

const HTTP: (&str, &str) = ("TOKENWARD_HTTP__LISTEN", "127.0.0.1:0");

/// What the page shows, as it is told.
async fn told(url: &str) -> Value {
    serde_json::from_str(&get(url, "/status.json").await.body).expect("it is JSON")
}

async fn headline(url: &str, wanted: &str) {
    let says = async || (told(url).await["verdict"]["headline"] == wanted).then_some(());
    eventually(&format!("the verdict is {wanted:?}"), says).await;
}

/// Some checks, most of them from the cache, until the latest point tells of them.
async fn checked(client: &Client, url: &str) {
    let issued = client.issue("alice").await;
    let known = async || {
        for _ in 0..20 {
            client.authenticate(&issued.secret).await;
        }
        let told = told(url).await;
        let latest = told["recent"].as_array().and_then(|points| points.last()?["p99_seconds"].as_f64());
        latest.filter(|seconds| *seconds > 0.0)
    };
    eventually("the latest point tells of the checks", known).await;
}

/// The text of the element with this id, without its children's tags.
fn text_of(dom: &str, id: &str) -> String {
    let (before, rest) = dom.split_once(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("there is a {id}: {dom}"));
    let (_, tag) = before.rsplit_once('<').expect("a tag begins");
    let (_, rest) = rest.split_once('>').expect("a tag ends");
    let end = rest.find(&format!("</{}>", tag.split_whitespace().next().expect("a tag has a name")));
    let mut text = String::new();
    let mut inside = true;
    for c in rest[..end.unwrap_or(rest.len())].chars() {
        match c {
            '<' => inside = false,
            '>' => inside = true,
            c if inside => text.push(c),
            _ => {}
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_the_replica_tells_and_asks_nobody_else() {
    let stack = Stack::start_with(On::Sqlite, With::Redis, &[HTTP]).await;
    let url = stack.server.http();
    checked(&stack.client(), &url).await;
    headline(&url, "All is well").await;
    let known = stack.client().issue("bob").await.secret;
    let checking = tokio::spawn(load(stack.client(), known, 50.0));
    let visit = eventually("each plot says its latest value", async || plotted(&url).await).await;
    checking.abort();
    assert_eq!(visit.console, [""; 0], "no message, so no error and nothing that the policy refused");
    let foreign: Vec<_> = visit.requests.iter().filter(|asked| !asked.starts_with(&url)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(visit.requests.contains(&format!("{url}/status.json")), "it asks again: {:?}", visit.requests);

    let status = &told(&url).await["status"];
    let dom = &visit.dom;
    assert_eq!(text_of(dom, "replica"), status["replica_id"].as_str().expect("it has a name"));
    assert_eq!(text_of(dom, "version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(text_of(dom, "headline"), "All is well");
    let parts = text_of(dom, "parts");
    for part in ["database (sqlite)serving", "redisserving", "breakerclosed"] {
        assert!(parts.contains(part), "{part}: {parts}");
    }
    let coherence = text_of(dom, "coherence");
    for fact in ["journal read", " left", "from a poll ", "invalidations pending0", "unrecorded changes0"] {
        assert!(coherence.contains(fact), "{fact}: {coherence}");
    }
    assert!(text_of(dom, "transitions").contains("never opened"));
    assert!(dom.contains("<path class=\"two\" d=\"M"), "p99 is drawn");
    assert_eq!(dom.matches("<path class=\"one\" d=\"M").count(), PLOTS.len(), "and each of the others");
    assert!(dom.contains("id=\"insecure\" role=\"alert\" hidden"), "only others than loopback are insecure");
}

/// What each plot says in words, up to its latest value.
const PLOTS: [&str; 3] = ["Checks per second", "Time to answer a check", "Answered by a cache"];

/// The page, once the last second of every plot is one with checks.
async fn plotted(url: &str) -> Option<Visit> {
    let visit = visit(&format!("{url}/"), 5).await;
    let says = |plot: &&str| {
        let start = format!("aria-label=\"{plot}, last 2 min: now ");
        let (_, latest) = visit.dom.split_once(&start)?;
        let latest = latest.split('"').next()?;
        report(&format!("{plot}: {latest}"));
        latest.trim_start_matches("p50 ").starts_with(|c: char| c.is_ascii_digit()).then_some(())
    };
    PLOTS.iter().all(|plot| says(plot).is_some()).then_some(visit)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_dark_for_who_wants_it_dark() {
    let stack = Stack::start_with(On::Sqlite, With::Memory, &[HTTP]).await;
    let (url, dir) = (format!("{}/", stack.server.http()), directory());
    for (scheme, page) in [(Scheme::Light, [0xf6, 0xf7, 0xf9]), (Scheme::Dark, [0x0f, 0x12, 0x16])] {
        let file = dir.path().join("page.png");
        picture(&url, scheme, (600, 400), &file).await;
        assert_eq!(corner(&file), page, "{scheme:?}");
    }
}

/// Serves a page as it was, beside what its replica tells now.
async fn old_page_of(replica: String, page: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (replica, page) = (replica.clone(), page.clone());
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = socket.read(&mut request).await.unwrap_or_default();
                let (kind, body) = if request[..read].starts_with(b"GET / ") {
                    ("text/html; charset=utf-8", page)
                } else {
                    (
                        "application/json",
                        try_get(&replica, "/status.json").await.map(|page| page.body).unwrap_or_default(),
                    )
                };
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}");
                let _ = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_open_says_so_when_redis_is_killed() {
    let mut stack = Stack::start_with(On::Sqlite, With::Redis, &[HTTP]).await;
    let url = stack.server.http();
    headline(&url, "All is well").await;
    let opened = get(&url, "/").await;
    assert!(opened.body.contains("<strong id=\"headline\">All is well</strong>"), "it says so before its script runs");
    stack.redis().server.kill();
    headline(&url, "Redis is lost").await;
    let pending = stack.client().issue("alice").await;
    stack.client().revoke(&pending.secret).await;

    let visit = visit(&old_page_of(url.clone(), opened.body).await, 8).await;
    assert_eq!(text_of(&visit.dom, "headline"), "Redis is lost");
    assert!(visit.dom.contains("data-level=\"degraded\""));
    let parts = text_of(&visit.dom, "parts");
    assert!(parts.contains("redislost") && parts.contains("open"), "{parts}");
    assert!(text_of(&visit.dom, "transitions").contains("open"), "with the time and the cause");
    assert!(
        text_of(&visit.dom, "coherence").contains("invalidations pending1"),
        "{}",
        text_of(&visit.dom, "coherence")
    );
    let fresh = get(&url, "/").await.body;
    assert!(fresh.contains("<li>Redis is left alone: "), "without a script, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_run_its_own_script_alone_and_insecure_is_loud() {
    let insecure = [HTTP, ("TOKENWARD_SERVER__INSECURE", "true")].map(|(key, value)| setting(key, value));
    let server = Server::start_on(directory(), &insecure.to_vec(), "0.0.0.0:0", None).await;
    let page = get(&server.http(), "/").await;
    let policy =
        page.head.lines().find(|line| line.starts_with("content-security-policy: ")).expect("there is a policy");
    for part in ["default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(page.head.contains("content-type: text/html; charset=utf-8"), "{}", page.head);
    assert!(page.body.contains("<noscript><meta http-equiv=\"refresh\""), "it works without a script to a degree");
    assert!(page.body.contains("lease                strict"), "and tells the numbers");
    assert!(page.body.contains("<section id=\"insecure\" role=\"alert\" >"), "loud, from the first moment");
    let visit = visit(&format!("{}/", server.http()), 1).await;
    assert!(!visit.dom.contains("role=\"alert\" hidden"), "and after its script");
}

/// Checks one token at a steady rate.
async fn load(client: Client, secret: String, rate: f64) {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    loop {
        ticks.tick().await;
        // Redis is killed meanwhile, and the check is answered all the same.
        client.authenticate(&secret).await;
    }
}

/// Takes the pictures of the README, after two minutes of load.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the plots show two minutes: make pictures"]
async fn the_pictures_of_the_readme_are_taken() {
    let mut stack = Stack::start_with(On::Postgres, With::Redis, &[HTTP]).await;
    let (url, images) = (stack.server.http(), Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images"));
    fs::create_dir_all(&images).expect("the repository is writable");
    for number in 0..40 {
        let client = stack.client();
        let issued = client.issue(&format!("user-{number}")).await;
        tokio::spawn(load(client, issued.secret, 12.0 + f64::from(number % 7)));
    }
    let began = Instant::now();
    let full = async || (began.elapsed() > Duration::from_secs(125)).then_some(());
    within("the plots are full", Duration::from_secs(140), full).await;
    picture(&format!("{url}/"), Scheme::Light, (1180, 720), &images.join("status-well.png")).await;
    stack.redis().server.kill();
    headline(&url, "Redis is lost").await;
    let lost = Instant::now();
    within("a while", Duration::from_mins(1), async || (lost.elapsed() > Duration::from_secs(25)).then_some(())).await;
    let issued = stack.client().issue("mallory").await;
    stack.client().revoke(&issued.secret).await;
    picture(&format!("{url}/"), Scheme::Dark, (1180, 810), &images.join("status-redis-lost.png")).await;
}
