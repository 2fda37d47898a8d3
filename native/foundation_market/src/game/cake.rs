//! Fair division of something that can be cut anywhere: machine time, a range of keys.

use crate::{Error, Result};

/// How much each player likes each part of [0, 1]: the interval is cut into equal segments, and within one a player
/// likes every place as much.
#[derive(Debug, Clone, PartialEq)]
pub struct Cake {
    /// Of each player, the share of each segment in what the whole is worth to it.
    shares: Vec<Vec<f64>>,
}

/// A part of the cake for a player.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// Who.
    pub player: u32,
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// What it is worth to that player, as a part of the whole.
    pub share: f64,
}

impl Cake {
    /// A cake from what each player would give for each segment.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no players, no segments, lists of different lengths, values that are below 0 or not
    /// finite, or a player to whom nothing is worth anything; [`Error::TooLarge`] when the players' number squared times
    /// the segments' is above 2,000 million.
    pub fn new(values: &[Vec<f64>]) -> Result<Self> {
        let segments = values.first().map_or(0, Vec::len);
        let fits = |list: &Vec<f64>| {
            list.len() == segments && list.iter().all(|value| *value >= 0.0 && *value <= 1e100)
        };
        if segments == 0 || !values.iter().all(fits) {
            return Err(Error::Invalid("values"));
        }
        if values.len().saturating_mul(values.len()).saturating_mul(segments) > 2_000_000_000 {
            return Err(Error::TooLarge("cake"));
        }
        let mut shares = Vec::with_capacity(values.len());
        for list in values {
            let sum: f64 = list.iter().sum();
            if sum <= 0.0 {
                return Err(Error::Invalid("values"));
            }
            shares.push(list.iter().map(|value| value / sum).collect());
        }
        Ok(Self { shares })
    }

    /// What a part is worth to a player.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no such player.
    pub fn worth(&self, player: usize, from: f64, to: f64) -> Result<f64> {
        let shares = self.shares.get(player).ok_or(Error::Invalid("player"))?;
        Ok(Self::up_to(shares, to) - Self::up_to(shares, from))
    }

    fn up_to(shares: &[f64], place: f64) -> f64 {
        let at = (place * shares.len() as f64).clamp(0.0, shares.len() as f64);
        let whole = at.floor() as usize;
        let part = shares.get(whole).map_or(0.0, |share| share * (at - whole as f64));
        shares[..whole].iter().sum::<f64>() + part
    }

    /// The first place at which what lies from `from` on is worth that much to a player.
    fn cut(&self, player: usize, from: f64, worth: f64) -> f64 {
        let shares = &self.shares[player];
        let goal = Self::up_to(shares, from) + worth;
        let mut sum = 0.0;
        for (at, share) in shares.iter().enumerate() {
            if sum + share >= goal - 1e-12 && *share > 0.0 {
                let place = (at as f64 + (goal - sum) / share) / shares.len() as f64;
                return place.clamp(from, 1.0);
            }
            sum += share;
        }
        1.0
    }

    fn piece(&self, player: usize, from: f64, to: f64) -> Piece {
        let shares = &self.shares[player];
        Piece {
            player: player as u32,
            from,
            to,
            share: Self::up_to(shares, to) - Self::up_to(shares, from),
        }
    }
}

/// The first player cuts into two that are worth as much to it, the second one chooses: each gets a half by its own
/// measure, and envies nobody. Pieces from left to right.
///
/// # Errors
/// [`Error::Invalid`] for a cake of other than two players.
pub fn divide_and_choose(cake: &Cake) -> Result<[Piece; 2]> {
    if cake.shares.len() != 2 {
        return Err(Error::Invalid("players"));
    }
    let cut = cake.cut(0, 0.0, 0.5);
    let left = Cake::up_to(&cake.shares[1], cut);
    let (one, other) = if left >= 0.5 { (1, 0) } else { (0, 1) };
    Ok([cake.piece(one, 0.0, cut), cake.piece(other, cut, 1.0)])
}

/// The moving knife (Dubins and Spanier 1961): a knife moves from left to right; who first finds the piece worth the
/// n-th part of the whole says so and takes it (the lowest of equal ones), and the others go on. Each of n players gets
/// at least the n-th part by its own measure. Pieces from left to right. O(players² · segments).
#[must_use]
pub fn moving_knife(cake: &Cake) -> Vec<Piece> {
    let count = cake.shares.len();
    let mut left: Vec<usize> = (0..count).collect();
    let mut from = 0.0;
    let mut pieces = Vec::with_capacity(count);
    while left.len() > 1 {
        let cuts: Vec<f64> = left
            .iter()
            .map(|&player| cake.cut(player, from, 1.0 / count as f64))
            .collect();
        let mut first = 0;
        for (at, cut) in cuts.iter().enumerate() {
            if *cut < cuts[first] {
                first = at;
            }
        }
        let to = cuts[first];
        pieces.push(cake.piece(left.remove(first), from, to));
        from = to;
    }
    if let Some(&last) = left.first() {
        pieces.push(cake.piece(last, from, 1.0));
    }
    pieces
}
