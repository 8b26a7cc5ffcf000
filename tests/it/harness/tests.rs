//! The harness itself: a fault that is not one would make every outage test pass.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    canary,
    eventually::{eventually, within},
    mariadb::MariaDb,
    postgres::Postgres,
    redis::{Redis, Reply},
    relay::{Fault, Relay},
    server::Server,
    sql,
    stack::{mariadb, postgres, redis},
};

/// Long enough for an answer of a server that gives one.
const SOON: Duration = Duration::from_millis(300);

async fn ping(stream: &mut TcpStream) -> io::Result<String> {
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 64];
    let count = stream.read(&mut answer).await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
}

async fn dial(relay: &Relay) -> io::Result<TcpStream> {
    TcpStream::connect(relay.address()).await
}

/// One PING on a new connection.
async fn ping_anew(relay: &Relay) -> io::Result<String> {
    ping(&mut dial(relay).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_passes_refuses_stalls_and_cuts() {
    let redis = redis().await;
    let mut old = dial(&redis.relay).await.expect("it listens");
    assert_eq!(ping(&mut old).await.expect("it passes"), "+PONG\r\n");

    redis.relay.inject(Fault::Stall);
    assert!(timeout(SOON, ping(&mut old)).await.is_err(), "an old connection hangs");
    assert!(timeout(SOON, ping_anew(&redis.relay)).await.is_err(), "a new connection hangs");
    redis.relay.inject(Fault::None);
    let mut late = [0; 7];
    old.read_exact(&mut late).await.expect("what was sent into the stall is answered after it");
    assert_eq!(&late, b"+PONG\r\n");

    redis.relay.inject(Fault::Refuse);
    assert!(ping(&mut old).await.is_err(), "an old connection is reset");
    assert!(ping_anew(&redis.relay).await.is_err(), "a new connection is reset");
    redis.relay.inject(Fault::None);

    let mut next = dial(&redis.relay).await.expect("it listens");
    assert_eq!(ping(&mut next).await.expect("it passes again"), "+PONG\r\n");
    redis.relay.cut();
    assert!(ping(&mut next).await.is_err(), "a cut connection is reset");
    assert_eq!(ping_anew(&redis.relay).await.expect("and a new one passes"), "+PONG\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_breaks_and_heals_in_every_way() {
    let mut redis = redis().await;
    let mut client = dial(&redis.relay).await.expect("it listens");
    assert_eq!(ping(&mut client).await.expect("it runs"), "+PONG\r\n");

    redis.server.pause();
    assert!(timeout(SOON, ping(&mut client)).await.is_err(), "a paused server hangs");
    redis.server.resume();
    assert!(timeout(SOON, client.read(&mut [0; 7])).await.is_ok(), "and then answers");

    redis.server.set_password("secret").await;
    assert!(ping(&mut client).await.is_err(), "who was connected is dropped");
    assert!(ping_anew(&redis.relay).await.expect("an answer").starts_with("-NOAUTH"));

    redis.server.kill();
    assert!(ping_anew(&redis.relay).await.is_err(), "a dead server resets");
    redis.server.restart().await;
    assert_eq!(ping_anew(&redis.relay).await.expect("it runs again"), "+PONG\r\n");

    redis.server.restart_loading().await;
    assert!(ping_anew(&redis.relay).await.expect("an answer").starts_with("-LOADING"));
    redis.server.finish_loading().await;
    let loaded = async || (ping_anew(&redis.relay).await.ok()? == "+PONG\r\n").then_some(());
    eventually("Redis has loaded", loaded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_calls_are_counted_by_command() {
    let redis = Redis::start().await;
    redis.command(&["SET", "a", "1"]).await;
    redis.reset_calls().await;
    for _ in 0..3 {
        assert_eq!(redis.command(&["GETRANGE", "a", "0", "9"]).await, Reply::Text("1".to_owned()));
    }
    redis.command(&["PING"]).await;
    assert_eq!(redis.calls().await, [("getrange".to_owned(), 3)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_breaks_and_heals_in_every_way() {
    let mut postgres = postgres().await;
    let url = format!("postgres://tokenward@{}/tokenward", postgres.relay.address());
    let answers = async || sql::execute(&url, "SELECT 41 + 1").await;
    let position = postgres.server.log_position();
    answers().await.expect("it runs");
    let statements = postgres.server.statements_since(position);
    assert_eq!(statements.iter().filter(|sql| sql.contains("41 + 1")).count(), 1, "{statements:?}");

    let taken = postgres.server.exhaust().await;
    answers().await.expect_err("no connection is left for an ordinary role");
    postgres.server.execute("SELECT 1").await;
    drop(taken);
    eventually("connections come back", async || answers().await.ok()).await;

    let connection = sql::connect(&url).await.expect("it runs");
    postgres.server.pause();
    assert!(timeout(SOON, connection.ping()).await.is_err(), "a backend of a paused server hangs");
    assert!(timeout(SOON, answers()).await.is_err(), "a paused server hangs");
    postgres.server.resume();
    answers().await.expect("it runs again");

    postgres.server.kill();
    answers().await.expect_err("a dead server answers nothing");
    let ((), took) = within("a restart", Duration::from_secs(10), async || {
        postgres.server.restart().await;
        answers().await.ok()
    })
    .await;
    super::eventually::report(&format!("PostgreSQL restarted in {took:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_breaks_and_heals_in_every_way() {
    let mut mariadb = mariadb().await;
    let url = format!("mysql://root@{}/tokenward", mariadb.relay.address());
    let answers = async || sql::execute(&url, "SELECT 41 + 1").await;
    let position = mariadb.server.log_position();
    answers().await.expect("it runs");
    let statements = mariadb.server.statements_since(position);
    assert_eq!(statements.iter().filter(|sql| sql.contains("41 + 1")).count(), 1, "{statements:?}");

    mariadb.server.pause();
    assert!(timeout(SOON, answers()).await.is_err(), "a paused server hangs");
    mariadb.server.resume();
    answers().await.expect("it runs again");

    mariadb.server.kill();
    answers().await.expect_err("a dead server answers nothing");
    mariadb.server.restart().await;
    answers().await.expect("it runs again");
}

/// Secrets of this process's tests are searched for in what servers hold when they end.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_row_or_a_value_is_found_when_its_server_ends() {
    const SECRET: &str = "a-secret-that-a-test-stores-on-purpose-5b1c";
    canary::know(SECRET);
    let (redis, postgres, mariadb) = (Redis::start().await, Postgres::start().await, MariaDb::start().await);
    redis.command(&["HSET", "a-key", "field", SECRET]).await;
    let insert = format!("INSERT INTO a_table VALUES (1, '{SECRET}')");
    let server = Server::start(&vec![]).await;
    let file = server.dir().join("tokenward.db");
    for url in [postgres.admin_url(), mariadb.admin_url(), format!("sqlite://{}", file.display())] {
        sql::execute(&url, "CREATE TABLE a_table (id integer, note varchar(99))").await.expect("created");
        sql::execute(&url, &insert).await.expect("inserted");
    }
    for (what, end) in [
        ("Redis", Box::new(move || drop(redis)) as Box<dyn FnOnce()>),
        ("PostgreSQL", Box::new(move || drop(postgres))),
        ("MariaDB", Box::new(move || drop(mariadb))),
        ("SQLite", Box::new(move || drop(server))),
    ] {
        assert!(catch_unwind(AssertUnwindSafe(end)).is_err(), "{what} held it, and nobody saw");
    }
}
