//! How many look-ups in the database one caller may cause for tokens that are not active.
//!
//! Whoever guesses tokens, or sends old ones, makes each check cost a query. Checks that a cache answers, and those that
//! find an active token, cost nothing here, so that a cold cache or a lost Redis is no reason to refuse anybody.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::reading::Freshness;

const SECOND: Duration = Duration::from_secs(1);

/// A limit on the look-ups a second that find no active token, with one second's worth at once.
///
/// It is the generic cell rate algorithm (ITU-T I.371, annex A) with debt: what a look-up finds is known when it has
/// been made, so each is let through while nothing is owed and charged afterwards. (The `governor` crate refuses where
/// this one has to go into debt.)
pub struct Quota {
    start: Instant,
    /// Nanoseconds that one look-up takes up; zero for no limit.
    interval: AtomicU64,
    /// When all that was charged will have been worked off, in nanoseconds after `start`.
    worked_off: AtomicU64,
    share: Share,
    /// Look-ups in the database that are under way for the caller.
    under_way: AtomicUsize,
}

/// How much of the database's look-ups one caller may have under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of them: there is no other caller.
    Whole,
    /// As many as are left for others. One caller gets half of all so, two get a third each, and who comes next always
    /// finds a place (dynamic thresholds; Choudhury and Hahne, 1998).
    Fair,
}

/// A look-up that is under way, until it is dropped.
#[derive(Debug)]
#[must_use = "the look-up is over when it is dropped"]
pub struct UnderWay(Arc<Quota>);

/// How a look-up is to be made.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// How fresh the answer must be.
    pub freshness: Freshness,
    /// Who pays, where somebody does.
    pub quota: Option<Arc<Quota>>,
}

// === impl Quota ===

impl Quota {
    /// So many look-ups a second; `None` for any number.
    #[must_use]
    pub fn per_second(limit: Option<NonZeroU32>, share: Share) -> Self {
        let interval = AtomicU64::new(nanos(limit.map_or(Duration::ZERO, |limit| SECOND / limit.get())));
        let (worked_off, under_way) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { start: Instant::now(), interval, worked_off, share, under_way }
    }

    /// A place for a look-up while so many are left for everybody; `None` where the caller has its share.
    pub fn begin(self: &Arc<Self>, left: usize) -> Option<UnderWay> {
        let most = if self.share == Share::Fair { left } else { usize::MAX };
        let more = |count| (count < most).then_some(count + 1);
        self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(UnderWay(Arc::clone(self)))
    }

    /// How long it takes until the next look-up may be made; `None` when it may now.
    #[must_use]
    pub fn exhausted(&self) -> Option<Duration> {
        let owed = Duration::from_nanos(self.worked_off.load(Ordering::Relaxed));
        owed.checked_sub(self.start.elapsed() + SECOND).filter(|wait| !wait.is_zero())
    }

    /// Goes by another's limit from now on.
    pub fn follow(&self, other: &Self) {
        self.interval.store(other.interval.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Counts a look-up that found no active token.
    pub fn charge(&self) {
        let (now, interval) = (nanos(self.start.elapsed()), self.interval.load(Ordering::Relaxed));
        let later = |owed: u64| Some(owed.max(now).saturating_add(interval));
        let _before = self.worked_off.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }
}

// === impl UnderWay ===

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// 584 years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota").field("interval", &self.interval).finish_non_exhaustive()
    }
}

// === impl Look ===

impl Look {
    /// The same at the same caller's expense, and by the database.
    #[must_use]
    pub fn at_the_primary(&self) -> Self {
        Self { freshness: Freshness::Primary, quota: self.quota.clone() }
    }
}

impl From<Freshness> for Look {
    /// At nobody's expense.
    fn from(freshness: Freshness) -> Self {
        Self { freshness, quota: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(limit: u32) -> Quota {
        Quota::per_second(NonZeroU32::new(limit), Share::Fair)
    }

    #[test]
    fn a_caller_has_no_more_under_way_than_is_left_for_others() {
        const ALL: usize = 256;
        let callers = [quota(1), quota(1)].map(Arc::new);
        let mut held: Vec<_> = Vec::new();
        while let Some(place) = callers[0].begin(ALL - held.len()) {
            held.push(place);
        }
        assert_eq!(held.len(), ALL / 2, "one alone has half");
        while let Some(place) = callers[1].begin(ALL - held.len()) {
            held.push(place);
        }
        assert_eq!(held.len(), ALL / 2 + ALL / 4, "who comes next finds a place");
        drop(held.remove(0));
        assert!(callers[0].begin(64).is_none(), "over its share by now");
        let sole = Arc::new(Quota::per_second(None, Share::Whole));
        assert!(sole.begin(0).is_some());
    }

    #[test]
    fn a_seconds_worth_is_free_and_then_each_look_up_takes_its_time() {
        let hourly = Quota { interval: AtomicU64::new(nanos(Duration::from_hours(1))), ..quota(1) };
        assert_eq!(hourly.exhausted(), None);
        hourly.charge();
        let wait = hourly.exhausted().expect("over the limit");
        assert!(wait > Duration::from_mins(59) && wait < Duration::from_hours(1), "{wait:?}");
        hourly.charge();
        assert!(hourly.exhausted().expect("over the limit") > Duration::from_mins(119), "debts add up");

        let many = quota(100_000);
        (0..100_000).for_each(|_| many.charge());
        assert_eq!(many.exhausted(), None, "as much as the limit of a second");
    }

    #[test]
    fn it_recovers_at_the_rate_that_was_given() {
        let quota = quota(1_000);
        (0..1_050).for_each(|_| quota.charge());
        let start = Instant::now();
        assert!(quota.exhausted().expect("over the limit") <= Duration::from_millis(50));
        while quota.exhausted().is_some() {
            assert!(start.elapsed() < SECOND, "a debt of 50 ms is worked off");
            std::thread::yield_now();
        }
    }

    #[test]
    fn without_a_limit_nothing_is_owed() {
        let unlimited = quota(0);
        (0..10_000).for_each(|_| unlimited.charge());
        assert_eq!(unlimited.exhausted(), None);
    }
}
