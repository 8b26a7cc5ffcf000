//! Row triggers, which run with the rights of the account that made them.

use super::{Plan, Table, Trigger};

pub(super) fn triggers(plan: &Plan) -> Vec<Trigger> {
    let (old, new) = ("OLD", "NEW");
    vec![
        trigger(plan, Table::Token, "delete", &plan.token_counts(old)),
        trigger(plan, Table::Token, "update", &plan.token_lost(old, new)),
        trigger(plan, Table::User, "delete", "TRUE"),
        trigger(plan, Table::User, "update", &plan.user_lost(old, new)),
    ]
}

fn trigger(plan: &Plan, on: Table, event: &'static str, condition: &str) -> Trigger {
    let sql = format!(
        "CREATE TRIGGER {} AFTER {event} ON {} FOR EACH ROW \
         BEGIN IF {condition} THEN INSERT INTO {} ({}) VALUES ({}); END IF; END",
        plan.name(on, event),
        plan.table(on),
        plan.journal,
        Plan::column(on),
        plan.key(on, "OLD"),
    );
    Trigger { on, event, sql: vec![sql] }
}
