//! Numbers, looks, purges, epochs; and whether the triggers still stand.

use std::{fs, time::Duration};

use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

use super::{
    journal_cases::{drop_triggers, is, noted, settled, tokens, users_and_tokens},
    knox_cases::django,
    server::{Kind, Server},
    world::{World, find, issue, token},
};
use crate::{
    config::SchemaPreset,
    domain::{Digest, Ended, Error, Found, Freshness, Journal as _, Position, Role, TokenStore as _, Triggers},
    store::Database,
};

pub(super) async fn numbers_follow_the_order_of_commits_and_wait_for_nobody(world: World) {
    users_and_tokens(&world).await;
    let start = settled(&world.store).await;
    let connection = sea_orm::Database::connect(world.config.database.url.expose()).await.expect("it connects");
    let delete = |number| format!("DELETE FROM tokenward_token WHERE {}", is(number));
    let early = connection.begin().await.expect("a transaction");
    early.execute_unprepared(&delete(1)).await.expect("the first id is taken");
    let late = connection.begin().await.expect("a transaction");
    late.execute_unprepared(&delete(2)).await.expect("the second id is taken");
    assert_eq!(subjects(&world.store, start).await, [], "nothing is committed");
    late.commit().await.expect("committed first");
    assert_eq!(subjects(&world.store, start).await, [(None, tokens([2])[0].clone())]);
    assert_eq!(world.store.sequence().await.expect("numbered"), 1);
    early.commit().await.expect("committed last");
    assert_eq!(world.store.sequence().await.expect("numbered"), 1);
    let expected = [(Some(start.seq + 1), tokens([2])[0].clone()), (Some(start.seq + 2), tokens([1])[0].clone())];
    assert_eq!(subjects(&world.store, start).await, expected);
}

pub(super) async fn eight_sequencers_give_each_record_one_number_without_gaps(world: World) {
    let total = 400;
    let start = settled(&world.store).await;
    let writing = async {
        let connection = sea_orm::Database::connect(world.config.database.url.expose()).await.expect("it connects");
        for number in 0..total {
            let note = format!("INSERT INTO tokenward_journal (user_id) VALUES ('u{number}')");
            while connection.execute_unprepared(&note).await.is_err() {}
        }
    };
    let mut sequencers = vec![];
    for _ in 0..8 {
        let store = world.reopen(|_| {}).await;
        sequencers.push(tokio::spawn(async move {
            let mut numbered = 0;
            while store.poll(None).await.expect("a look").position.seq < start.seq + total {
                numbered += store.sequence().await.expect("numbered");
            }
            numbered
        }));
    }
    writing.await;
    let mut numbered = 0;
    for sequencer in sequencers {
        numbered += sequencer.await.expect("no panic");
    }
    assert_eq!(numbered, total);
    let numbers: Vec<_> =
        subjects(&world.store, start).await.into_iter().map(|(seq, _)| seq.expect("a number")).collect();
    assert_eq!(numbers, (start.seq + 1..=start.seq + total).collect::<Vec<_>>());
}

pub(super) async fn a_reading_is_stamped_below_every_record_that_it_does_not_reflect(world: World) {
    users_and_tokens(&world).await;
    let digest = Digest::from_bytes([1; 64]);
    let read = async || world.store.find(digest, Freshness::Any).await.expect("an answer");
    let before = read().await;
    assert!(matches!(before.found, Found::Token(_)));
    assert_eq!(before.position, settled(&world.store).await, "one epoch and one count for both");
    world.sql(&format!("DELETE FROM tokenward_token WHERE {}", is(1))).await;
    assert_eq!(world.store.sequence().await.expect("numbered"), 1);
    let after = read().await;
    assert_eq!((after.found, after.position.seq), (Found::Unknown, before.position.seq + 1));
}

pub(super) async fn records_that_cannot_be_read_stand_for_everything(world: World) {
    for (columns, values) in
        [("digest", "'nonsense'"), ("digest, user_id", "'a', 'b'"), ("user_id", "''"), ("seq", "NULL")]
    {
        let note = format!("INSERT INTO tokenward_journal ({columns}) VALUES ({values})");
        assert_eq!(noted(&world, &note).await, [Ended::Everything], "{note}");
    }
}

pub(super) async fn a_purge_raises_the_floor_and_keeps_what_is_above_it(world: World) {
    let many = "INSERT INTO tokenward_journal (user_id) VALUES ('ada')".to_owned() + &", ('bob')".repeat(1_499);
    world.sql(&many).await;
    let end = settled(&world.store).await;
    world.sql("INSERT INTO tokenward_journal (user_id) VALUES ('pending')").await;
    assert_eq!(world.store.purge(65_536).await.expect("purged"), 0);
    assert_eq!(world.store.poll(None).await.expect("a look").floor, 0);

    assert_eq!(world.store.purge(100).await.expect("purged"), 1_400, "in two batches");
    let poll = world.store.poll(None).await.expect("a look");
    assert_eq!((poll.floor, poll.records.len()), (end.seq - 100, 101));
    let pending = poll.records.iter().filter(|record| record.seq.is_none()).count();
    let lowest = poll.records.iter().filter_map(|record| record.seq).min();
    assert_eq!((pending, lowest), (1, Some(end.seq - 99)));

    assert_eq!(world.store.purge(200).await.expect("purged"), 0);
    assert_eq!(world.store.poll(None).await.expect("a look").floor, end.seq - 100, "it never sinks");
}

pub(super) async fn triggers_that_are_gone_are_named_and_migrate_up_brings_them_back(world: World) {
    users_and_tokens(&world).await;
    assert_eq!(missing(&world.store).await, [""; 0]);
    drop_triggers(&world).await;
    let gone = settled(&world.store).await;
    let count = if world.kind == Kind::Postgres { 6 } else { 4 };
    assert_eq!(missing(&world.store).await.len(), count);
    assert_eq!(noted(&world, &format!("DELETE FROM tokenward_token WHERE {}", is(1))).await, []);
    assert_eq!(world.store.migrate_up().await.expect("up"), ["triggers of the journal"]);
    let missed = subjects(&world.store, gone).await;
    assert_eq!(missed, [(None, Ended::Everything)], "who knows what they have missed");
    assert_eq!(missing(&world.store).await, [""; 0]);
    assert_eq!(noted(&world, &format!("DELETE FROM tokenward_token WHERE {}", is(2))).await, tokens([2]));
    assert_eq!(world.store.migrate_up().await.expect("nothing to do"), [""; 0]);

    // The journal is the third change.
    let changes = world.store.schema_status().await.expect("a list").len();
    let steps = u32::try_from(changes - 2).expect("a few");
    assert_eq!(world.store.migrate_down(steps).await.expect("down").len(), changes - 2);
    assert_eq!(missing(&world.store).await.len(), count);
    world.sql(&format!("DELETE FROM tokenward_token WHERE {}", is(3))).await;
}

pub(super) async fn a_disabled_trigger_is_named(world: World) {
    for (table, state) in [("tokenward_user", "DISABLE TRIGGER ALL"), ("tokenward_token", "DISABLE TRIGGER USER")] {
        world.sql(&format!("ALTER TABLE {table} {state}")).await;
        assert_eq!(missing(&world.store).await.len(), 3, "{table}");
        assert_eq!(world.store.migrate_up().await.expect("up"), ["triggers of the journal"]);
        assert_eq!(missing(&world.store).await, [""; 0]);
    }
}

pub(super) async fn triggers_for_another_configuration_are_named_and_replaced(world: World) {
    let store = django(&world, "integer", "7").await;
    assert_eq!(missing(&store).await, [""; 0]);
    let other = world
        .reopen(|config| {
            config.database.schema = SchemaPreset::Knox;
            config.schema.user_attributes = Some(vec!["password".to_owned()]);
        })
        .await;
    assert!(!missing(&other).await.is_empty());
    assert_eq!(other.migrate_up().await.expect("up"), ["triggers of the journal"]);
    assert_eq!(missing(&other).await, [""; 0]);
    let before = settled(&other).await;
    world.sql("UPDATE auth_user SET email = 'x'; UPDATE auth_user SET password = 'x'").await;
    assert_eq!(settled(&other).await.seq, before.seq + 1, "once, by the new triggers");
}

pub(super) async fn the_canary_comes_back_and_leaves_nothing_behind(world: World) {
    assert_eq!(world.store.canary().await.expect("released"), None, "there is no user");
    issue(&world.store, token("ada")).await;
    comes_back(&world.store).await;
    assert_eq!(world.query("SELECT digest FROM tokenward_token").await.len(), 1);
    drop_triggers(&world).await;
    let lost = world.store.canary().await.expect("released").expect("there is a user");
    let poll = world.store.poll(None).await.expect("a look");
    assert!(!poll.records.iter().any(|record| record.ended == Ended::Token(lost)), "{poll:?}");
}

pub(super) async fn the_canary_flies_in_django_s_tables(world: World) {
    let store = django(&world, "integer", "7").await;
    comes_back(&store).await;
    assert!(world.query("SELECT digest FROM knox_authtoken").await.is_empty());
}

pub(super) async fn a_new_epoch_shows_in_reads_and_polls(world: World) {
    users_and_tokens(&world).await;
    noted(&world, &format!("DELETE FROM tokenward_token WHERE {}", is(1))).await;
    let old = settled(&world.store).await;
    let new = world.store.new_epoch().await.expect("a new epoch");
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(new.seq, old.seq);
    let poll = world.store.poll(Some(old)).await.expect("a look");
    assert_eq!((poll.position, poll.floor, poll.role), (new, new.seq, Role::Primary));
    assert_eq!(poll.records.len(), 1, "all there is, since what was known is of another epoch");
    let reading = world.store.find(Digest::from_bytes([2; 64]), Freshness::Any).await.expect("an answer");
    assert_eq!(reading.position, new);
}

pub(super) async fn everything_is_noted_and_numbered_at_once(world: World) {
    let before = settled(&world.store).await;
    world.store.note_everything().await.expect("noted");
    assert_eq!(subjects(&world.store, before).await, [(Some(before.seq + 1), Ended::Everything)]);
}

pub(super) async fn the_rights_stated_are_enough(world: World) {
    let our_own = ["tokenward_token", "tokenward_user", "tokenward_token_detail", "tokenward_issue_request"];
    world
        .sql(match world.kind {
            Kind::Postgres => "CREATE ROLE owner LOGIN; CREATE ROLE service LOGIN",
            Kind::Sqlite | Kind::Mariadb => "CREATE USER owner@localhost; CREATE USER service@localhost",
        })
        .await;
    let grant = |rights: &str, on: &str, to: &str| match world.kind {
        Kind::Postgres => format!("GRANT {rights} ON {on} TO {to}"),
        Kind::Sqlite | Kind::Mariadb => format!("GRANT {rights} ON {on} TO {to}@localhost"),
    };
    match world.kind {
        Kind::Postgres => world.sql(&grant("CREATE, USAGE", "SCHEMA public", "owner")).await,
        Kind::Sqlite | Kind::Mariadb => {
            let rights = "CREATE, ALTER, DROP, INDEX, REFERENCES, SELECT, INSERT, DELETE, TRIGGER";
            world.sql(&grant(rights, "*", "owner")).await;
        }
    }
    signed_in(&world, "owner").await.migrate_up().await.expect("up");
    for table in our_own {
        world.sql(&grant("SELECT, INSERT, UPDATE, DELETE", table, "service")).await;
    }
    world.sql(&grant("SELECT, INSERT, UPDATE, DELETE", "tokenward_journal", "service")).await;
    world.sql(&grant("SELECT, UPDATE", "tokenward_clock", "service")).await;
    world.sql(&grant("SELECT, UPDATE", "tokenward_chore", "service")).await;
    world.sql(&grant("SELECT, INSERT, DELETE", "tokenward_audit", "service")).await;
    if world.kind == Kind::Mariadb {
        world.sql(&grant("TRIGGER", our_own[0], "service")).await;
        world.sql(&grant("TRIGGER", our_own[1], "service")).await;
    }

    let service = signed_in(&world, "service").await;
    assert_eq!(missing(&service).await, [""; 0]);
    let record = issue(&service, token("ada")).await;
    comes_back(&service).await;
    let target = crate::domain::Target::Digest(record.digest);
    service.revoke(target, super::world::ending()).await.expect("revoked");
    assert!(service.purge(0).await.expect("purged") > 0);
    service.new_epoch().await.expect("a new epoch");
    let (keep, mode) = (std::time::Duration::from_hours(1), crate::store::PruneMode::Delete);
    let pruning =
        service.begin_pruning(keep, mode, std::time::Duration::ZERO).await.expect("a turn").expect("it is free");
    pruning.run(|_| {}).await.expect("pruned");
    super::audit_cases::a_record_comes_and_goes(&service).await;
}

async fn signed_in(world: &World, name: &str) -> Database {
    let url = world.config.database.url.expose();
    let url = url.replace("tokenward:swordfish@", &format!("{name}@")).replace("root@", &format!("{name}@"));
    world.reopen(|config| config.database.url = crate::config::SecretText::new(url)).await
}

pub(super) async fn a_read_only_server_is_no_primary(world: World) {
    issue(&world.store, token("ada")).await;
    world.sql("SET GLOBAL read_only = 1").await;
    assert_eq!(world.store.poll(None).await.expect("a look").role, Role::Replica);
    let refused = world.store.find(Digest::from_bytes([2; 64]), Freshness::Any).await;
    world.sql("SET GLOBAL read_only = 0").await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(world.store.poll(None).await.expect("a look").role, Role::Primary);
}

/// A server in recovery, and its promotion.
pub(super) async fn recovery_and_promotion(mut server: Server) {
    let world = World::native(&server).await;
    let record = issue(&world.store, token("ada")).await;
    world.sql("INSERT INTO tokenward_journal (user_id) VALUES ('bob')").await;
    let before = settled(&world.store).await;
    world.sql("CHECKPOINT").await;

    server.crash();
    let data = server.socket().parent().expect("a directory").join("data");
    fs::write(data.join("standby.signal"), "").expect("written");
    server.start().await;
    let follower = eventually(async || world.store.poll(Some(before)).await.ok()).await;
    assert_eq!(follower.role, Role::Replica);
    let refused = world.store.find(record.digest, Freshness::Any).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");

    world.query("SELECT pg_promote()").await;
    let primary = async || world.store.poll(Some(before)).await.ok().filter(|poll| poll.role == Role::Primary);
    let poll = eventually(primary).await;
    assert_ne!(poll.position.epoch, before.epoch, "another timeline, another epoch");
    assert_eq!((poll.position.seq, poll.records.len()), (before.seq, 1), "everything is told again");
    assert!(matches!(find(&world.store, record.digest).await, Found::Token(_)));
    let reading = world.store.find(record.digest, Freshness::Any).await.expect("an answer");
    assert_eq!(reading.position, poll.position);
}

async fn eventually<T>(probe: impl AsyncFn() -> Option<T>) -> T {
    let attempts = async {
        loop {
            match probe().await {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), attempts).await.expect("in time")
}

async fn comes_back(store: &Database) {
    let before = settled(store).await;
    let digest = store.canary().await.expect("released").expect("there is a user");
    assert_eq!(subjects(store, before).await, [(None, Ended::Token(digest))]);
}

/// Numbers and subjects after a place, numbered ones first.
async fn subjects(store: &Database, after: Position) -> Vec<(Option<u64>, Ended)> {
    let poll = store.poll(Some(after)).await.expect("a look");
    let mut records: Vec<_> = poll.records.into_iter().map(|record| (record.seq, record.ended)).collect();
    records.sort_by_key(|(seq, _)| seq.unwrap_or(u64::MAX));
    records
}

async fn missing(store: &Database) -> Vec<String> {
    match store.intact().await.expect("an answer") {
        Triggers::Enabled => vec![],
        Triggers::Missing(names) => names.split(", ").map(str::to_owned).collect(),
    }
}
