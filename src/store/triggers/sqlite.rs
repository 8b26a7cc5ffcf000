//! Row triggers. A rebuilt table, as Django rebuilds it to change a column, has lost them.

use super::{Plan, Table, Trigger};

pub(super) fn triggers(plan: &Plan) -> Vec<Trigger> {
    let (old, new) = ("OLD", "NEW");
    vec![
        trigger(plan, Table::Token, "delete", &plan.token_counts(old)),
        trigger(plan, Table::Token, "update", &plan.token_lost(old, new)),
        trigger(plan, Table::User, "delete", "1"),
        trigger(plan, Table::User, "update", &plan.user_lost(old, new)),
    ]
}

fn trigger(plan: &Plan, on: Table, event: &'static str, condition: &str) -> Trigger {
    let sql = format!(
        "CREATE TRIGGER {} AFTER {event} ON {} WHEN {condition} \
         BEGIN INSERT INTO {} ({}) VALUES ({}); END",
        plan.name(on, event),
        plan.table(on),
        plan.journal,
        Plan::column(on),
        plan.key(on, "OLD"),
    );
    Trigger { on, event, sql: vec![sql] }
}
