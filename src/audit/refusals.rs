//! Which refused calls get a record of their own: a flood of them must not fill a disk.

use std::{
    collections::HashMap,
    fmt, mem,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::Outcome;

/// Records of one kind in a row; after them one in [`INTERVAL`].
const BURST: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(1);
/// Records of all kinds in a row; after them one in a twentieth of [`INTERVAL`], however many kinds there are.
const TOTAL_BURST: u32 = 1_000;
const TOTAL_INTERVAL: Duration = Duration::from_millis(50);
/// Kinds that are told apart. Those that are quiet make room for others; what finds none is one kind together.
const KINDS: usize = 1_024;

/// Bits of an address of IPv6 that its host chooses (RFC 4291, section 2.5.4).
const HOST_BITS: u32 = 64;

/// Why a call was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// It had no credential, or none that is known.
    Unauthenticated,
    /// Its caller may not use the method.
    NotAllowed,
}

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A caller's, by its name.
    Caller(Arc<str>),
    /// Those of whoever is at an address. Within a `/64` a host has whatever address it likes, so that counts as one.
    Peer(Peer),
    /// Those of all for whom there is no room.
    Others,
}

/// Where calls come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An address of IP.
    Address(IpAddr),
    /// A user of this host.
    User(u32),
    /// Nobody can tell.
    Unknown,
}

/// What is told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) rejection: Rejection,
    pub(super) source: Source,
}

/// What was refused lately: by why, and whom.
#[derive(Debug)]
pub(super) struct Refusals(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    kinds: HashMap<Kind, Count>,
    total: Pace,
}

#[derive(Debug)]
struct Count {
    pace: Pace,
    suppressed: u64,
}

/// The generic cell rate algorithm (ITU-T I.371, annex A).
#[derive(Clone, Copy, Debug)]
struct Pace {
    burst: u32,
    interval: Duration,
    /// When every record so far will have been worked off.
    worked_off: Instant,
}

// === impl Refusals ===

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(Seen { kinds: HashMap::new(), total: Pace::new(TOTAL_BURST, TOTAL_INTERVAL) }))
    }
}

impl Refusals {
    /// How many had no record before this one; `None` when it has none either.
    pub(super) fn admit(&self, rejection: Rejection, source: Source) -> Option<u64> {
        let mut seen = self.lock();
        let Seen { kinds, total } = &mut *seen;
        let kind = room(kinds, Kind { rejection, source: source.bounded() });
        let count = kinds.entry(kind).or_insert_with(Count::new);
        let admitted = count.admit(total);
        if admitted.is_none() {
            count.suppressed += 1;
        }
        admitted
    }

    /// Those that a record may tell of now.
    pub(super) fn due(&self) -> Vec<(Kind, u64)> {
        self.take(Count::admit)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(Kind, u64)> {
        self.take(|count, _| Some(mem::take(&mut count.suppressed)))
    }

    fn take(&self, take: impl Fn(&mut Count, &mut Pace) -> Option<u64>) -> Vec<(Kind, u64)> {
        let mut seen = self.lock();
        let Seen { kinds, total } = &mut *seen;
        let suppressed = kinds.iter_mut().filter(|(_, count)| count.suppressed > 0);
        suppressed.filter_map(|(kind, count)| Some((kind.clone(), take(count, total)?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kind, or the one of all the others where there is no room for it.
fn room(kinds: &mut HashMap<Kind, Count>, kind: Kind) -> Kind {
    if kinds.len() >= KINDS && !kinds.contains_key(&kind) {
        let now = Instant::now();
        kinds.retain(|_, count| count.suppressed > 0 || count.pace.worked_off > now);
        if kinds.len() >= KINDS {
            return Kind { source: Source::Others, ..kind };
        }
    }
    kind
}

// === impl Count ===

impl Count {
    fn new() -> Self {
        Self { pace: Pace::new(BURST, INTERVAL), suppressed: 0 }
    }

    fn admit(&mut self, total: &mut Pace) -> Option<u64> {
        if !(self.pace.is_free() && total.is_free()) {
            return None;
        }
        self.pace.take();
        total.take();
        Some(mem::take(&mut self.suppressed))
    }
}

// === impl Pace ===

impl Pace {
    fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, worked_off: Instant::now() }
    }

    fn is_free(&self) -> bool {
        self.worked_off.saturating_duration_since(Instant::now()) <= self.interval * (self.burst - 1)
    }

    fn take(&mut self) {
        self.worked_off = self.worked_off.max(Instant::now()) + self.interval;
    }
}

// === impl Source ===

impl Source {
    fn bounded(self) -> Self {
        match self {
            Self::Peer(Peer::Address(address)) => Self::Peer(Peer::Address(network(address))),
            other => other,
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> HOST_BITS << HOST_BITS).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

// === impl Peer ===

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(network @ IpAddr::V6(_)) => write!(f, "{network}/64"),
            Self::Address(address) => address.fmt(f),
            Self::User(user) => write!(f, "unix:uid={user}"),
            Self::Unknown => Ok(()),
        }
    }
}

// === impl Rejection ===

impl Rejection {
    pub(super) fn outcome(self) -> Outcome {
        let (code, reason) = match self {
            Self::Unauthenticated => ("UNAUTHENTICATED", "CALLER_UNAUTHENTICATED"),
            Self::NotAllowed => ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED"),
        };
        Outcome { code, reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn gateway() -> Source {
        Source::Caller(Arc::from("gateway"))
    }

    fn at(address: &str) -> Source {
        Source::Peer(Peer::Address(address.parse().expect("an address")))
    }

    fn admit(refusals: &Refusals, times: usize) -> Vec<u64> {
        (0..times).filter_map(|_| refusals.admit(Rejection::NotAllowed, gateway())).collect()
    }

    fn of_gateway(count: u64) -> [(Kind, u64); 1] {
        [(Kind { rejection: Rejection::NotAllowed, source: gateway() }, count)]
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_has_ten_records_and_then_one_a_second_that_counts_the_rest() {
        let refusals = Refusals::default();
        assert_eq!(admit(&refusals, 10_000), [0; 10]);
        assert_eq!(refusals.due(), [], "not yet");
        tokio::time::advance(SECOND).await;
        assert_eq!(admit(&refusals, 100), [9_990]);
        tokio::time::advance(SECOND).await;
        assert_eq!(refusals.due(), of_gateway(99), "no call has to follow");
        assert_eq!(refusals.due(), []);
        tokio::time::advance(SECOND * 60).await;
        assert_eq!(admit(&refusals, 11), [0; 10], "a burst again");
        assert_eq!(refusals.all(), of_gateway(1), "whatever the rate");
    }

    #[tokio::test(start_paused = true)]
    async fn one_loud_peer_does_not_hide_another() {
        let refusals = Refusals::default();
        let admit = |source: Source| refusals.admit(Rejection::Unauthenticated, source);
        while admit(at("192.0.2.1")).is_some() {}
        assert_eq!(admit(at("192.0.2.2")), Some(0), "another address");
        assert_eq!(admit(gateway()), Some(0));
        assert_eq!(admit(Source::Peer(Peer::User(0))), Some(0));
        assert_eq!(admit(at("::ffff:192.0.2.1")), None, "the same address");
        while admit(at("2001:db8::1")).is_some() {}
        assert_eq!(admit(at("2001:db8::2:0:0:1")), None, "the same network");
        assert_eq!(admit(at("2001:db8:0:1::1")), Some(0));
        let told = refusals.all();
        let one = Kind { rejection: Rejection::Unauthenticated, source: at("2001:db8::") };
        assert!(told.contains(&(one, 2)), "{told:?}");
        assert_eq!(Peer::Address("2001:db8::".parse().expect("an address")).to_string(), "2001:db8::/64");
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_and_all_records_together_are_bounded_and_quiet_ones_make_room() {
        let refusals = Refusals::default();
        let (mut records, mut number) = (0, 0);
        let mut flood = |refusals: &Refusals| {
            (0..4 * KINDS).for_each(|_| {
                number += 1;
                let address = std::net::Ipv4Addr::from_bits(number);
                records += usize::from(
                    refusals.admit(Rejection::Unauthenticated, Source::Peer(Peer::Address(address.into()))).is_some(),
                );
            });
            records
        };
        assert_eq!(flood(&refusals), TOTAL_BURST as usize);
        assert!(refusals.lock().kinds.len() <= KINDS + 1);
        let told: u64 = refusals.all().iter().map(|(_, count)| count).sum();
        assert_eq!(told, 4 * KINDS as u64 - u64::from(TOTAL_BURST), "and none is lost");
        tokio::time::advance(SECOND * 60).await;
        assert_eq!(refusals.admit(Rejection::Unauthenticated, at("198.51.100.1")), Some(0));
        assert_eq!(refusals.lock().kinds.len(), 1, "the others were quiet");
    }
}
