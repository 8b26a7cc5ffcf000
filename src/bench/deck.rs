//! Draws what is asked next.

use std::cell::{Cell, RefCell};

use prost::{Message as _, bytes::Bytes};
use rand::RngExt as _;
use rand_distr::{Distribution as _, Zipf};

use super::{
    tally::{self, Kind, Outcome, Tally},
    tokens::{self, Tokens, Verdict, Verdicts},
};
use crate::proto::{PropagationState, RevokeRequest, RevokeResponse, revoke_request::Target};

/// How the known tokens are asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// Each as often as another.
    Uniform,
    /// The `n`-th as often as `1 / n` to this power.
    Zipf(f64),
}

/// The kinds of calls, and how often each is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mix {
    /// One kind only.
    All(Kind),
    /// Every other slot makes only these, and the rest ask about known tokens.
    Half(Kind),
    /// These shares, and the rest known tokens.
    Shares { fresh: f64, revoke: f64 },
}

/// What is asked, of whichever kind.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) kind: Kind,
    pub(super) message: Bytes,
    subject: Subject,
}

#[derive(Debug)]
enum Subject {
    Token(u64),
    Tokens(Vec<u64>),
    Nobody,
}

/// Draws cards, and judges the answers to them.
#[derive(Debug)]
pub(super) struct Deck {
    tokens: Tokens,
    mix: Mix,
    zipf: Option<Zipf<f64>>,
    batch: usize,
    /// The next known token that has not been asked about, while all of them are.
    warming: Cell<u64>,
    /// The next token that nobody has asked about.
    fresh: Cell<u64>,
    /// Where those end.
    end: u64,
    /// Fresh tokens that were answered, and may be revoked.
    answered: RefCell<Vec<u64>>,
}

/// Fresh tokens that wait to be revoked at most.
const ANSWERED: usize = 10_000;

// === impl Deck ===

impl Deck {
    /// Cards about `tokens`, of which those numbered `fresh` have not been asked about yet.
    pub(super) fn new(tokens: Tokens, mix: Mix, spread: Spread, batch: usize, fresh: std::ops::Range<u64>) -> Self {
        let zipf = match spread {
            Spread::Uniform => None,
            #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 tokens")]
            Spread::Zipf(exponent) => Zipf::new(tokens.known() as f64, exponent).ok(),
        };
        Self {
            tokens,
            mix,
            zipf,
            batch,
            warming: Cell::new(0),
            fresh: Cell::new(fresh.start),
            end: fresh.end,
            answered: RefCell::default(),
        }
    }

    /// How many tokens are known.
    pub(super) fn known(&self) -> u64 {
        self.tokens.known()
    }

    /// Whether a fresh token was wanted when there was none left.
    pub(super) fn is_dry(&self) -> bool {
        self.fresh.get() > self.end
    }

    /// The next known token in turn; `None` once all have had theirs.
    pub(super) fn warm(&self) -> Option<Card> {
        let nth = self.warming.get();
        self.warming.set(nth + 1);
        (nth < self.tokens.known()).then(|| self.ask(nth))
    }

    /// What the slot of this number asks next; `None` when there are no fresh tokens left.
    pub(super) fn draw(&self, slot: usize) -> Option<Card> {
        let kind = match self.mix {
            Mix::All(kind) => kind,
            Mix::Half(kind) if slot % 2 == 1 => kind,
            Mix::Half(_) => Kind::Known,
            Mix::Shares { fresh, revoke } => match rand::random::<f64>() {
                drawn if drawn < fresh => Kind::Fresh,
                drawn if drawn < fresh + revoke => Kind::Revoke,
                _ => Kind::Known,
            },
        };
        match kind {
            Kind::Known | Kind::Ended => Some(self.ask(self.nth())),
            Kind::Fresh => self.fresh(),
            Kind::Batch => Some(self.batch()),
            Kind::Unknown => Some(Card { kind, message: tokens::unknown(), subject: Subject::Nobody }),
            Kind::Revoke => self.revoke(),
        }
    }

    /// The question whether a token is active whose end was answered with OK.
    pub(super) fn ended(&self, card: &Card) -> Option<Card> {
        let Subject::Token(number) = card.subject else { return None };
        Some(Card { kind: Kind::Ended, message: self.tokens.request(number), subject: Subject::Token(number) })
    }

    /// What an answer is worth; notes where it came from.
    pub(super) fn judge(&self, card: &Card, answer: &Bytes, tally: &RefCell<Tally>) -> Outcome {
        let right = match (card.kind, &card.subject) {
            (Kind::Revoke, _) => return revoked(answer),
            (Kind::Batch, Subject::Tokens(numbers)) => self.all_right(numbers, answer, tally),
            (Kind::Known | Kind::Fresh, Subject::Token(number)) => {
                verdict(answer, tally).is_some_and(|verdict| self.tokens.is_right(*number, &verdict)).then_some(1)
            }
            (_, _) => verdict(answer, tally).is_some_and(|verdict| !verdict.active).then_some(1),
        };
        if let (Some(_), Kind::Fresh, Subject::Token(number)) = (right, card.kind, &card.subject) {
            let mut answered = self.answered.borrow_mut();
            if answered.len() < ANSWERED {
                answered.push(*number);
            }
        }
        right.map_or(Outcome::Wrong, Outcome::Right)
    }

    fn all_right(&self, numbers: &[u64], answer: &Bytes, tally: &RefCell<Tally>) -> Option<u64> {
        let verdicts = Verdicts::decode(answer.as_ref()).ok()?.responses;
        let mut tally = tally.borrow_mut();
        for verdict in &verdicts {
            tally.came_from(verdict.source);
        }
        let right = verdicts.len() == numbers.len()
            && verdicts.iter().zip(numbers).all(|(verdict, number)| self.tokens.is_right(*number, verdict));
        right.then_some(numbers.len() as u64)
    }

    /// The number of a known token among the known ones.
    fn nth(&self) -> u64 {
        let known = self.tokens.known();
        match &self.zipf {
            None => rand::rng().random_range(0..known),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 1")]
            Some(zipf) => (zipf.sample(&mut rand::rng()) as u64 - 1).min(known - 1),
        }
    }

    fn ask(&self, nth: u64) -> Card {
        let subject = Subject::Token(self.tokens.number(nth));
        Card { kind: Kind::Known, message: self.tokens.known_request(nth), subject }
    }

    fn fresh(&self) -> Option<Card> {
        let number = self.next_fresh()?;
        Some(Card { kind: Kind::Fresh, message: self.tokens.request(number), subject: Subject::Token(number) })
    }

    fn next_fresh(&self) -> Option<u64> {
        let number = self.fresh.get();
        self.fresh.set(number + 1);
        (number < self.end).then_some(number)
    }

    fn batch(&self) -> Card {
        let nths: Vec<_> = (0..self.batch).map(|_| self.nth()).collect();
        let message = self.tokens.batch(&nths);
        Card {
            kind: Kind::Batch,
            message,
            subject: Subject::Tokens(nths.iter().map(|nth| self.tokens.number(*nth)).collect()),
        }
    }

    /// A token that was answered is likely to be cached; without one, a fresh token is as good.
    fn revoke(&self) -> Option<Card> {
        let answered = self.answered.borrow_mut().pop();
        let number = answered.or_else(|| self.next_fresh())?;
        let request =
            RevokeRequest { target: Some(Target::Token(self.tokens.secret(number))), ..RevokeRequest::default() };
        Some(Card { kind: Kind::Revoke, message: super::wire::framed(&request), subject: Subject::Token(number) })
    }
}

fn verdict(answer: &Bytes, tally: &RefCell<Tally>) -> Option<Verdict> {
    let verdict = Verdict::decode(answer.as_ref()).ok()?;
    tally.borrow_mut().came_from(verdict.source);
    Some(verdict)
}

/// A revocation that is not everywhere yet promises nothing about the next answer.
fn revoked(answer: &Bytes) -> Outcome {
    let Ok(response) = RevokeResponse::decode(answer.as_ref()) else { return Outcome::Wrong };
    match response.propagation.map(|propagation| propagation.state()) {
        Some(PropagationState::Complete) => Outcome::Right(u64::from(response.revoked)),
        Some(PropagationState::Pending) => Outcome::Status(tally::PENDING),
        Some(PropagationState::Unspecified) | None => Outcome::Wrong,
    }
}

#[cfg(test)]
mod tests;
