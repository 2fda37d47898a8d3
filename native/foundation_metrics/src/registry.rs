//! All series: by name and tags, with a bound on how many there are.
//!
//! A name has one kind and one configuration. Each distinct set of tags is a series of its own until the name, or the
//! registry, has as many as it may have; what comes with further tags goes to the name's overflow series, which is
//! listed like any other, and is counted.

use crate::Error;
use crate::layout::Layout;
use crate::recorder::Recorder;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub use crate::series::{Baseline, Data, Exemplar, Series};

/// What a name's series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A number that only goes up.
    Counter,
    /// A number that is set.
    Gauge,
    /// A number that is added to, down as well as up.
    Sum,
    /// A distribution.
    Histogram,
}

/// The configuration of a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The kind.
    pub kind: Kind,
    /// What the name measures, in words.
    pub help: String,
    /// The unit of its values.
    pub unit: String,
    /// The layout of its histograms.
    pub layout: Layout,
    /// Whether its histograms go over to millionths when a fraction comes.
    pub adapts: bool,
    /// Upper bounds of the buckets shown to a scraper; none for a choice by the values seen.
    pub bounds: Vec<f64>,
    /// Most series of this name.
    pub max_series: usize,
}

/// A name.
pub struct Family {
    /// The name's key.
    pub name: Box<[u8]>,
    /// Its configuration.
    pub config: Config,
    series: AtomicUsize,
    overflowed: AtomicU64,
}

impl Family {
    /// How many series there are, the overflow series left out.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series.load(Ordering::Relaxed)
    }

    /// How many look-ups of tags went to the overflow series.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }
}

/// The bounds of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most names.
    pub names: usize,
    /// Most series, overflow series left out.
    pub series: usize,
}

/// How many series a thread finds in its own table.
const RECENT_SLOTS: usize = 256;

#[derive(Default)]
struct Recent {
    hash: u64,
    held: Option<Held>,
}

struct Held {
    registry: u64,
    key: Box<[u8]>,
    series: Arc<Series>,
}

thread_local! {
    static RECENT: RefCell<Vec<Recent>> = const { RefCell::new(Vec::new()) };
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// All names and their series.
pub struct Registry {
    id: u64,
    families: DashMap<Box<[u8]>, Arc<Family>, ahash::RandomState>,
    series: DashMap<Box<[u8]>, Arc<Series>, ahash::RandomState>,
    total: AtomicUsize,
    refused: AtomicU64,
    bounds: Bounds,
    overflow_tags: Box<[u8]>,
}

impl Registry {
    /// An empty registry; `overflow_tags` is the key of the tags that overflow series carry.
    #[must_use]
    pub fn new(bounds: Bounds, overflow_tags: &[u8]) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            families: DashMap::default(),
            series: DashMap::default(),
            total: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            bounds,
            overflow_tags: overflow_tags.into(),
        }
    }

    /// Sets the configuration of a name before its first value. The same configuration again changes nothing.
    ///
    /// # Errors
    /// [`Error::Kind`], [`Error::Declared`] when the name has another one, [`Error::Full`].
    pub fn declare(&self, name: &[u8], config: Config) -> Result<(), Error> {
        let family = self.family(name, || config.clone())?;
        if family.config.kind != config.kind {
            Err(Error::Kind)
        } else if family.config != config {
            Err(Error::Declared)
        } else {
            Ok(())
        }
    }

    /// The series of `key`, which is a name's key of `name_len` bytes followed by the key of its tags. O(key).
    #[must_use]
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<Arc<Series>> {
        self.series.get(key).map(|entry| Arc::clone(entry.value()))
    }

    /// Calls `f` with the series of `key` if it exists; `f` must not call back. What a thread asks for repeatedly it
    /// finds in a small table of its own, without touching what other threads write. `hash` is any hash of the key, the
    /// same each time, whose upper bits say where in that table it belongs.
    #[inline]
    pub fn with<R>(&self, key: &[u8], hash: u64, f: impl FnOnce(&Series) -> R) -> Option<R> {
        RECENT.with_borrow_mut(|recent| {
            if recent.is_empty() {
                recent.resize_with(RECENT_SLOTS, Recent::default);
            }
            let slot = &mut recent[(hash >> 32) as usize % RECENT_SLOTS];
            if slot.hash == hash
                && let Some(held) = &slot.held
                && held.registry == self.id
                && *held.key == *key
                && !held.series.is_gone()
            {
                return Some(f(&held.series));
            }
            self.with_new(key, hash, slot, f)
        })
    }

    /// Looks the series up for all threads to see; keeps it when the thread asks for it a second time in a row.
    fn with_new<R>(
        &self,
        key: &[u8],
        hash: u64,
        slot: &mut Recent,
        f: impl FnOnce(&Series) -> R,
    ) -> Option<R> {
        let entry = self.series.get(key)?;
        if slot.hash == hash {
            slot.held = Some(Held {
                registry: self.id,
                key: key.into(),
                series: Arc::clone(entry.value()),
            });
        } else {
            *slot = Recent { hash, held: None };
        }
        Some(f(entry.value()))
    }

    /// A hash for `with`, for a caller who has none. O(key).
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.series.hasher().hash_one(key)
    }

    /// The series of `key`, made when there is none, its name with `config` when that is new.
    ///
    /// # Errors
    /// [`Error::Kind`] when the name has another kind, [`Error::Full`] when it is new and no more names are taken.
    pub fn find_or_insert(
        &self,
        key: &[u8],
        name_len: usize,
        kind: Kind,
        config: impl FnOnce() -> Config,
    ) -> Result<Arc<Series>, Error> {
        let of_kind = |series: Arc<Series>| match series.family.config.kind == kind {
            true => Ok(series),
            false => Err(Error::Kind),
        };
        if let Some(series) = self.find(key) {
            return of_kind(series);
        }
        let name = key.get(..name_len).unwrap_or(key);
        let family = self.family(name, config)?;
        if family.config.kind != kind {
            return Err(Error::Kind);
        }
        if key.get(name_len..) == Some(&*self.overflow_tags) || !self.reserve(&family) {
            family.overflowed.fetch_add(1, Ordering::Relaxed);
            let overflow: Vec<u8> = [name, &self.overflow_tags].concat();
            return Ok(self.insert(overflow.into(), &family, || {}));
        }
        Ok(self.insert(key.into(), &family, || self.release(&family)))
    }

    fn insert(&self, key: Box<[u8]>, family: &Arc<Family>, already: impl FnOnce()) -> Arc<Series> {
        match self.series.entry(key) {
            Entry::Occupied(entry) => {
                already();
                Arc::clone(entry.get())
            }
            Entry::Vacant(entry) => {
                let series = Arc::new(Series::new(Arc::clone(family)));
                entry.insert(Arc::clone(&series));
                series
            }
        }
    }

    /// Counts one more series of the name, if the bounds allow.
    fn reserve(&self, family: &Family) -> bool {
        let below = |max: usize| move |n: usize| (n < max).then_some(n + 1);
        let order = Ordering::Relaxed;
        if family
            .series
            .fetch_update(order, order, below(family.config.max_series))
            .is_err()
        {
            return false;
        }
        let taken = self
            .total
            .fetch_update(order, order, below(self.bounds.series))
            .is_ok();
        if !taken {
            family.series.fetch_sub(1, order);
        }
        taken
    }

    fn release(&self, family: &Family) {
        family.series.fetch_sub(1, Ordering::Relaxed);
        self.total.fetch_sub(1, Ordering::Relaxed);
    }

    fn family(&self, name: &[u8], config: impl FnOnce() -> Config) -> Result<Arc<Family>, Error> {
        if let Some(family) = self.families.get(name) {
            return Ok(Arc::clone(family.value()));
        }
        if self.families.len() >= self.bounds.names {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Full);
        }
        let entry = self.families.entry(name.into()).or_insert_with(|| {
            Arc::new(Family {
                name: name.into(),
                config: config(),
                series: AtomicUsize::new(0),
                overflowed: AtomicU64::new(0),
            })
        });
        Ok(Arc::clone(entry.value()))
    }

    /// The name, if it is known.
    #[must_use]
    pub fn find_family(&self, name: &[u8]) -> Option<Arc<Family>> {
        self.families.get(name).map(|entry| Arc::clone(entry.value()))
    }

    /// All names.
    #[must_use]
    pub fn families(&self) -> Vec<Arc<Family>> {
        self.families
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect()
    }

    /// Every series with its key (the name's key, then the tags'). O(series).
    #[must_use]
    pub fn all(&self) -> Vec<(Box<[u8]>, Arc<Series>)> {
        self.series
            .iter()
            .map(|entry| (entry.key().clone(), Arc::clone(entry.value())))
            .collect()
    }

    /// Every series of a name with its key. O(series).
    #[must_use]
    pub fn of_name(&self, name: &[u8]) -> Vec<(Box<[u8]>, Arc<Series>)> {
        self.series
            .iter()
            .filter(|entry| &*entry.value().family.name == name)
            .map(|entry| (entry.key().clone(), Arc::clone(entry.value())))
            .collect()
    }

    /// Forgets a name, its series and its configuration; says how many series that were. O(series).
    pub fn forget(&self, name: &[u8]) -> usize {
        self.families.remove(name);
        self.drop_series(|series| &*series.family.name == name)
    }

    /// Forgets all names and series.
    pub fn clear(&self) {
        self.families.clear();
        self.drop_series(|_| true);
        self.refused.store(0, Ordering::Relaxed);
    }

    fn drop_series(&self, chosen: impl Fn(&Series) -> bool) -> usize {
        let mut dropped = 0;
        self.series.retain(|key, series| {
            if !chosen(series) {
                return true;
            }
            series.gone.store(true, Ordering::Relaxed);
            dropped += 1;
            if key.get(series.family.name.len()..) != Some(&*self.overflow_tags) {
                self.release(&series.family);
            }
            false
        });
        dropped
    }

    /// How many series there are, overflow series left out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Whether there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// How many names there are.
    #[must_use]
    pub fn names(&self) -> usize {
        self.families.len()
    }

    /// How many times a new name was refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Bytes taken by series, keys and histograms; what the maps themselves add is left out. O(series).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.series
            .iter()
            .map(|entry| {
                let heap = match &entry.value().data {
                    Data::Histogram(recorder) => recorder.bytes() - size_of::<Recorder>(),
                    _ => 0,
                };
                entry.key().len() + size_of::<Series>() + heap
            })
            .sum()
    }
}
