//! The series of many registries put together.
//!
//! Counters and sums are added, histograms merged. Gauges of different places do not add up to anything, so each keeps
//! its own series: the caller puts the place into its tags.

use crate::Error;
use crate::exposition::Sample;
use crate::layout::Number;
use crate::pack::{merge_packed, unpack};
use crate::registry::Kind;
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

/// The series of many registries, by name and tags.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    families: BTreeMap<Box<[u8]>, Family>,
    series: BTreeMap<Box<[u8]>, (usize, Sample)>,
}

impl Gathered {
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
    pub fn add(&mut self, key: &[u8], name_len: usize, sample: Sample) -> Result<(), Error> {
        let name = key.get(..name_len).ok_or(Error::Unknown)?;
        let kind = self.families.get(name).ok_or(Error::Unknown)?.kind;
        if (kind == Kind::Histogram) != matches!(sample, Sample::Distribution(_)) {
            return Err(Error::Kind);
        }
        match self.series.get_mut(key) {
            None => {
                self.series.insert(key.into(), (name_len, sample));
            }
            Some((_, present)) => join(kind, present, sample),
        }
        Ok(())
    }

    /// Adds what [`pack`](crate::pack::pack) made of a distribution to the series of `key`, as `add` does.
    ///
    /// # Errors
    /// [`Error::Unknown`] and [`Error::Kind`] as `add`, [`Error::Encoding`] for other bytes.
    pub fn add_packed(&mut self, key: &[u8], name_len: usize, bytes: &[u8]) -> Result<(), Error> {
        match self.series.get_mut(key) {
            Some((_, Sample::Distribution(all))) => merge_packed(all, bytes),
            _ => self.add(key, name_len, Sample::Distribution(Box::new(unpack(bytes)?))),
        }
    }

    /// Every series: its name's key, its tags' key, what is said of the name, where it stands; in the order of the keys.
    pub fn series(&self) -> impl Iterator<Item = (&[u8], &[u8], &Family, &Sample)> {
        self.series.iter().filter_map(|(key, (name_len, sample))| {
            let (name, tags) = key.split_at(*name_len);
            Some((name, tags, self.families.get(name)?, sample))
        })
    }
}

fn join(kind: Kind, present: &mut Sample, more: Sample) {
    match (present, more) {
        (Sample::Distribution(all), Sample::Distribution(more)) => all.merge(&more),
        (present, more) if kind == Kind::Gauge => *present = more,
        (Sample::Number(sum), Sample::Number(more)) => *sum = plus(*sum, more),
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
    use crate::distribution::Distribution;
    use crate::layout::Layout;

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
            all.add(b"c+", 1, Sample::Number(Number::Int(n))).unwrap();
            all.add(b"g+", 1, Sample::Number(Number::Int(n))).unwrap();
            let mut one = Distribution::new(Layout::new(3, 1.0, None).unwrap());
            one.record(Number::Int(n));
            all.add(b"h+", 1, Sample::Distribution(Box::new(one))).unwrap();
        }
        let read: Vec<_> = all
            .series()
            .map(|(_, _, _, sample)| match sample {
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
            all.add(b"c+", 1, Sample::Distribution(Box::new(one))),
            Err(Error::Kind)
        );
        assert_eq!(
            all.add(b"x+", 1, Sample::Number(Number::Int(1))),
            Err(Error::Unknown)
        );
    }
}
