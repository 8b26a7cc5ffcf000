//! Statement triggers, which cost once what row triggers cost for each row.
//!
//! The functions run with the rights of their owner and find nothing by the caller's search path: what
//! is not built in is written with its schema. Nested loops are off in them, since the
//! plan that suits an update of one row, kept for the session, would take the square of the rows of a large one.
//!
//! What is noted is announced, so that replicas that listen look at once. A transaction that has
//! announced something cannot be prepared (`PREPARE TRANSACTION`): a writer that ends
//! tokens in two-phase commits is refused.

use tokenward_migrations::CHANNEL;

use super::{Plan, Table, Trigger};

/// A statement that ends more than this many is one that ends everything.
const COLLAPSE: usize = 1_000;
const ALL: &str = "tokenward_journal_all";

/// All that [`triggers`] create.
pub(super) fn functions(home: &str) -> Vec<String> {
    let each = [(Table::Token, "delete"), (Table::Token, "update"), (Table::User, "delete"), (Table::User, "update")];
    let mut names: Vec<_> = each.into_iter().map(|(on, event)| function(home, on, event)).collect();
    names.push(format!("{home}.{ALL}"));
    names
}

pub(super) fn triggers(plan: &Plan) -> Vec<Trigger> {
    let (old, new) = ("o", "n");
    let matched = |table: &str, key: &str| {
        let key = |row| format!("CAST({row}.{key} AS TEXT) COLLATE \"C\"");
        format!("{table} LEFT JOIN new_rows n ON {} = {}", key(old), key(new))
    };
    let deleted = "old_rows o";
    let (tokens, users) = (matched(deleted, &plan.token.digest), matched(deleted, &plan.user.id));
    let mut all = vec![
        trigger(plan, Table::Token, "delete", &format!("{deleted} WHERE {}", plan.token_counts(old))),
        trigger(plan, Table::Token, "update", &format!("{tokens} WHERE {}", plan.token_lost(old, new))),
        trigger(plan, Table::User, "delete", deleted),
        trigger(plan, Table::User, "update", &format!("{users} WHERE {}", plan.user_lost(old, new))),
    ];
    all.extend([Table::Token, Table::User].map(|on| truncate(plan, on)));
    all
}

/// Notes the rows of `from`, `o` among them.
fn trigger(plan: &Plan, on: Table, event: &'static str, from: &str) -> Trigger {
    let notify = notify();
    let body = format!(
        "BEGIN \
         IF (SELECT count(*) FROM (SELECT 1 FROM {from} LIMIT {limit}) few) > {COLLAPSE} THEN \
         INSERT INTO {journal} (digest, user_id) VALUES (NULL, NULL); \
         ELSE INSERT INTO {journal} ({column}) SELECT {key} FROM {from}; END IF; \
         IF FOUND THEN {notify}; END IF; RETURN NULL; END",
        limit = COLLAPSE + 1,
        journal = plan.journal,
        column = Plan::column(on),
        key = plan.key(on, "o"),
    );
    let rows = if event == "update" { "OLD TABLE AS old_rows NEW TABLE AS new_rows" } else { "OLD TABLE AS old_rows" };
    let function = function(&plan.home, on, event);
    let mut sql = define(plan, &function, &body).to_vec();
    sql.extend(attach(plan, on, event, &format!("REFERENCING {rows}"), &function));
    Trigger { on, event, sql }
}

/// `TRUNCATE` tells no rows.
fn truncate(plan: &Plan, on: Table) -> Trigger {
    let function = format!("{}.{ALL}", plan.home);
    let note = format!("INSERT INTO {} (digest, user_id) VALUES (NULL, NULL)", plan.journal);
    let body = format!("BEGIN {note}; {}; RETURN NULL; END", notify());
    let mut sql = define(plan, &function, &body).to_vec();
    sql.extend(attach(plan, on, "truncate", "", &function));
    Trigger { on, event: "truncate", sql }
}

fn notify() -> String {
    format!("PERFORM pg_notify('{CHANNEL}', '')")
}

fn function(home: &str, on: Table, event: &str) -> String {
    format!("{home}.tokenward_journal_{}_{event}", on.name())
}

/// In plain quotes: a dollar quote could be ended by a configured name. Nobody else may
/// hang the function on a table of his own. The time zone is for columns that have none.
fn define(plan: &Plan, function: &str, body: &str) -> [String; 2] {
    [
        format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path = pg_catalog, pg_temp SET timezone = '{}' SET enable_nestloop = off AS '{}'",
            plan.token.zone,
            body.replace('\'', "''")
        ),
        format!("REVOKE ALL ON FUNCTION {function}() FROM PUBLIC"),
    ]
}

/// `ENABLE ALWAYS`: also in sessions that replicate.
fn attach(plan: &Plan, on: Table, event: &str, referencing: &str, function: &str) -> [String; 2] {
    let (name, table) = (plan.name(on, event), plan.table(on));
    [
        format!(
            "CREATE TRIGGER {name} AFTER {event} ON {table} {referencing} \
             FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        ),
        format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"),
    ]
}
