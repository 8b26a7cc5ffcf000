//! Steps in words, for the traces.

use std::fmt::{self, Display, Formatter};

use crate::action::{Action, CallStep, FlightStep, JournalStep, PollStep, RevokeStep, WriteStep};

/// The replicas' names.
const NAMES: [char; 2] = ['A', 'B'];

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => write!(f, "one tick passes"),
            Self::Poll(replica, step) => write!(f, "{}: {step}", NAMES[*replica]),
            Self::Call(replica, slot, step) => write!(f, "{}: call {}: {step}", NAMES[*replica], slot + 1),
            Self::Flight(replica, step) => write!(f, "{}: {step}", NAMES[*replica]),
            Self::Put(stamp) => write!(f, "Redis: a put of the fact stamped {stamp} arrives"),
            Self::Revoke(step) => write!(f, "Revoke: {step}"),
            Self::Journal(step) => write!(f, "journal: {step}"),
            Self::Write(step) => write!(f, "SQL: {step}"),
        }
    }
}

impl Display for PollStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reads => "a poll reads the journal",
            Self::Publishes => "the poll's answer is published",
            Self::PublishesFirstHalf => "the first half of the poll's answer is published",
            Self::PublishesSecondHalf => "the second half is published",
            Self::Fails => "the poll fails: the database cannot be reached",
        })
    }
}

impl Display for CallStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins => write!(f, "begins"),
            Self::Gets => write!(f, "gets what the key holds"),
            Self::GetsAny(stamp) => write!(f, "gets the fact stamped {stamp}"),
            Self::GetsNothing => write!(f, "gets nothing"),
            Self::FindsInMemory => write!(f, "finds a fact in the replica's memory"),
            Self::TakesFirstTest => write!(f, "takes the first test of its fact"),
            Self::TakesSecondTest => write!(f, "takes the second test of its fact"),
            Self::ReadsDatabase => write!(f, "reads the database and answers"),
            Self::SendsFlight => write!(f, "sends a read that others may share"),
        }
    }
}

impl Display for FlightStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IsRead => "the database executes the shared read",
            Self::Returns => "the shared read returns",
        })
    }
}

impl Display for RevokeStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inserts => "inserts its record, which takes an id",
            Self::Commits => "commits",
            Self::MarksRedis => "Redis acknowledges its mark",
            Self::FailsToMark => "its mark fails; a delete is sent",
            Self::MarksUnheard => "its mark is set, unacknowledged; a delete is sent",
            Self::DeleteArrives => "the delete arrives in Redis",
            Self::EndsWait => "its wait is over, and it answers",
            Self::Dies => "the service is killed",
            Self::Retries => "the client asks again; no row is left",
        })
    }
}

impl Display for JournalStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbers(slot) => write!(f, "record {slot} is numbered"),
            Self::Purges(slot) => write!(f, "record {slot} is purged"),
        }
    }
}

impl Display for WriteStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SwitchesOff => "the user is switched off",
            Self::SwitchesOn => "the user is switched on",
            Self::Renames => "the user is renamed",
            Self::RevokesAnother => "another token is revoked",
        })
    }
}
