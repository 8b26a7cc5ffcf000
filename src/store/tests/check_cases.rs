//! What `config check` finds.

use super::{
    knox_cases::{django, insert_as_django, knox},
    server::Kind,
    world::World,
};
use crate::{
    config::{Config, UserIdType},
    store::{Finding, Severity},
};

/// The settings that something is found against, with `change`.
async fn found(world: &World, change: impl FnOnce(&mut Config)) -> Vec<Finding> {
    let store = world
        .reopen(|config| {
            knox(config);
            change(config);
        })
        .await;
    store.check().await.expect("an answer")
}

fn keys(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.key).collect()
}

pub(super) async fn our_own_tables_pass_and_an_empty_database_is_told_what_to_run(world: World) {
    let findings = world.store.check().await.expect("an answer");
    assert_eq!(keys(&findings), ["schema.token_table", "schema.user_table", "database.url"]);
    assert!(findings.iter().all(|finding| finding.remedy == "run `tokenward migrate up`"), "{findings:?}");
    world.store.migrate_up().await.expect("up");
    assert_eq!(world.store.check().await.expect("an answer"), []);
}

pub(super) async fn every_fault_of_adopted_tables_is_named_with_its_remedy(world: World) {
    let missing = found(&world, |_| {}).await;
    assert_eq!(keys(&missing), ["schema.token_table", "schema.user_table", "database.url"]);
    assert!(missing[0].remedy.contains("manage.py migrate"), "{missing:?}");
    django(&world, "integer", "7").await;
    assert_eq!(found(&world, |_| {}).await, []);

    let names = |config: &mut Config| {
        config.schema.token_digest = Some("digets".to_owned());
        config.schema.token_key = Some("no_key".to_owned());
        config.schema.token_expiry = Some("token_key".to_owned());
        config.schema.user_active = Some("active".to_owned());
        config.schema.user_attributes = Some(vec!["nickname".to_owned()]);
        config.schema.user_id_type = Some(UserIdType::Uuid);
        config.schema.token_extra = vec!["colour=red".to_owned()];
    };
    let findings = found(&world, names).await;
    let mut expected = vec!["schema.token_digest", "schema.token_key", "schema.user_id_type"];
    // SQLite's columns take anything, and its UUIDs are text.
    expected.extend((world.kind != Kind::Sqlite).then_some("schema.token_expiry"));
    expected.extend(["schema.token_extra", "schema.token_extra", "schema.user_id_type"]);
    expected.extend(["schema.user_active", "schema.user_attributes", "database.url"]);
    assert_eq!(keys(&findings), expected, "{findings:#?}");
    assert!(findings[0].remedy.contains("digest, created, user_id, expiry, token_key"), "{findings:?}");
    assert!(findings[2].remedy.contains("schema.user_id_type = \"int\""), "{findings:?}");
    let unfilled = findings.iter().find(|finding| finding.problem.contains("column digest "));
    assert!(unfilled.is_some_and(|finding| finding.remedy.contains("digest=VALUE")), "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.severity == Severity::Fault));
}

pub(super) async fn tables_of_knox_4_and_of_swapped_models_are_found_wanting(world: World) {
    let time = match world.kind {
        Kind::Sqlite | Kind::Mariadb => "datetime",
        Kind::Postgres => "timestamp with time zone",
    };
    django(&world, "bigint", "7").await;
    world
        .sql(&format!(
            "CREATE TABLE app_token (digest varchar(128) NOT NULL, created {time} NOT NULL, user_id bigint NOT NULL,
               expiry {time}, token_key varchar(8) NOT NULL, device integer NOT NULL, seen {time})"
        ))
        .await;
    let bigint = |config: &mut Config| config.schema.user_id_type = Some(UserIdType::Bigint);
    let findings = found(&world, |config| {
        bigint(config);
        config.schema.token_table = Some("app_token".to_owned());
    })
    .await;
    let expected = match world.kind {
        Kind::Sqlite => vec!["schema.token_digest", "schema.token_extra", "database.url"],
        Kind::Postgres => vec!["schema.token_digest", "schema.token_key", "schema.token_extra", "database.url"],
        Kind::Mariadb => vec![
            "schema.token_digest",
            "schema.token_key",
            "schema.token_created",
            "schema.token_expiry",
            "schema.token_extra",
            "database.url",
        ],
    };
    assert_eq!(keys(&findings), expected, "{findings:#?}");
    assert!(findings[0].remedy.contains("PRIMARY KEY (digest)"), "{findings:?}");
    assert!(findings.last().expect("one").problem.contains("triggers"), "those of the other table: {findings:?}");

    let settle = async |world: &World| {
        let store = world
            .reopen(|config| {
                knox(config);
                bigint(config);
            })
            .await;
        store.migrate_up().await.expect("triggers");
    };
    settle(&world).await;
    assert_eq!(found(&world, bigint).await, [], "two empty tables");
    world
        .sql(
            "INSERT INTO app_token (digest, created, user_id, token_key, device) VALUES ('d', '2026-01-01', 7, 'k', 1)",
        )
        .await;
    let findings = found(&world, bigint).await;
    assert_eq!(keys(&findings), ["schema.token_table"]);
    assert_eq!(findings[0].severity, Severity::Warning);
    assert!(findings[0].problem.contains("app_token"), "{findings:?}");
    insert_as_django(&world, "7").await;
    assert_eq!(found(&world, bigint).await, [], "the configured one is in use");
}

pub(super) async fn rights_that_are_missing_on_postgres_are_named(world: World) {
    django(&world, "integer", "7").await;
    world.sql("CREATE ROLE poor LOGIN; GRANT USAGE ON SCHEMA public TO poor; GRANT SELECT ON ALL TABLES IN SCHEMA public TO poor;
        GRANT INSERT, UPDATE ON knox_authtoken TO poor").await;
    let url = world.config.database.url.expose().replacen("tokenward:swordfish@", "poor@", 1);
    let findings = found(&world, |config| config.database.url = crate::config::SecretText::new(url)).await;
    assert_eq!(keys(&findings), ["database.url"], "{findings:?}");
    assert!(findings[0].problem.contains("DELETE on \"knox_authtoken\", UPDATE on \"auth_user\""), "{findings:?}");
}
