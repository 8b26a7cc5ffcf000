//! What a token is, when it is good, and the decisions about it.
//!
//! No I/O crate below here: the domain asks for a store and a clock through
//! [`ports`](self::TokenStore) and imports none of its neighbours.

mod administration;
mod administrator;
mod audit;
mod authenticator;
mod clock;
mod digest;
mod error;
mod form;
#[cfg(test)]
mod fuzz;
mod idempotency;
mod inspection;
mod issuer;
mod journal;
mod outbox;
mod ports;
mod quota;
mod reading;
mod record;
mod revocation;
mod revoker;
mod sliding;
mod token;
mod users;
mod watch;

pub use administration::{Administration, Expiry, Rotated, Rotation, TokenChange, Used, UserQuery};
pub use administrator::{Administrator, Replaced, Replacement, Update, UserPage};
pub use audit::{AuditEvent, AuditRecord, AuditTrail, Outcome, What, Who};
pub use authenticator::{Answer, Authenticator, Presented};
pub use clock::{SetClock, SystemClock};
pub use digest::{Digest, Digests, HashFunction, Hashing, InvalidDigest, InvalidTokenId, Knox4, Legacy, TokenId};
pub use error::{Error, InactiveReason, Subject, Violation};
pub use form::{AmbiguousPrefix, TokenForm, TokenFormat};
pub use inspection::{CacheStats, Entry, Holds, Inspected, Inspection, Tier};
pub use issuer::{IssuePolicy, IssueRequest, Issued, Issuer, Lifetime, NeverExpires};
pub use journal::{Ended, Journal, Poll, Record, Role, Triggers};
pub use outbox::{Notice, Outbox};
pub use ports::{
    Clock, Cursor, Epochs, IdempotentRequest, Inserted, NewEpoch, NewToken, TokenQuery, TokenStore, UserChange,
};
pub use quota::{Look, Quota, Share, UnderWay};
pub use reading::{Found, Freshness, InvalidRevision, Position, Reading, Source};
pub use record::{InvalidUserId, Label, MAX_USER_ID_BYTES, Timestamp, TokenRecord, TokenState, User, UserId};
pub use revocation::{Ending, Propagation, Revocation, RevocationCause, Target};
pub use revoker::{Named, Revoker};
pub use sliding::{Extended, Extension, Sliding};
pub use token::{InvalidPrefix, MAX_TOKEN_BYTES, MalformedToken, SECRET_BYTES, Secret, Token, TokenKey, TokenPrefix};
pub use users::{Page, PageRequest, Users};
pub use watch::{Event, Outdated, Revocations, Watch, WatchEnd};
