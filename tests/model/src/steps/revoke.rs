//! Revoke: commit, mark, answer or wait.

use super::journal::end;
use crate::action::{Action, RevokeStep};
use crate::environment::Service;
use crate::model::Coherence;
use crate::protocol::{Ack, Barrier, Retry, Stamp, Ticks};
use crate::state::{Redis, Revocation, State};

impl Coherence {
    pub(crate) fn offer_revoke(&self, state: &State, actions: &mut Vec<Action>) {
        if !self.environment.revokes() {
            return;
        }
        let mut offer = |step| actions.push(Action::Revoke(step));
        match state.revocation {
            Revocation::NotBegun if self.protocol.stamp == Stamp::InsertOrder => offer(RevokeStep::Inserts),
            Revocation::NotBegun | Revocation::Inserted(_) => offer(RevokeStep::Commits),
            Revocation::Committed(_) => self.offer_mark(&mut offer),
            Revocation::Waiting(age) if age >= self.protocol.lease => offer(RevokeStep::EndsWait),
            Revocation::Dead | Revocation::Pending => offer(RevokeStep::Retries),
            Revocation::Waiting(_) | Revocation::Complete => {}
        }
        let at_work = matches!(state.revocation, Revocation::Committed(_) | Revocation::Waiting(_));
        if at_work && self.environment.service == Service::Dies {
            offer(RevokeStep::Dies);
        }
        if matches!(state.redis, Redis::Honest { stray_delete: true, .. }) {
            offer(RevokeStep::DeleteArrives);
        }
    }

    fn offer_mark(&self, offer: &mut impl FnMut(RevokeStep)) {
        offer(RevokeStep::MarksRedis);
        if self.environment.redis_fails() {
            offer(RevokeStep::FailsToMark);
            offer(RevokeStep::MarksUnheard);
        }
    }

    pub(crate) fn revoke(&self, state: &mut State, step: RevokeStep) {
        state.revocation = match step {
            RevokeStep::Inserts => Revocation::Inserted(self.take_id(state)),
            RevokeStep::Commits => self.commit(state),
            RevokeStep::MarksRedis => {
                self.mark(state);
                self.heard(age(state))
            }
            RevokeStep::MarksUnheard => {
                self.mark(state);
                self.unheard(state)
            }
            RevokeStep::FailsToMark => self.unheard(state),
            RevokeStep::DeleteArrives => {
                self.delete(state);
                state.revocation
            }
            RevokeStep::EndsWait => self.end_wait(),
            RevokeStep::Dies => Revocation::Dead,
            RevokeStep::Retries => self.retry(),
        };
    }

    /// 1. The row and the record, in one transaction.
    fn commit(&self, state: &mut State) -> Revocation {
        let id = if let Revocation::Inserted(id) = state.revocation { id } else { 0 };
        end(state);
        self.append(state, 0, id);
        Revocation::Committed(0)
    }

    /// 3. All tombstones are acknowledged.
    fn heard(&self, age: Ticks) -> Revocation {
        match self.protocol.ack {
            Ack::Cache => Revocation::Complete,
            Ack::Lease => Revocation::Waiting(age),
        }
    }

    /// 3. "Otherwise try DEL, wait until commit + L."
    fn unheard(&self, state: &mut State) -> Revocation {
        Self::send_delete(state);
        match self.protocol.barrier {
            Barrier::Waits | Barrier::ForgetsGrace => Revocation::Waiting(age(state)),
            Barrier::Skipped => Revocation::Complete,
        }
    }

    /// 3. "COMPLETE if G = 0, else PENDING."
    fn end_wait(&self) -> Revocation {
        let forgets = self.protocol.barrier == Barrier::ForgetsGrace;
        if self.protocol.grace == 0 || forgets { Revocation::Complete } else { Revocation::Pending }
    }

    /// "Zero rows affected (a retry) runs 2 and 3 all the same." It cannot know
    /// when the first attempt committed, so its wait counts from its own.
    fn retry(&self) -> Revocation {
        match self.protocol.retry {
            Retry::Repeats => Revocation::Committed(0),
            Retry::Waits => Revocation::Waiting(0),
            Retry::AnswersAtOnce => Revocation::Complete,
        }
    }
}

/// How long ago this attempt committed.
fn age(state: &State) -> Ticks {
    match state.revocation {
        Revocation::Committed(age) | Revocation::Waiting(age) => age,
        other => unreachable!("Redis is marked only after a commit, not in {other:?}"),
    }
}
