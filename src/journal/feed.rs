//! Tells those who follow (`WatchRevocations`) what the polls show, as they show it.
//!
//! The reader puts what each poll showed anew into a ring of [`BEHIND`] entries, which all followers read at
//! their own pace and nobody waits for: whoever is farther behind than the ring reaches is cut off. A
//! heartbeat goes into it every second, by a poll that succeeded; so it is also the word that nothing else has ended.
//!
//! A record is told twice: as soon as it is seen, and again when it has its number, since only then is
//! there a place in the journal that covers it. What happened before somebody came is told from the view,
//! which holds every record above the floor; below it, or in another epoch, nobody can tell, and the
//! follower has to start over. That everything has ended is told the same way.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, timeout},
};

use super::{handle::Handle, lease::Uptime, view::Since};
use crate::domain::{Ended, Event, Outdated, Poll, Position, Revocations, Timestamp, Watch, WatchEnd};

/// Polls with news that a follower may be behind.
const BEHIND: usize = 256;
/// Time between two words of a follower when nothing ends.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which a follower is told that the journal is not read.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a place is waited for that this replica has not come to yet.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What one poll showed that no earlier one had.
#[derive(Debug)]
pub(super) struct News {
    position: Position,
    at: Timestamp,
    /// Records in the order of their numbers, and then those without.
    records: Vec<(Option<u64>, Outdated)>,
    /// The greatest number of a record of everything, without one the greatest there is; 0 for none.
    everything: u64,
    /// Something may have ended since the poll before that this one does not show.
    gap: bool,
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct Announcer {
    ring: broadcast::Sender<Arc<News>>,
    /// Where the last poll was.
    position: Option<Position>,
    /// How many records without a number the last poll showed of each.
    unnumbered: HashMap<Outdated, usize>,
    told: Option<Instant>,
}

/// One who follows.
#[derive(Debug)]
pub struct Follower {
    ring: broadcast::Receiver<Arc<News>>,
    /// The place up to which everything has been told.
    position: Position,
    /// What is being told, how far that is, and whether any of it was.
    current: Option<(Arc<News>, usize, bool)>,
}

pub(super) type Ring = broadcast::Sender<Arc<News>>;

pub(super) fn ring() -> Ring {
    broadcast::channel(BEHIND).0
}

// === impl Announcer ===

impl Announcer {
    pub(super) fn new(ring: Ring) -> Self {
        Self { ring, position: None, unnumbered: HashMap::new(), told: None }
    }

    /// What is to be told of a poll; [`Self::tell`] it once the view has taken the poll in.
    pub(super) fn news(&mut self, poll: &Poll) -> Option<News> {
        let before = self.position.replace(poll.position);
        let gap = before.is_none_or(|before| before.epoch != poll.position.epoch || before.seq < poll.floor);
        let all = poll.records.iter().filter(|record| record.ended == Ended::Everything);
        let everything = all.map(|record| record.seq.unwrap_or(u64::MAX)).max().unwrap_or_default();
        let records = self.records(poll);
        let is_due = self.told.is_none_or(|told| told.elapsed() >= HEARTBEAT);
        let is_news = is_due || gap || everything > 0 || !records.is_empty();
        is_news.then_some(News { position: poll.position, at: poll.now, records, everything, gap })
    }

    pub(super) fn tell(&mut self, news: News) {
        self.told = Some(Instant::now());
        // Without followers there is nobody to tell.
        let _followers = self.ring.send(Arc::new(news));
    }

    fn records(&mut self, poll: &Poll) -> Vec<(Option<u64>, Outdated)> {
        let mut unnumbered: HashMap<Outdated, usize> = HashMap::new();
        let mut records = Vec::new();
        for record in &poll.records {
            let Some(outdated) = Outdated::of(&record.ended) else { continue };
            if record.seq.is_none() {
                let count = unnumbered.entry(outdated.clone()).or_default();
                *count += 1;
                if self.unnumbered.get(&outdated).is_some_and(|known| *known >= *count) {
                    continue;
                }
            }
            records.push((record.seq, outdated));
        }
        self.unnumbered = unnumbered;
        records.sort_by_key(|(seq, _)| seq.unwrap_or(u64::MAX));
        records
    }
}

// === impl Handle ===

impl<U: Uptime> Revocations for Handle<U> {
    type Watch = Follower;

    async fn watch(&self, start: Option<Position>) -> Result<Follower, WatchEnd> {
        self.covered().await.map_err(|_| WatchEnd::Lost)?;
        if let Some(start) = start {
            // Another replica may have been quicker. What no replica has come to was never given.
            let covered = timeout(CATCH_UP, self.revision_covered(start)).await;
            covered.map_err(|_| WatchEnd::StartOver)?.map_err(|_| WatchEnd::Lost)?;
        }
        // The ring before the view: what comes between the two is told twice, and not never.
        let ring = self.follow();
        let Since { position, at, records } = self.since(start).ok_or(WatchEnd::StartOver)?;
        let news = Arc::new(News { position, at, records, everything: 0, gap: false });
        Ok(Follower { ring, position: start.unwrap_or(position), current: Some((news, 0, false)) })
    }
}

// === impl Follower ===

impl Watch for Follower {
    async fn next(&mut self) -> Result<Event, WatchEnd> {
        loop {
            if let Some(event) = self.told() {
                return Ok(event);
            }
            let news = match timeout(SILENCE, self.ring.recv()).await {
                Ok(Ok(news)) => news,
                Ok(Err(RecvError::Lagged(_))) => return Err(WatchEnd::Slow),
                Ok(Err(RecvError::Closed)) | Err(_) => return Err(WatchEnd::Lost),
            };
            if news.gap || news.position.epoch != self.position.epoch || news.everything > self.position.seq {
                return Err(WatchEnd::StartOver);
            }
            self.current = Some((news, 0, false));
        }
    }
}

impl Follower {
    /// What is left to tell of the current news; a heartbeat when there was nothing in it.
    fn told(&mut self) -> Option<Event> {
        let (news, next, told) = self.current.as_mut()?;
        while let Some((seq, outdated)) = news.records.get(*next) {
            *next += 1;
            if seq.is_some_and(|seq| seq <= self.position.seq) {
                continue;
            }
            *told = true;
            self.position.seq = seq.unwrap_or(self.position.seq);
            return Some(Event { subject: Some(outdated.clone()), position: self.position, at: news.at });
        }
        let (at, told) = (news.at, *told);
        self.position.seq = self.position.seq.max(news.position.seq);
        self.current = None;
        (!told).then_some(Event { subject: None, position: self.position, at })
    }
}
