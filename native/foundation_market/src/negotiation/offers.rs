//! Alternating offers over an amount, as played.

use crate::{Error, Money, Result, State};
use serde::{Deserialize, Serialize};

/// Whose turn it is, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// That party is to offer.
    Offer(u8),
    /// That party is to answer.
    Answer(u8),
    /// It is over.
    Over,
}

/// What was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// What each party gets.
    pub shares: [Money; 2],
    /// In which round, the first being 0: each round has cost what waiting costs.
    pub round: u32,
}

/// Two parties, 0 and 1, divide an amount: one offers, the other accepts or refuses and offers next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlternatingOffers {
    amount: Money,
    rounds: u32,
    round: u32,
    turn: Turn,
    offer: Option<[Money; 2]>,
    agreement: Option<Agreement>,
}

impl AlternatingOffers {
    /// A negotiation over an amount that ends without agreement after so many rounds; party 0 begins.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an amount that is not above 0 or no rounds.
    pub fn new(amount: Money, rounds: u32) -> Result<Self> {
        if amount <= Money::ZERO {
            return Err(Error::Invalid("amount"));
        }
        if rounds == 0 {
            return Err(Error::Invalid("rounds"));
        }
        Ok(Self {
            amount,
            rounds,
            round: 0,
            turn: Turn::Offer(0),
            offer: None,
            agreement: None,
        })
    }

    /// Offers to keep so much; the other one gets the rest.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NotYourTurn`], [`Error::Invalid`] for less than nothing or more than all.
    pub fn offer(&mut self, party: u8, keep: Money) -> Result<()> {
        match self.turn {
            Turn::Over => return Err(Error::Closed),
            Turn::Offer(who) if who == party => {}
            _ => return Err(Error::NotYourTurn),
        }
        if keep < Money::ZERO || keep > self.amount {
            return Err(Error::Invalid("keep"));
        }
        let rest = self.amount.minus(keep)?;
        self.offer = Some(if party == 0 { [keep, rest] } else { [rest, keep] });
        self.turn = Turn::Answer(1 - party);
        Ok(())
    }

    /// Accepts or refuses what is offered.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NotYourTurn`].
    pub fn answer(&mut self, party: u8, accept: bool) -> Result<Turn> {
        match self.turn {
            Turn::Over => return Err(Error::Closed),
            Turn::Answer(who) if who == party => {}
            _ => return Err(Error::NotYourTurn),
        }
        if accept {
            self.agreement = self.offer.map(|shares| Agreement {
                shares,
                round: self.round,
            });
            self.turn = Turn::Over;
        } else {
            self.round += 1;
            self.offer = None;
            self.turn = if self.round == self.rounds {
                Turn::Over
            } else {
                Turn::Offer(party)
            };
        }
        Ok(self.turn)
    }

    /// Whose turn it is.
    #[must_use]
    pub fn turn(&self) -> Turn {
        self.turn
    }

    /// What is offered: what each party would get.
    #[must_use]
    pub fn offered(&self) -> Option<[Money; 2]> {
        self.offer
    }

    /// What was agreed.
    #[must_use]
    pub fn agreement(&self) -> Option<Agreement> {
        self.agreement
    }
}

impl State for AlternatingOffers {
    const TAG: u8 = 6;

    fn sound(&self) -> bool {
        let turn = match self.turn {
            Turn::Offer(party) => party <= 1 && self.offer.is_none() && self.round < self.rounds,
            Turn::Answer(party) => party <= 1 && self.offer.is_some() && self.round < self.rounds,
            Turn::Over => true,
        };
        turn && Self::new(self.amount, self.rounds).is_ok()
    }
}
