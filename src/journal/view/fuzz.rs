//! Any records in any order: what has ended is never current.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::domain::{Record, Role, Token};

/// Few of each, so that records meet.
fn ended() -> impl Strategy<Value = Ended> {
    prop_oneof![
        4 => (0..4_usize).prop_map(|number| Ended::Token(digest(number).token_id())),
        4 => (0..3_usize).prop_map(|number| Ended::User(user(number))),
        1 => Just(Ended::Everything),
    ]
}

fn poll() -> impl Strategy<Value = Poll> {
    let seq = prop_oneof![0..20_u64, Just(u64::MAX - 1)];
    let records = vec((proptest::option::weighted(0.8, seq.clone()), ended()), 0..6);
    (0..2_u128, seq.clone(), seq, records).prop_map(|(epoch, seq, floor, records)| Poll {
        position: Position { epoch, seq },
        floor,
        now: chrono::DateTime::UNIX_EPOCH,
        role: Role::Primary,
        records: records.into_iter().map(|(seq, ended)| Record { seq, ended }).collect(),
    })
}

fn digest(number: usize) -> Digest {
    Token::parse(format!("token-{number}")).expect("well-formed").digest()
}

fn user(number: usize) -> UserId {
    number.to_string().parse().expect("a user id")
}

/// Whether it is about that token of that user.
fn concerns(ended: &Ended, token: usize, owner: usize) -> bool {
    match ended {
        Ended::Token(id) => *id == digest(token).token_id(),
        Ended::User(id) => *id == user(owner),
        Ended::Everything => true,
    }
}

proptest! {
    #[test]
    fn a_fact_from_before_a_record_about_it_is_never_current(
        polls in vec(poll(), 1..8), epoch in 0..2_u128, seq in 0..22_u64, token in 0..4_usize, owner in 0..3_usize,
    ) {
        let (view, mut numbered, mut last) = (View::default(), Vec::new(), None);
        for poll in polls {
            if last.is_some_and(|last: Position| last.epoch != poll.position.epoch) {
                numbered.clear();
            }
            numbered.extend(poll.records.iter().filter(|record| record.seq.is_some()).cloned());
            last = Some(poll.position);
            let pending: Vec<_> = poll.records.iter().filter(|record| record.seq.is_none()).cloned().collect();
            view.apply(poll);
            let standing = view.judge(Position { epoch, seq }, digest(token), &user(owner));
            let outdated = numbered.iter().chain(&pending).any(|record| {
                concerns(&record.ended, token, owner) && record.seq.is_none_or(|recorded| recorded > seq)
            });
            if outdated || last.is_some_and(|last| last.epoch != epoch) {
                prop_assert_ne!(standing, Standing::Current);
            }
        }
    }
}
