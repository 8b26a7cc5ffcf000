//! One measurement: warm up, watch the counters, let go wrong what is to go wrong, and count.

use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::time::sleep;

use super::{
    Error, Plan, Scenario, Shape,
    deck::Deck,
    load::{Load, Warm},
    private::{Fault, Ground, Stand, Usage, own_cpu},
    report::{Marks, Run},
    wire::Address,
};

/// Time between two looks at how far it is.
const TICK: Duration = Duration::from_millis(200);

/// Who is asked what.
#[derive(Debug)]
pub(super) struct Measurement<'a> {
    pub(super) address: &'a Address,
    pub(super) credential: Option<&'a HeaderValue>,
    pub(super) deck: Deck,
    /// Where the servers are ours.
    pub(super) servers: Option<(&'a mut Ground, &'a Stand)>,
}

/// Measures it once.
pub(super) async fn measure(
    plan: &Plan,
    measurement: Measurement<'_>,
    watch: &impl Fn(&str, f64),
) -> Result<Run, Error> {
    let Measurement { address, credential, deck, mut servers } = measurement;
    let shape = Shape { connections: plan.connections, slots: plan.calls };
    let warm = if plan.scenario.is_warm() { Warm::Known } else { Warm::Nothing };
    watch("warming up", 0.0);
    let load = Load::start(address, credential, shape, deck, warm).await?;
    if plan.scenario.has_warmup() {
        pace(plan.warmup, "warming up", &load, watch).await;
    }
    let before = match &servers {
        Some((ground, stand)) => Some(ground.before(stand).await),
        None => None,
    };
    let spent = own_cpu();
    load.begin();
    let marks = if let (Some(fault), Some((ground, _))) = (plan.scenario.fault(), &mut servers) {
        Some(broken(plan.duration, fault, ground, &load, watch).await?)
    } else {
        pace(plan.duration, "measuring", &load, watch).await;
        None
    };
    let (time, mut tally) = (load.elapsed(), load.take());
    let spent = own_cpu().zip(spent).and_then(|(now, then)| now.checked_sub(then));
    let usage = match (&servers, before) {
        (Some((ground, stand)), Some(before)) => ground.after(stand).await.since(before),
        _ => Usage::default(),
    };
    if load.is_dry() && plan.scenario != Scenario::Growth {
        return Err(Error::Dry);
    }
    tally.trailed_by(&load.stop().await);
    let mut run = Run::new(&tally, time, usage, marks);
    if let Some((_, stand)) = &servers {
        run = run.of(stand);
    }
    if !plan.scenario.has_warmup() {
        run = run.with_ramp(&tally);
    }
    run.load_cpu_us_per_check = spent.and_then(|spent| super::report::micros_each(spent, run.checks));
    Ok(run)
}

/// A third as it should be, a third broken, and a third whole again.
async fn broken(
    duration: Duration,
    fault: Fault,
    ground: &mut Ground,
    load: &Load,
    watch: &impl Fn(&str, f64),
) -> Result<Marks, Error> {
    pace(duration / 3, "before the fault", load, watch).await;
    let broken = load.elapsed();
    ground.inject(fault).await;
    pace(duration / 3, "broken", load, watch).await;
    let healing = load.elapsed();
    ground.heal(fault).await?;
    let healed = load.elapsed();
    pace(duration / 3, "after the fault", load, watch).await;
    Ok(Marks { broken, healing, healed })
}

/// Waits, and tells how it goes; not longer than there are tokens.
async fn pace(time: Duration, what: &str, load: &Load, watch: &impl Fn(&str, f64)) {
    let start = Instant::now();
    let (mut seen, mut at) = (load.checks(), start);
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        sleep(left.min(TICK)).await;
        let (checks, now) = (load.checks(), Instant::now());
        let rate = super::report::per_second(checks.saturating_sub(seen), now - at);
        (seen, at) = (checks, now);
        if load.is_dry() {
            return;
        }
        watch(&format!("{what}, {rate:.0} checks/s"), start.elapsed().div_duration_f64(time).min(1.0));
    }
}
