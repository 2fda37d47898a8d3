//! The series of many registries put together.
//!
//! Counters and sums are added, histograms merged. Gauges of different places do not add up to anything, so each keeps
//! its own series: the caller puts the place into its tags.

use crate::Error;
use crate::counts::Counts;
use crate::distribution::Distribution;
use crate::exposition::Sample;
use crate::layout::Number;
use crate::pack::{merge_packed, unpack_into};
use crate::registry::Kind;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is said of a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The kind.
    pub kind: Kind,
    /// What the name measures, in words.
    pub help: String,
    /// The unit of its values.
    pub unit: String,
    /// Upper bounds of the buckets shown to a scraper.
    pub bounds: Vec<f64>,
}

/// What a series holds. Histograms stay as they came until they are read: their buckets take much more room than what
/// is in use of them, and one after the other takes the same.
#[derive(Clone, Debug)]
pub enum Held<'a> {
    /// Of a counter, gauge or sum.
    Number(Number),
    /// What [`pack`](crate::pack::pack) made of distributions.
    Packed(Vec<Cow<'a, [u8]>>),
}

impl Held<'_> {
    /// The number, or all distributions merged.
    ///
    /// # Errors
    /// [`Error::Encoding`] for bytes that are none.
    pub fn sample(&self) -> Result<Sample, Error> {
        self.sample_in(&mut Room::default())
    }

    /// As [`Held::sample`], in the room of a distribution that was read before.
    ///
    /// # Errors
    /// As [`Held::sample`].
    pub fn sample_in(&self, room: &mut Room) -> Result<Sample, Error> {
        match self {
            Held::Number(number) => Ok(Sample::Number(*number)),
            Held::Packed(all) => {
                let (first, more) = all.split_first().ok_or(Error::Encoding)?;
                let mut merged = unpack_into(std::mem::take(&mut room.0), first)?;
                more.iter()
                    .try_for_each(|bytes| merge_packed(&mut merged, bytes))?;
                Ok(Sample::Distribution(Box::new(merged)))
            }
        }
    }
}

/// What one distribution has taken and the next can have: a wide one takes tens of kilobytes.
#[derive(Default)]
pub struct Room(Counts);

impl Room {
    /// Takes what a distribution has that nobody needs any more.
    pub fn take(&mut self, distribution: Distribution) {
        let counts = distribution.tally.counts;
        if counts.heap_bytes() <= MOST_ROOM {
            self.0 = counts;
        }
    }
}

/// Bytes that are kept for the next distribution at most.
const MOST_ROOM: usize = 1 << 20;

/// The series of many registries, by name and tags.
#[derive(Clone, Debug, Default)]
pub struct Gathered<'a> {
    families: BTreeMap<Box<[u8]>, Family>,
    series: BTreeMap<Box<[u8]>, (usize, Held<'a>)>,
}

impl<'a> Gathered<'a> {
    /// Makes a name known; who comes first is heard about help, unit and bounds.
    ///
    /// # Errors
    /// [`Error::Kind`] when the name has another kind.
    pub fn declare(&mut self, name: &[u8], family: Family) -> Result<(), Error> {
        match self.families.get(name) {
            None => {
                self.families.insert(name.into(), family);
                Ok(())
            }
            Some(known) if known.kind == family.kind => Ok(()),
            Some(_) => Err(Error::Kind),
        }
    }

    /// Adds to the series of `key`, which is the key of a declared name, `name_len` bytes, and that of the tags.
    ///
    /// # Errors
    /// [`Error::Unknown`] when the name was not declared, [`Error::Kind`] when its kind holds something else.
    pub fn add(&mut self, key: &[u8], name_len: usize, held: Held<'a>) -> Result<(), Error> {
        let name = key.get(..name_len).ok_or(Error::Unknown)?;
        let kind = self.families.get(name).ok_or(Error::Unknown)?.kind;
        if (kind == Kind::Histogram) != matches!(held, Held::Packed(_)) {
            return Err(Error::Kind);
        }
        match self.series.get_mut(key) {
            None => {
                self.series.insert(key.into(), (name_len, held));
            }
            Some((_, present)) => join(kind, present, held),
        }
        Ok(())
    }

    /// Every series: its name's key, its tags' key, what is said of the name, what it holds; in the order of the keys.
    pub fn series(&self) -> impl Iterator<Item = (&[u8], &[u8], &Family, &Held<'a>)> {
        self.series.iter().filter_map(|(key, (name_len, held))| {
            let (name, tags) = key.split_at(*name_len);
            Some((name, tags, self.families.get(name)?, held))
        })
    }
}

fn join<'a>(kind: Kind, present: &mut Held<'a>, more: Held<'a>) {
    match (present, more) {
        (Held::Packed(all), Held::Packed(more)) => all.extend(more),
        (present, more) if kind == Kind::Gauge => *present = more,
        (Held::Number(sum), Held::Number(more)) => *sum = plus(*sum, more),
        _ => {}
    }
}

/// The sum, which stops at the ends of its range.
fn plus(a: Number, b: Number) -> Number {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => Number::Int(a.saturating_add(b)),
        (a, b) => Number::Float((a.to_f64() + b.to_f64()).clamp(f64::MIN, f64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::pack::pack;

    fn family(kind: Kind) -> Family {
        Family {
            kind,
            help: String::new(),
            unit: String::new(),
            bounds: Vec::new(),
        }
    }

    #[test]
    fn counters_add_up_gauges_do_not_and_histograms_merge() {
        let mut all = Gathered::default();
        all.declare(b"c", family(Kind::Counter)).unwrap();
        all.declare(b"g", family(Kind::Gauge)).unwrap();
        all.declare(b"h", family(Kind::Histogram)).unwrap();
        for n in [3, 4] {
            all.add(b"c+", 1, Held::Number(Number::Int(n))).unwrap();
            all.add(b"g+", 1, Held::Number(Number::Int(n))).unwrap();
            let mut one = Distribution::new(Layout::new(3, 1.0, None).unwrap());
            one.record(Number::Int(n));
            all.add(b"h+", 1, Held::Packed(vec![pack(&one).into()])).unwrap();
        }
        let read: Vec<_> = all
            .series()
            .map(|(_, _, _, held)| match held.sample().unwrap() {
                Sample::Number(n) => n.to_f64(),
                Sample::Distribution(d) => d.sum(),
            })
            .collect();
        assert_eq!(read, [7.0, 4.0, 7.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut all = Gathered::default();
        all.declare(b"c", family(Kind::Counter)).unwrap();
        assert_eq!(all.declare(b"c", family(Kind::Sum)), Err(Error::Kind));
        let one = Distribution::new(Layout::new(3, 1.0, None).unwrap());
        assert_eq!(
            all.add(b"c+", 1, Held::Packed(vec![pack(&one).into()])),
            Err(Error::Kind)
        );
        assert_eq!(
            all.add(b"x+", 1, Held::Number(Number::Int(1))),
            Err(Error::Unknown)
        );
    }
}
