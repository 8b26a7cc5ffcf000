use prost::Message;

use super::*;
use crate::{
    bench::tokens::{Owned, user},
    proto::{AuthenticateResponse, BatchAuthenticateResponse, Propagation, User},
};

const KNOWN: u64 = 1_000;

fn deck(mix: Mix, spread: Spread) -> Deck {
    Deck::new(Tokens::derived(KNOWN, 10, 1, Owned::Always), mix, spread, 3, KNOWN..1_000_000)
}

fn answer(active: bool, owner: u64) -> AuthenticateResponse {
    let user = Some(User { user_id: user(owner), active: true, ..User::default() });
    AuthenticateResponse { active, user, source: 3, ..AuthenticateResponse::default() }
}

fn judged(deck: &Deck, card: &Card, answer: &impl Message) -> Outcome {
    deck.judge(card, &answer.encode_to_vec().into(), &RefCell::new(Tally::new()))
}

/// Who owns what a card is about.
fn owner(card: &Card) -> u64 {
    match card.subject {
        Subject::Token(number) => number % 10,
        Subject::Tokens(_) | Subject::Nobody => panic!("it is about one token: {card:?}"),
    }
}

#[test]
fn a_valid_token_is_active_and_its_owners() {
    for kind in [Kind::Known, Kind::Fresh] {
        let deck = deck(Mix::All(kind), Spread::Uniform);
        let card = deck.draw(0).unwrap();
        assert_eq!(judged(&deck, &card, &answer(true, owner(&card))), Outcome::Right(1));
        assert_eq!(judged(&deck, &card, &answer(true, owner(&card) + 1)), Outcome::Wrong);
        assert_eq!(judged(&deck, &card, &answer(false, owner(&card))), Outcome::Wrong);
    }
}

#[test]
fn a_token_that_is_revoked_or_was_never_issued_is_not_active() {
    let deck = deck(Mix::All(Kind::Unknown), Spread::Uniform);
    let unknown = deck.draw(0).unwrap();
    let ended = deck.ended(&deck.ask(7)).unwrap();
    assert_eq!((unknown.kind, ended.kind), (Kind::Unknown, Kind::Ended));
    for card in [unknown, ended] {
        assert_eq!(judged(&deck, &card, &answer(true, 7)), Outcome::Wrong, "{card:?}");
        assert_eq!(judged(&deck, &card, &answer(false, 7)), Outcome::Right(1), "{card:?}");
    }
}

#[test]
fn a_batch_is_right_when_each_answer_is_and_in_its_place() {
    let deck = deck(Mix::All(Kind::Batch), Spread::Uniform);
    let numbers = vec![1, 2, 3];
    let card = Card { kind: Kind::Batch, message: Bytes::new(), subject: Subject::Tokens(numbers) };
    let judged = |owners: &[u64]| {
        let responses = owners.iter().map(|owner| answer(true, *owner)).collect();
        judged(&deck, &card, &BatchAuthenticateResponse { responses })
    };
    assert_eq!(judged(&[1, 2, 3]), Outcome::Right(3));
    assert_eq!(judged(&[1, 3, 2]), Outcome::Wrong);
    assert_eq!(judged(&[1, 2]), Outcome::Wrong);
    assert_eq!(judged(&[1, 2, 3, 4]), Outcome::Wrong);
    assert_eq!(judged(&[]), Outcome::Wrong);
}

#[test]
fn a_revocation_that_is_pending_is_a_failure() {
    let deck = deck(Mix::All(Kind::Revoke), Spread::Uniform);
    let card = deck.draw(0).unwrap();
    let judged = |state: PropagationState| {
        let propagation = Some(Propagation { state: state.into(), ..Propagation::default() });
        judged(&deck, &card, &RevokeResponse { revoked: true, propagation, ..RevokeResponse::default() })
    };
    assert_eq!(judged(PropagationState::Complete), Outcome::Right(1));
    assert_eq!(judged(PropagationState::Pending), Outcome::Status("PENDING"));
    assert_eq!(judged(PropagationState::Unspecified), Outcome::Wrong);
}

#[test]
fn where_answers_came_from_is_noted() {
    let deck = deck(Mix::All(Kind::Known), Spread::Uniform);
    let tally = RefCell::new(Tally::new());
    let card = deck.draw(0).unwrap();
    deck.judge(&card, &answer(true, owner(&card)).encode_to_vec().into(), &tally);
    assert_eq!(tally.borrow().sources, [0, 0, 0, 1, 0]);
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "shares of ten thousand")]
fn a_mix_has_its_shares() {
    let deck = deck(Mix::Shares { fresh: 0.04, revoke: 0.01 }, Spread::Uniform);
    let drawn: Vec<_> = (0..20_000).map(|slot| deck.draw(slot).unwrap().kind).collect();
    let share = |kind| drawn.iter().filter(|drawn| **drawn == kind).count() as f64 / drawn.len() as f64;
    // Seven times the standard deviation and more.
    for (kind, wanted, within) in [(Kind::Known, 0.95, 0.012), (Kind::Fresh, 0.04, 0.01), (Kind::Revoke, 0.01, 0.005)] {
        assert!((share(kind) - wanted).abs() < within, "{kind:?}: {}", share(kind));
    }
}

#[test]
fn half_of_the_slots_make_the_other_kind() {
    let deck = deck(Mix::Half(Kind::Unknown), Spread::Uniform);
    let kinds: Vec<_> = (0..4).map(|slot| deck.draw(slot).unwrap().kind).collect();
    assert_eq!(kinds, [Kind::Known, Kind::Unknown, Kind::Known, Kind::Unknown]);
}

#[test]
fn a_zipf_spread_is_skewed_and_a_uniform_one_is_not() {
    let first = |spread| {
        let deck = deck(Mix::All(Kind::Known), spread);
        (0..10_000).filter(|_| deck.nth() == 0).count()
    };
    // The first of a thousand has a share of 0.13 by its rank, and of 0.001 where all are alike.
    let (skewed, alike) = (first(Spread::Zipf(1.0)), first(Spread::Uniform));
    assert!((1_000..1_700).contains(&skewed) && alike < 60, "{skewed}, {alike}");
}

#[test]
fn fresh_tokens_end() {
    let deck = Deck::new(Tokens::derived(1, 1, 1, Owned::Always), Mix::All(Kind::Fresh), Spread::Uniform, 1, 1..3);
    assert!(deck.draw(0).is_some() && deck.draw(0).is_some() && !deck.is_dry());
    assert!(deck.draw(0).is_none() && deck.is_dry());
}
