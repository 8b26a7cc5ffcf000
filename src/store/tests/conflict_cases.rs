//! Other transactions that get in the way: run again, a bounded number of times.

use super::{
    server::Kind,
    world::{World, ending, issue, token},
};
use crate::domain::{Error, Target, TokenStore as _};

/// What a transaction may be told.
#[derive(Clone, Copy, Debug)]
enum Conflict {
    Deadlock,
    Serialization,
    LockTimeout,
}

pub(super) async fn conflicts_are_tried_again_and_not_for_ever(world: World) {
    for conflict in [Conflict::Deadlock, Conflict::Serialization, Conflict::LockTimeout] {
        let record = issue(&world.store, token("ada")).await;
        meet(&world, conflict, 3).await;
        let revoked = world.store.revoke(Target::Digest(record.digest), ending()).await.expect("the fourth attempt");
        assert_eq!((revoked.count, attempts(&world).await), (1, 4), "{conflict:?}");

        let record = issue(&world.store, token("ada")).await;
        meet(&world, conflict, 1_000).await;
        let refused = world.store.revoke(Target::Digest(record.digest), ending()).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{conflict:?}: {refused:?}");
        assert_eq!(attempts(&world).await, 4, "{conflict:?}");
        meet(&world, conflict, 0).await;
        assert_eq!(world.store.revoke(Target::Digest(record.digest), ending()).await.expect("revoked").count, 1);
    }
}

/// The next `count` transactions that delete a token meet a conflict. A sequence keeps
/// its place when they are undone.
async fn meet(world: &World, conflict: Conflict, count: u32) {
    let connection = sea_orm::Database::connect(world.config.database.url.expose()).await.expect("it connects");
    for statement in ["DROP SEQUENCE IF EXISTS attempt", "CREATE SEQUENCE attempt"]
        .map(str::to_owned)
        .into_iter()
        .chain(trigger(world.kind, conflict, count))
    {
        sea_orm::ConnectionTrait::execute_unprepared(&connection, &statement).await.expect("an obstacle");
    }
    connection.close().await.expect("closed");
}

fn trigger(kind: Kind, conflict: Conflict, count: u32) -> Vec<String> {
    if kind == Kind::Postgres {
        let state = match conflict {
            Conflict::Deadlock => "40P01",
            Conflict::Serialization => "40001",
            Conflict::LockTimeout => "55P03",
        };
        return vec![
            format!(
                "CREATE OR REPLACE FUNCTION obstacle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF nextval('attempt') <= {count} THEN RAISE EXCEPTION USING ERRCODE = '{state}'; END IF; \
                 RETURN OLD; END $$"
            ),
            "CREATE OR REPLACE TRIGGER obstacle BEFORE DELETE ON tokenward_token \
             FOR EACH ROW EXECUTE FUNCTION obstacle()"
                .to_owned(),
        ];
    }
    let (state, number) = match conflict {
        Conflict::Deadlock | Conflict::Serialization => ("40001", 1213),
        Conflict::LockTimeout => ("HY000", 1205),
    };
    vec![
        "DROP TRIGGER IF EXISTS obstacle".to_owned(),
        format!(
            "CREATE TRIGGER obstacle BEFORE DELETE ON tokenward_token FOR EACH ROW BEGIN \
             IF nextval(attempt) <= {count} THEN SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {number}; END IF; END"
        ),
    ]
}

async fn attempts(world: &World) -> i64 {
    let sequence = if world.kind == Kind::Postgres { "'attempt'" } else { "attempt" };
    let next = world.query(&format!("SELECT nextval({sequence})")).await;
    next[0].try_get_by_index::<i64>(0).expect("a number") - 1
}
