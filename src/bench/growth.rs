//! What a hit costs with ever more rows in the token table, and what memory the service takes while tokens pass through.

use std::time::Duration;

use super::{
    Deck, Error, Ground, Measurement, Plan, Private, Run, Scenario, Tokens, measure, own, ratio,
    report::{Growth, Step},
    scenario::PASSING,
};

/// Rows of the first step; each next one has ten times as many.
const FIRST: u64 = 1_000;
/// The longest that tokens may take to pass through.
const PASSING_LIMIT: Duration = Duration::from_mins(10);

/// Measures step after step; the figures are those of the last.
pub(super) async fn run(
    plan: &Plan,
    private: &Private,
    mut ground: Ground,
    watch: &impl Fn(&str, f64),
) -> Result<Run, Error> {
    let contender = private.contenders.first().ok_or(Error::NoCommand)?;
    let settings = [own(Scenario::Growth), private.settings.clone()].concat();
    let (mut steps, mut rows) = (Vec::new(), FIRST);
    let run = loop {
        ground.seed(rows, |seeded| watch(&format!("{seeded} of {rows} tokens"), ratio(seeded, rows))).await?;
        ground.flush().await?;
        let stand = ground.stand(contender, &settings, private.server_cpus.as_ref()).await?;
        let known = plan.tokens.min(rows);
        let tokens = Tokens::derived(known, plan.users, rows / known, contender.owned());
        let deck = Deck::new(tokens, plan.scenario.mix(), plan.spread, plan.batch, 0..0);
        let address = stand.address().clone();
        let measurement =
            Measurement { address: &address, credential: None, deck, servers: Some((&mut ground, &stand)) };
        let said = |what: &str, share: f64| watch(&format!("{rows} rows: {what}"), share);
        let run = Box::pin(measure(plan, measurement, &said)).await?;
        stand.end();
        steps.push(Step::of(&run, rows, known));
        rows *= 10;
        if rows > private.rows {
            break run;
        }
    };
    let passed = pass(plan, private, &mut ground, watch).await?;
    let growth = Some(Growth::of(&steps, &passed));
    let steps = [steps, passed].concat();
    let (wrong, failed) = Step::amiss(&steps);
    Ok(Run { wrong, failed, growth, steps, ..run }.named(contender.name.clone()))
}

/// Has each row's token asked about once, a fifth after the other.
async fn pass(
    plan: &Plan,
    private: &Private,
    ground: &mut Ground,
    watch: &impl Fn(&str, f64),
) -> Result<Vec<Step>, Error> {
    let contender = private.contenders.first().ok_or(Error::NoCommand)?;
    let rows = ground.rows().min(PASSING);
    let settings = [own(Scenario::NearHit), private.settings.clone()].concat();
    ground.flush().await?;
    let stand = ground.stand(contender, &settings, private.server_cpus.as_ref()).await?;
    let address = stand.address().clone();
    let mut steps = Vec::new();
    for fifth in 0..5 {
        let part = rows * fifth / 5..rows * (fifth + 1) / 5;
        let end = part.end;
        let deck =
            Deck::new(Tokens::derived(0, plan.users, 1, contender.owned()), Scenario::Miss.mix(), plan.spread, 1, part);
        // It ends when there are no more of them.
        let passing = Plan { warmup: Duration::ZERO, duration: PASSING_LIMIT, ..plan.clone() };
        let measurement = Measurement { address: &address, credential: None, deck, servers: Some((ground, &stand)) };
        let said = |what: &str, _: f64| watch(&format!("{end} of {rows} tokens pass: {what}"), ratio(end, rows));
        let run = Box::pin(measure(&passing, measurement, &said)).await?;
        steps.push(Step::of(&run, ground.rows(), end));
    }
    stand.end();
    Ok(steps)
}
