//! What a server must be to be relied on, and that looking does not wait for others' work.

use std::time::Duration;

use sea_orm::sqlx::postgres::PgListener;
use tokio::time::timeout;

use super::{
    journal_cases::settled,
    server::{Kind, Server},
    world::{World, issue, token},
};
use crate::{
    domain::{Error, Journal as _, Role, Triggers},
    store::journal::lax_settings,
};

pub(super) async fn looks_go_on_while_the_pool_is_exhausted(world: World) {
    let store = world.reopen(|config| config.database.max_connections = 2).await;
    let count = if world.kind == Kind::Sqlite { 1 } else { 2 };
    let mut held = vec![];
    for _ in 0..count {
        held.push(store.0.pool.begin().await.expect("a connection"));
    }
    // What keeps the journal in order may wait for locks, and looks do not wait for it.
    let chore = store.0.journal.begin();
    let chore = if world.kind == Kind::Sqlite { None } else { Some(chore.await.expect("a connection")) };
    for _ in 0..3 {
        assert_eq!(store.poll(None).await.expect("a look").role, Role::Primary);
        assert_eq!(store.intact().await.expect("a look"), Triggers::Enabled);
    }
    drop((held, chore));
}

/// What was there before is told by the first look that finds the server, if not by the one before.
pub(super) async fn a_restart_costs_at_most_one_look(mut server: Server) {
    let world = World::native(&server).await;
    let store = world.reopen(|config| config.database.statement_timeout = Duration::from_secs(2)).await;
    let before = settled(&store).await;
    for misses in [0, 3] {
        server.crash();
        for _ in 0..misses {
            assert!(store.poll(Some(before)).await.is_err(), "nobody listens");
        }
        server.start().await;
        let first = store.poll(Some(before)).await;
        let poll = match first {
            Ok(poll) => poll,
            Err(_) => store.poll(Some(before)).await.expect("the second look"),
        };
        assert_eq!((poll.position, poll.role), (before, Role::Primary));
        assert_eq!(store.intact().await.expect("a look"), Triggers::Enabled);
    }
}

pub(super) async fn a_server_that_is_read_only_by_default_is_no_primary(world: World) {
    issue(&world.store, token("ada")).await;
    let read_only = async |value: &str| {
        world.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}; SELECT pg_reload_conf()")).await;
    };
    read_only("on").await;
    until(&world, Role::Replica).await;
    let noted = world.store.note_everything().await;
    read_only("off").await;
    assert!(matches!(noted, Err(Error::Unavailable(_))), "{noted:?}");
    until(&world, Role::Primary).await;
}

async fn until(world: &World, role: Role) {
    let turned = async { while world.store.poll(None).await.expect("a look").role != role {} };
    timeout(Duration::from_secs(30), turned).await.expect("the server reads its settings");
}

pub(super) async fn settings_that_lose_commits_are_named(world: World) {
    let lax = async || lax_settings(&world.store.0).await.expect("an answer");
    match world.kind {
        Kind::Sqlite => {
            assert_eq!(lax().await, [""; 0]);
            for pool in [&world.store.0.pool, &world.store.0.probe, &world.store.0.journal] {
                let row = pool.row("PRAGMA synchronous", vec![]).await.expect("an answer").expect("a row");
                assert_eq!(row.try_get_by_index::<i32>(0).expect("a number"), 2, "FULL");
            }
        }
        Kind::Postgres => {
            assert_eq!(lax().await, ["fsync = off"], "as tests run it");
            let name = world.text("SELECT current_database()").await.expect("a name");
            world.sql(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
            let store = world.reopen(|_| {}).await;
            let lax = lax_settings(&store.0).await.expect("an answer");
            assert_eq!(lax, ["fsync = off", "synchronous_commit = off"]);
        }
        Kind::Mariadb => {
            assert_eq!(lax().await, ["innodb_flush_log_at_trx_commit = 2"], "as tests run it");
            world.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1").await;
            let strict = lax().await;
            world.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await;
            assert_eq!(strict, [""; 0]);
        }
    }
}

pub(super) async fn records_are_announced(world: World) {
    let record = issue(&world.store, token("ada")).await;
    let mut listener = PgListener::connect(world.config.database.url.expose()).await.expect("it connects");
    listener.listen("tokenward_journal").await.expect("it listens");
    let mut announced = async || {
        let first = timeout(Duration::from_secs(30), listener.recv()).await.expect("in time").expect("connected");
        assert_eq!(first.payload(), "");
        while listener.next_buffered().is_some() {}
    };
    world.store.note_everything().await.expect("noted");
    announced().await;
    for cause in [
        format!("UPDATE tokenward_token SET expiry = '2020-01-01' WHERE digest = '{}'", record.digest.to_hex()),
        "UPDATE tokenward_user SET active = false".to_owned(),
        "DELETE FROM tokenward_user".to_owned(),
        "TRUNCATE tokenward_token".to_owned(),
    ] {
        world.sql(&cause).await;
        announced().await;
    }
    // What notes nothing announces nothing: the next to come is that of the last statement.
    world.sql("DELETE FROM tokenward_token WHERE false; UPDATE tokenward_user SET attributes = '{}' WHERE false").await;
    let silence = timeout(Duration::from_millis(100), listener.recv()).await;
    assert!(silence.is_err(), "{:?}", silence.map(|it| it.map(|it| it.channel().to_owned())));
}
