//! Single flight: callers that miss the same token share one database read.
//!
//! The rule that makes sharing safe: a call may use the result of a read only if that
//! read was sent after the call began. Otherwise a call that begins after Revoke returned
//! could be answered from a snapshot that is older than the revocation. So calls and
//! reads are stamped from one counter, and a caller that finds a flight which left before
//! it began waits until that flight and its fill are over, looks into the cache again,
//! and then shares the next flight.
//!
//! A flight runs in a task of its own, so that a caller who goes away takes nobody along.
//! Its [`Ticket`] is what ends it: when the task panics, the ticket is dropped, and those
//! who wait are told.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use crate::domain::{Digest, Error, Reading, TokenId};

/// The flights of this process, by digest.
#[derive(Debug, Default)]
pub(super) struct Flights {
    counter: AtomicU64,
    aloft: Mutex<BTreeMap<Digest, Arc<Flight>>>,
}

/// A place in the order of calls and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(u64);

/// A database read under way, or just over.
#[derive(Debug)]
pub(super) struct Flight {
    sent: Stamp,
    /// A change has been committed that the read may not have seen.
    outdated: Mutex<bool>,
    progress: watch::Receiver<Progress>,
}

/// What a caller that missed is to do.
#[derive(Debug)]
pub(super) enum Boarding {
    /// Share this flight.
    Join(Arc<Flight>),
    /// Wait for this flight, then look into the cache again.
    Late(Arc<Flight>),
    /// Fly: read the database, and share the result.
    Lead(Ticket),
}

/// The right and the duty to fly.
#[derive(Debug)]
pub(super) struct Ticket {
    digest: Digest,
    flight: Arc<Flight>,
    progress: watch::Sender<Progress>,
    flights: Arc<Flights>,
}

/// Flights of several tokens.
pub(super) type Party = Vec<Arc<Flight>>;

/// What a read came to; an error is shared too.
pub(super) type Outcome = Result<Reading, Arc<Error>>;

#[derive(Clone, Debug)]
enum Progress {
    Reading,
    Answered(Outcome),
    Settled(Outcome),
}

/// The task that read the database ended without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the look-up was abandoned")]
struct Abandoned;

// === impl Flights ===

impl Flights {
    /// Stamps the beginning of a call. Take it before anything else.
    pub(super) fn begin(&self) -> Stamp {
        Stamp(self.counter.fetch_add(1, Ordering::SeqCst))
    }

    /// Gives a caller that began at `began` a flight.
    ///
    /// `waited` is the flight that it has waited for already: that one is not waited for twice.
    pub(super) fn board(self: &Arc<Self>, digest: Digest, began: Stamp, waited: Option<&Flight>) -> Boarding {
        let mut aloft = self.lock();
        match aloft.get(&digest) {
            Some(flight) if began < flight.sent => Boarding::Join(Arc::clone(flight)),
            Some(flight) if waited.is_none_or(|waited| waited.sent != flight.sent) => {
                Boarding::Late(Arc::clone(flight))
            }
            Some(_) | None => Boarding::Lead(self.depart(&mut aloft, digest)),
        }
    }

    /// The same for several tokens at once: a flight for each, and the tickets of those that are to be flown.
    ///
    /// # Errors
    /// The flights to wait for first. Nobody holds a ticket meanwhile, so no two wait for each other.
    pub(super) fn board_all(
        self: &Arc<Self>,
        digests: &[Digest],
        began: Stamp,
        waited: &[Arc<Flight>],
    ) -> Result<(Party, Vec<Ticket>), Party> {
        let mut aloft = self.lock();
        let over = |flight: &Flight| waited.iter().any(|waited| waited.sent == flight.sent);
        let known = digests.iter().filter_map(|digest| aloft.get(digest));
        let late: Vec<_> = known.filter(|flight| flight.sent < began && !over(flight)).cloned().collect();
        if !late.is_empty() {
            return Err(late);
        }
        let (mut flights, mut tickets) = (Vec::with_capacity(digests.len()), Vec::new());
        for digest in digests {
            let shared = aloft.get(digest).filter(|flight| began < flight.sent).cloned();
            flights.push(shared.unwrap_or_else(|| {
                tickets.push(self.depart(&mut aloft, *digest));
                Arc::clone(&tickets[tickets.len() - 1].flight)
            }));
        }
        Ok((flights, tickets))
    }

    /// Says that these tokens have changed: what flights of before bring back is not kept.
    pub(super) fn outdate(&self, ids: &[TokenId]) {
        let aloft = self.lock();
        for flight in ids.iter().flat_map(|id| aloft.range(digests(*id)).map(|(_, flight)| flight)) {
            *flight.outdated() = true;
        }
    }

    fn depart(self: &Arc<Self>, aloft: &mut BTreeMap<Digest, Arc<Flight>>, digest: Digest) -> Ticket {
        let (progress, watched) = watch::channel(Progress::Reading);
        let flight = Arc::new(Flight { sent: self.begin(), outdated: Mutex::new(false), progress: watched });
        aloft.insert(digest, Arc::clone(&flight));
        Ticket { digest, flight, progress, flights: Arc::clone(self) }
    }

    fn land(&self, digest: Digest, sent: Stamp) {
        let mut aloft = self.lock();
        if aloft.get(&digest).is_some_and(|flight| flight.sent == sent) {
            aloft.remove(&digest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Arc<Flight>>> {
        self.aloft.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All digests that a public name can stand for.
fn digests(id: TokenId) -> RangeInclusive<Digest> {
    let head = hex::decode(id.to_string()).expect("a token_id is hexadecimal");
    let bound = |fill: u8| {
        let mut bytes = [fill; 64];
        bytes[..head.len()].copy_from_slice(&head);
        Digest::from_bytes(bytes)
    };
    bound(0x00)..=bound(0xff)
}

// === impl Flight ===

impl Flight {
    /// The result, as soon as the read is answered.
    pub(super) async fn outcome(&self) -> Result<Reading, Error> {
        let mut progress = self.progress.clone();
        let answered = progress.wait_for(|progress| !matches!(progress, Progress::Reading)).await;
        match answered.as_deref() {
            Ok(Progress::Answered(outcome) | Progress::Settled(outcome)) => {
                outcome.clone().map_err(|error| Error::shared(&error))
            }
            Ok(Progress::Reading) | Err(_) => Err(Error::Unavailable(Box::new(Abandoned))),
        }
    }

    /// The end of the flight and of the fill that follows it, however it ended.
    pub(super) async fn settled(&self) {
        let mut progress = self.progress.clone();
        let _abandoned = progress.wait_for(|progress| matches!(progress, Progress::Settled(_))).await;
    }

    /// Runs `keep` unless the result is outdated; [`Flights::outdate`] waits until it has run.
    pub(super) fn unless_outdated(&self, keep: impl FnOnce()) {
        let outdated = self.outdated();
        if !*outdated {
            keep();
        }
    }

    /// Whether a change has been committed that the read may not have seen.
    pub(super) fn is_outdated(&self) -> bool {
        *self.outdated()
    }

    fn outdated(&self) -> MutexGuard<'_, bool> {
        self.outdated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Ticket ===

impl Ticket {
    pub(super) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// The read was answered: those who share it go on.
    pub(super) fn answer(&self, outcome: Outcome) {
        self.progress.send_replace(Progress::Answered(outcome));
    }

    /// The fill is over: those who came late go on.
    pub(super) fn settle(&self) {
        self.progress.send_modify(|progress| {
            if let Progress::Answered(outcome) = progress {
                *progress = Progress::Settled(outcome.clone());
            }
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.flights.land(self.digest, self.flight.sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::tests::fixture::{NOWHERE, digest},
        domain::{Found, Source},
    };

    fn unknown() -> Reading {
        Reading { found: Found::Unknown, position: NOWHERE, source: Source::Database, age: std::time::Duration::ZERO }
    }

    fn lead(flights: &Arc<Flights>, name: &str) -> Ticket {
        match flights.board(digest(name), flights.begin(), None) {
            Boarding::Lead(ticket) => ticket,
            other => panic!("not the leader: {other:?}"),
        }
    }

    #[tokio::test]
    async fn who_began_before_the_read_was_sent_shares_it() {
        let flights = Arc::new(Flights::default());
        let began = flights.begin();
        let ticket = lead(&flights, "a");
        let Boarding::Join(flight) = flights.board(digest("a"), began, None) else { panic!("not joined") };
        ticket.answer(Ok(unknown()));
        assert_eq!(flight.outcome().await.expect("answered").found, Found::Unknown);
    }

    #[tokio::test]
    async fn who_began_after_it_was_sent_waits_for_the_fill_and_then_flies() {
        let flights = Arc::new(Flights::default());
        let ticket = lead(&flights, "a");
        let began = flights.begin();
        let Boarding::Late(flight) = flights.board(digest("a"), began, None) else { panic!("not late") };
        ticket.answer(Ok(unknown()));
        let mut settled = std::pin::pin!(flight.settled());
        assert!(futures::poll!(&mut settled).is_pending(), "the fill is not over");
        ticket.settle();
        settled.await;
        let next = flights.board(digest("a"), began, Some(&flight));
        assert!(matches!(next, Boarding::Lead(_)), "a settled flight is waited for once: {next:?}");
        drop(ticket);
        let again = flights.board(digest("a"), began, Some(&flight));
        assert!(matches!(again, Boarding::Join(_)), "the end of the old flight leaves the new one alone: {again:?}");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_flight_that_was_abandoned() {
        let flights = Arc::new(Flights::default());
        let (early, ticket) = (flights.begin(), lead(&flights, "a"));
        let Boarding::Join(shared) = flights.board(digest("a"), early, None) else { panic!("not joined") };
        drop(ticket);
        assert!(matches!(shared.outcome().await, Err(Error::Unavailable(_))));
        shared.settled().await;
        drop(lead(&flights, "a"));
        assert!(flights.lock().is_empty());
    }

    #[test]
    fn a_change_outdates_the_flights_of_that_token_alone() {
        let flights = Arc::new(Flights::default());
        let (changed, other) = (lead(&flights, "a"), lead(&flights, "b"));
        flights.outdate(&[digest("a").token_id()]);
        let kept = |ticket: &Ticket| {
            let mut kept = false;
            ticket.flight().unless_outdated(|| kept = true);
            kept
        };
        assert!(!kept(&changed));
        assert!(kept(&other));
    }
}
