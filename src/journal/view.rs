//! The journal in memory: which tokens and users were last ended at which number.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use crate::domain::{Digest, Ended, Outdated, Poll, Position, Timestamp, TokenId, UserId};

/// What a record counts as until it has a number. No position reaches it: databases count to 2^63.
const PENDING: u64 = u64::MAX;

/// What the polls have shown so far. Takes as much memory as the journal retains records.
#[derive(Debug, Default)]
pub(super) struct View(RwLock<Option<State>>);

/// What the view says of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No record in the view outdates it.
    Current,
    /// A record does.
    Outdated,
    /// The view cannot tell: it is empty, or the fact is of another epoch or below the floor.
    Unknown,
}

/// What came after a place.
#[derive(Debug)]
pub(super) struct Since {
    /// The place up to which it was told.
    pub(super) position: Position,
    /// When that was, by the database's clock.
    pub(super) at: Timestamp,
    /// In the order of their numbers, the last one of each token and user; then those without a number.
    pub(super) records: Vec<(Option<u64>, Outdated)>,
}

#[derive(Debug)]
struct State {
    position: Position,
    /// When it was read, by the database's clock.
    at: Timestamp,
    floor: u64,
    numbered: Marks,
    /// Records without a number; each poll shows all of them.
    pending: Marks,
}

/// The greatest number of the records about each.
#[derive(Debug, Default)]
struct Marks {
    tokens: HashMap<TokenId, u64>,
    users: HashMap<UserId, u64>,
    everything: u64,
}

// === impl View ===

impl View {
    /// What it says of a fact that was read at `position`.
    pub(super) fn judge(&self, position: Position, digest: Digest, user: &UserId) -> Standing {
        self.read().as_ref().map_or(Standing::Unknown, |state| state.judge(position, digest.token_id(), user))
    }

    /// The place up to which it holds every record.
    pub(super) fn position(&self) -> Option<Position> {
        self.read().as_ref().map(|state| state.position)
    }

    /// Whether it holds a record of this token, one from after `since`; `None` when it cannot tell.
    pub(super) fn shows(&self, token: TokenId, since: Position) -> Option<bool> {
        self.read().as_ref()?.shows(token, since)
    }

    /// Whether the floor is above every position, so that no fact passes.
    pub(super) fn is_shut(&self) -> bool {
        self.read().as_ref().is_some_and(|state| state.floor > state.position.seq)
    }

    /// What came after a place, or the place that is the last one now; `None` when it cannot tell.
    pub(super) fn since(&self, start: Option<Position>) -> Option<Since> {
        self.read().as_ref()?.since(start)
    }

    /// Takes in a poll of everything after [`Self::position`]. Another epoch begins anew.
    pub(super) fn apply(&self, poll: Poll) {
        let mut view = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match view.as_mut().filter(|state| state.position.epoch == poll.position.epoch) {
            Some(state) => state.apply(poll),
            None => view.insert(State::empty(&poll)).apply(poll),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<State>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn empty(poll: &Poll) -> Self {
        Self { position: poll.position, at: poll.now, floor: 0, numbered: Marks::default(), pending: Marks::default() }
    }

    fn judge(&self, position: Position, token: TokenId, user: &UserId) -> Standing {
        if position.epoch != self.position.epoch || position.seq < self.floor {
            return Standing::Unknown;
        }
        let last = self.numbered.last(token, user).max(self.pending.last(token, user));
        if position.seq < last { Standing::Outdated } else { Standing::Current }
    }

    fn since(&self, start: Option<Position>) -> Option<Since> {
        let Self { position, at, .. } = *self;
        let records = match start {
            None => vec![],
            Some(start) if start.epoch != position.epoch || start.seq < self.floor => return None,
            Some(start) if self.numbered.everything.max(self.pending.everything) > start.seq => return None,
            Some(start) => {
                let numbered = self.numbered.after(start.seq).into_iter().map(|(seq, it)| (Some(seq), it));
                numbered.chain(self.pending.after(0).into_iter().map(|(_, it)| (None, it))).collect()
            }
        };
        Some(Since { position, at, records })
    }

    fn shows(&self, token: TokenId, since: Position) -> Option<bool> {
        if [&self.numbered, &self.pending].iter().any(|marks| marks.tokens.contains_key(&token)) {
            return Some(true);
        }
        // A record of everything may stand for those that were too many to tell.
        let last = self.numbered.everything.max(self.pending.everything).max(self.floor);
        (self.position.epoch == since.epoch && last <= since.seq).then_some(false)
    }

    fn apply(&mut self, poll: Poll) {
        self.pending = Marks::default();
        for record in poll.records {
            match record.seq {
                Some(seq) => self.numbered.note(record.ended, seq),
                None => self.pending.note(record.ended, PENDING),
            }
        }
        (self.position, self.at) = (poll.position, poll.now);
        if poll.floor > self.floor {
            self.floor = poll.floor;
            self.numbered.drop_to(poll.floor);
        }
    }
}

// === impl Marks ===

impl Marks {
    fn note(&mut self, ended: Ended, seq: u64) {
        let mark = match ended {
            Ended::Token(token) => self.tokens.entry(token).or_default(),
            Ended::User(user) => self.users.entry(user).or_default(),
            Ended::Everything => &mut self.everything,
        };
        *mark = seq.max(*mark);
    }

    /// The greatest number that matters to a token; 0 when there is none.
    fn last(&self, token: TokenId, user: &UserId) -> u64 {
        let token = self.tokens.get(&token).copied().unwrap_or_default();
        let user = self.users.get(user).copied().unwrap_or_default();
        token.max(user).max(self.everything)
    }

    fn after(&self, seq: u64) -> Vec<(u64, Outdated)> {
        let tokens = self.tokens.iter().map(|(token, seq)| (*seq, Outdated::Token(*token)));
        let users = self.users.iter().filter(|(_, last)| **last > seq);
        let users = users.map(|(user, seq)| (*seq, Outdated::User(user.clone())));
        let mut after: Vec<_> = tokens.filter(|(last, _)| *last > seq).chain(users).collect();
        after.sort_unstable_by_key(|(seq, _)| *seq);
        after
    }

    /// Forgets what cannot outdate a fact at or above `floor`.
    fn drop_to(&mut self, floor: u64) {
        self.tokens.retain(|_, seq| *seq > floor);
        self.users.retain(|_, seq| *seq > floor);
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Record,
        journal::tests::{at, digest, poll, token, user},
    };

    fn view(poll: Poll) -> View {
        let view = View::default();
        view.apply(poll);
        view
    }

    fn judge(view: &View, seq: u64) -> Standing {
        view.judge(at(1, seq), digest(1), &user("ada"))
    }

    #[test]
    fn an_empty_view_knows_nothing() {
        assert_eq!(judge(&View::default(), 5), Standing::Unknown);
    }

    #[test]
    fn a_record_outdates_facts_below_its_number_and_no_other() {
        for ended in [Ended::Token(token(1)), Ended::User(user("ada")), Ended::Everything] {
            let view = view(poll(9).record(7, ended));
            assert_eq!(judge(&view, 6), Standing::Outdated);
            assert_eq!(judge(&view, 7), Standing::Current);
            assert_eq!(judge(&view, 12), Standing::Current, "read after the poll");
        }
        let others = view(poll(9).record(7, Ended::Token(token(2))).record(8, Ended::User(user("bob"))));
        assert_eq!(judge(&others, 0), Standing::Current);
    }

    #[test]
    fn the_greatest_number_counts_in_whatever_order() {
        let view = view(poll(9).record(7, Ended::Token(token(1))).record(3, Ended::Token(token(1))));
        assert_eq!(judge(&view, 6), Standing::Outdated);
    }

    #[test]
    fn a_record_without_a_number_outdates_every_fact_until_it_has_one() {
        for ended in [Ended::Token(token(1)), Ended::User(user("ada")), Ended::Everything] {
            let view = view(poll(9).pending(ended.clone()));
            assert_eq!(judge(&view, 9), Standing::Outdated);
            assert_eq!(judge(&view, 1 << 62), Standing::Outdated);
            view.apply(poll(10).record(10, ended));
            assert_eq!(judge(&view, 9), Standing::Outdated);
            assert_eq!(judge(&view, 10), Standing::Current);
        }
    }

    #[test]
    fn facts_below_the_floor_are_proved_again_and_records_up_to_it_dropped() {
        let view = view(poll(9).record(4, Ended::Token(token(2))).record(6, Ended::User(user("bob"))));
        view.apply(Poll { floor: 5, ..poll(9) });
        assert_eq!(judge(&view, 4), Standing::Unknown);
        assert_eq!(judge(&view, 5), Standing::Current);
        let kept = |view: &View| {
            let state = view.read();
            let state = state.as_ref().expect("filled");
            (state.numbered.tokens.len(), state.numbered.users.len())
        };
        assert_eq!(kept(&view), (0, 1));
        view.apply(Poll { floor: 6, ..poll(9) });
        assert_eq!(kept(&view), (0, 0));
    }

    #[test]
    fn the_floor_never_sinks() {
        let view = view(Poll { floor: 5, ..poll(9) });
        view.apply(poll(9));
        assert_eq!(judge(&view, 4), Standing::Unknown);
    }

    #[test]
    fn a_new_epoch_begins_anew() {
        let view = view(Poll { floor: 5, ..poll(9).record(7, Ended::Token(token(1))).pending(Ended::Everything) });
        view.apply(Poll { position: at(2, 1), ..poll(1) });
        assert_eq!(judge(&view, 9), Standing::Unknown, "of the old epoch");
        assert_eq!(view.judge(at(2, 0), digest(1), &user("ada")), Standing::Current);
        assert_eq!(view.position(), Some(at(2, 1)));
    }

    #[test]
    fn records_of_earlier_polls_are_kept() {
        let view = view(poll(7).record(7, Ended::Token(token(1))));
        view.apply(Poll { records: vec![Record { seq: Some(9), ended: Ended::Token(token(2)) }], ..poll(9) });
        assert_eq!(judge(&view, 6), Standing::Outdated);
    }
}
