//! The ways in which a token ends, or begins again.

use std::time::{Duration, Instant};

use tokenward::proto::{
    DeleteUserRequest, Propagation, PropagationState, RevokeAllRequest, UpsertUserRequest, User, revoke_request::Target,
};
use tonic::Status;

use super::{
    history::Holds,
    sql::Schema,
    world::{Known, World},
};

/// A user and all its tokens, in the hand of one writer.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) user: String,
    pub(super) tokens: Vec<Known>,
}

/// A way to end all tokens of a subject, or to give them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Revoke,
    SqlDelete,
    RevokeAll,
    SqlExpire,
    Deactivate,
    SqlDeactivate,
    DeleteUser,
    SqlDeleteUser,
    Activate,
    SqlActivate,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The service, and it says how far it has come.
    Call,
    /// Another program.
    Sql,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// The service answered: no accept begins later than this after its answer.
    Promised(Duration),
    /// Committed.
    Committed,
    /// No answer.
    Unknown,
}

/// Whether an attempt got an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    Unanswered,
}

// === impl Ending ===

impl Ending {
    /// All that end.
    pub(super) const ALL: [Self; 8] = [
        Self::Revoke,
        Self::SqlDelete,
        Self::Deactivate,
        Self::SqlDeactivate,
        Self::RevokeAll,
        Self::SqlExpire,
        Self::DeleteUser,
        Self::SqlDeleteUser,
    ];

    /// Users of Django are Django's to delete.
    pub(super) fn is_for(self, schema: Schema) -> bool {
        schema == Schema::Native || self != Self::DeleteUser
    }

    pub(super) fn way(self) -> Way {
        match self {
            Self::Revoke | Self::RevokeAll | Self::Deactivate | Self::DeleteUser | Self::Activate => Way::Call,
            Self::SqlDelete | Self::SqlExpire | Self::SqlDeactivate | Self::SqlDeleteUser | Self::SqlActivate => {
                Way::Sql
            }
        }
    }

    /// What takes it back.
    pub(super) fn opposite(self) -> Option<Self> {
        match self {
            Self::Deactivate => Some(Self::SqlActivate),
            Self::SqlDeactivate => Some(Self::Activate),
            _ => None,
        }
    }

    /// Makes one attempt at all of the subject's tokens.
    pub(super) async fn run(self, world: &World, replica: usize, subject: &Subject) -> Done {
        let (client, sql, user) = (world.client(replica), world.sql(), subject.user.clone());
        let ids = || subject.tokens.iter().map(|known| known.token.token_id.as_str());
        let mut users = client.users.clone();
        let answered = match self {
            Self::SqlDelete => return committed(world, ids().map(|id| sql.delete_token(id))).await,
            Self::SqlExpire => return committed(world, ids().map(|id| sql.expire_token(id))).await,
            Self::SqlDeactivate => return committed(world, [sql.set_active(&user, false)].into_iter()).await,
            Self::SqlActivate => return committed(world, [sql.set_active(&user, true)].into_iter()).await,
            Self::SqlDeleteUser => return committed(world, [sql.delete_user(&user)].into_iter()).await,
            Self::Revoke => {
                let mut propagations = Vec::new();
                for (number, known) in subject.tokens.iter().enumerate() {
                    let target = match number % 2 {
                        0 => Target::Token(known.token.secret.clone()),
                        _ => Target::TokenId(known.token.token_id.clone()),
                    };
                    propagations.push(client.try_revoke(target).await.map(|answer| answer.propagation));
                }
                propagations.into_iter().collect::<Result<Vec<_>, _>>()
            }
            Self::RevokeAll => {
                let request = RevokeAllRequest { user_id: user, ..RevokeAllRequest::default() };
                client.tokens.clone().revoke_all(request).await.map(|answer| vec![answer.into_inner().propagation])
            }
            Self::Deactivate | Self::Activate => {
                let user = User { user_id: user, active: self == Self::Activate, ..User::default() };
                let update_mask = Some(prost_types::FieldMask { paths: vec!["active".to_owned()] });
                let request = UpsertUserRequest { user: Some(user), update_mask };
                users.upsert_user(request).await.map(|answer| vec![answer.into_inner().propagation])
            }
            Self::DeleteUser => {
                let request = DeleteUserRequest { user_id: user };
                users.delete_user(request).await.map(|answer| vec![answer.into_inner().propagation])
            }
        };
        Self::promised(world, answered)
    }

    fn promised(world: &World, answered: Result<Vec<Option<Propagation>>, Status>) -> Done {
        match answered {
            Ok(propagations) => Done::Promised(propagations.into_iter().map(remaining).max().unwrap_or_default()),
            Err(status) => {
                world.failure(&status);
                Done::Unknown
            }
        }
    }
}

async fn committed(world: &World, statements: impl Iterator<Item = String>) -> Done {
    let statements: Vec<_> = statements.collect();
    let _turn = world.past_the_service.read().await;
    match world.sql().run(&statements.join("; ")).await {
        Ok(()) => Done::Committed,
        Err(_) => Done::Unknown,
    }
}

/// How long after the answer an accept may still begin.
fn remaining(propagation: Option<Propagation>) -> Duration {
    let propagation = propagation.expect("a change says how far it has come");
    match propagation.state() {
        PropagationState::Complete => Duration::ZERO,
        PropagationState::Pending => {
            propagation.max_staleness.expect("PENDING says for how long").try_into().expect("it is no debt")
        }
        PropagationState::Unspecified => panic!("{propagation:?}"),
    }
}

// === impl Done ===

impl Done {
    /// From when on the change must be seen, when its answer came at `returned`.
    pub(super) fn holds(self, returned: Instant) -> Holds {
        match self {
            Self::Promised(after) => Holds::Promised(returned + after),
            Self::Committed => Holds::Committed,
            Self::Unknown => Holds::Unknown,
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Promised(_) | Self::Committed => Outcome::Answered,
            Self::Unknown => Outcome::Unanswered,
        }
    }
}
