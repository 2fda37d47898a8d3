//! Fair division of things that cannot be cut, or one of them.

use crate::{Error, Money, Result};

/// The adjusted winner procedure (Brams and Taylor 1996) of two: who gets what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustedWinner {
    /// What part of each item the first one gets, as numerator and denominator; at most one item is shared.
    pub first: Vec<(u64, u64)>,
    /// The item that is shared, when there is one.
    pub shared: Option<usize>,
}

/// Divides items between two who have spread the same number of points over them: each gets as many points, as many as
/// two can, and nobody would rather have the other's part. Items worth as much to both go to the first one at first.
/// O(items · log items).
///
/// # Errors
/// [`Error::Invalid`] for lists of different lengths or sums, or sums of 0 or more than 2^30.
pub fn adjusted_winner(first: &[u64], second: &[u64]) -> Result<AdjustedWinner> {
    let total = first
        .iter()
        .try_fold(0_u64, |sum, points| sum.checked_add(*points));
    let other = second
        .iter()
        .try_fold(0_u64, |sum, points| sum.checked_add(*points));
    let in_range = total.is_some_and(|total| total > 0 && total <= 1 << 30);
    if first.len() != second.len() || total != other || !in_range {
        return Err(Error::Invalid("points"));
    }
    let mut parts: Vec<(u64, u64)> = first
        .iter()
        .zip(second)
        .map(|(a, b)| (u64::from(a >= b), 1))
        .collect();
    let points = |list: &[u64], gets: u64, parts: &[(u64, u64)]| -> u64 {
        list.iter()
            .zip(parts)
            .filter(|(_, part)| part.0 == gets)
            .map(|(points, _)| points)
            .sum()
    };
    let (mut a, mut b) = (points(first, 1, &parts), points(second, 0, &parts));
    let first_leads = a > b;
    // The leader gives away what is worth least to it, for what it is worth to the other.
    let (leader, follower) = if first_leads {
        (first, second)
    } else {
        (second, first)
    };
    let held = u64::from(first_leads);
    let mut order: Vec<usize> = (0..parts.len()).filter(|&at| parts[at].0 == held).collect();
    order.sort_by(|&x, &y| {
        // leader[x] / follower[x] against leader[y] / follower[y]; what is worth nothing to the other goes last.
        (u128::from(leader[x]) * u128::from(follower[y]))
            .cmp(&(u128::from(leader[y]) * u128::from(follower[x])))
            .then(x.cmp(&y))
    });
    if !first_leads {
        std::mem::swap(&mut a, &mut b);
    }
    let mut shared = None;
    for at in order {
        if a <= b {
            break;
        }
        let (mine, theirs) = (leader[at], follower[at]);
        if a - mine >= b + theirs {
            a -= mine;
            b += theirs;
            parts[at].0 = 1 - held;
            continue;
        }
        // The leader keeps k of mine + theirs parts, so that a - mine + mine·k = b + theirs - theirs·k.
        let (whole, keep) = (mine + theirs, b + theirs + mine - a);
        parts[at] = if first_leads {
            (keep, whole)
        } else {
            (whole - keep, whole)
        };
        shared = Some(at);
        break;
    }
    Ok(AdjustedWinner { first: parts, shared })
}

/// Gives items round by round, each player taking what it values most of what is left, the lowest of equal ones: nobody
/// would rather have another's bundle less its best item (envy-free up to one good; Caragiannis and others 2016, for
/// values that add up). Answers each player's items. O(items²).
///
/// # Errors
/// [`Error::Invalid`] for no players, lists of different lengths or values below 0; [`Error::TooLarge`] for more than
/// 30,000 items.
pub fn round_robin(values: &[Vec<Money>]) -> Result<Vec<Vec<u32>>> {
    let items = check(values)?;
    if items > 30_000 {
        return Err(Error::TooLarge("items"));
    }
    let mut left: Vec<u32> = (0..items as u32).collect();
    let mut bundles = vec![Vec::new(); values.len()];
    for turn in 0..items {
        let player = turn % values.len();
        let mine = &values[player];
        let mut best = 0;
        for (at, &item) in left.iter().enumerate() {
            if mine[item as usize] > mine[left[best] as usize] {
                best = at;
            }
        }
        bundles[player].push(left.remove(best));
    }
    Ok(bundles)
}

/// The pairs of players of whom the first would rather have the second's bundle, even less the item it likes best in it.
///
/// # Errors
/// As [`round_robin`], and [`Error::Invalid`] for bundles that do not fit; [`Error::Overflow`].
pub fn envy_free_up_to_one(values: &[Vec<Money>], bundles: &[Vec<u32>]) -> Result<Vec<(u32, u32)>> {
    let items = check(values)?;
    if bundles.len() != values.len() || bundles.iter().flatten().any(|item| *item as usize >= items) {
        return Err(Error::Invalid("bundles"));
    }
    let mut envious = Vec::new();
    for (one, values) in values.iter().enumerate() {
        let amounts = |bundle: &Vec<u32>| {
            bundle
                .iter()
                .map(|item| values[*item as usize])
                .collect::<Vec<Money>>()
        };
        let mine = Money::sum(amounts(&bundles[one]))?;
        for (other, bundle) in bundles.iter().enumerate() {
            let theirs = amounts(bundle);
            let best = theirs.iter().copied().max().unwrap_or(Money::ZERO);
            if one != other && Money::sum(theirs)?.minus(best)? > mine {
                envious.push((one as u32, other as u32));
            }
        }
    }
    Ok(envious)
}

fn check(values: &[Vec<Money>]) -> Result<usize> {
    let items = values.first().ok_or(Error::Invalid("values"))?.len();
    let fits = |list: &Vec<Money>| list.len() == items && list.iter().all(|value| *value >= Money::ZERO);
    if values.iter().all(fits) {
        Ok(items)
    } else {
        Err(Error::Invalid("values"))
    }
}
