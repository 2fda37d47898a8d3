//! Counters, sequences, and values with versions; and what must be defined before it is used.

use super::{Coordination, Event, Expect, Hold, Kind, MAX_NAME, MAX_VALUE, Name, Refusal, Reply};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Value {
    /// The number in the log of the command that set it.
    pub(super) version: u64,
    pub(super) bytes: Vec<u8>,
    /// What it goes with.
    hold: Option<Hold>,
}

fn named(name: &Name) -> Result<(), Refusal> {
    if name.len() > MAX_NAME {
        Err(Refusal::TooLarge)
    } else {
        Ok(())
    }
}

impl Coordination {
    pub(super) fn define(&mut self, kind: Kind, name: Name, size: u32) -> Result<Reply, Refusal> {
        named(&name)?;
        if size == 0 {
            return Err(Refusal::Malformed);
        }
        match kind {
            Kind::Semaphore => self.define_semaphore(name, size),
            Kind::Barrier | Kind::DoubleBarrier => self.define_barrier((kind, name), size),
            Kind::Queue => self.define_queue(name, size),
            _ => Err(Refusal::Malformed),
        }
    }

    pub(super) fn remove(&mut self, kind: Kind, name: Name) -> Result<Reply, Refusal> {
        match kind {
            Kind::Semaphore => self.remove_semaphore(name),
            Kind::Barrier | Kind::DoubleBarrier => self.remove_barrier(&(kind, name)),
            Kind::Queue => self.remove_queue(&name),
            _ => Err(Refusal::Malformed),
        }
    }

    pub(super) fn add(&mut self, name: Name, by: i64) -> Result<Reply, Refusal> {
        named(&name)?;
        let now = self.counters.get(&name).copied().unwrap_or(0);
        let sum = now.checked_add(by).ok_or(Refusal::Overflow)?;
        self.counters.insert(name, sum);
        Ok(Reply::Number(sum))
    }

    pub(super) fn set_counter(
        &mut self,
        name: Name,
        value: i64,
        expect: Option<i64>,
    ) -> Result<Reply, Refusal> {
        named(&name)?;
        let now = self.counters.get(&name).copied().unwrap_or(0);
        if expect.is_some_and(|expected| expected != now) {
            return Ok(Reply::Unexpected(now));
        }
        self.counters.insert(name, value);
        Ok(Reply::Number(value))
    }

    pub(super) fn next(&mut self, name: Name, count: u64) -> Result<Reply, Refusal> {
        named(&name)?;
        if count == 0 {
            return Err(Refusal::Malformed);
        }
        let last = self.sequences.get(&name).copied().unwrap_or(0);
        let end = last.checked_add(count).ok_or(Refusal::Overflow)?;
        self.sequences.insert(name, end);
        Ok(Reply::Range {
            first: last + 1,
            count,
        })
    }

    /// The conflict, when what is there is not what is expected.
    fn conflict(&self, key: &Name, expect: &Expect) -> Option<Reply> {
        let found = self.values.get(key);
        let version = found.map_or(0, |value| value.version);
        let expected = match expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Version(wanted) => version == *wanted,
        };
        (!expected).then(|| Reply::Conflict {
            version,
            value: found.map(|value| value.bytes.clone()),
        })
    }

    pub(super) fn put(
        &mut self,
        index: u64,
        key: Name,
        bytes: Vec<u8>,
        expect: &Expect,
        hold: Option<Hold>,
    ) -> Result<Reply, Refusal> {
        named(&key)?;
        if bytes.len() > MAX_VALUE {
            return Err(Refusal::TooLarge);
        }
        let object = (Kind::Value, key);
        if let Some(hold) = hold {
            self.claimable(hold, &object)?;
        }
        if let Some(conflict) = self.conflict(&object.1, expect) {
            return Ok(conflict);
        }
        let before = self.values.get(&object.1).and_then(|value| value.hold);
        if let Some(before) = before.filter(|before| hold != Some(*before)) {
            self.holds.remove(&before);
        }
        if let Some(hold) = hold {
            self.holds.insert(hold, object.clone());
        }
        let (_, key) = object;
        self.events.push(Event::Value {
            key: key.clone(),
            version: index,
            value: Some(bytes.clone()),
        });
        self.values.insert(
            key,
            Value {
                version: index,
                bytes,
                hold,
            },
        );
        Ok(Reply::Version(index))
    }

    pub(super) fn delete(&mut self, index: u64, key: Name, expect: &Expect) -> Result<Reply, Refusal> {
        if let Some(conflict) = self.conflict(&key, expect) {
            return Ok(conflict);
        }
        if let Some(value) = self.values.remove(&key) {
            if let Some(hold) = value.hold {
                self.holds.remove(&hold);
            }
            self.events.push(Event::Value {
                key,
                version: index,
                value: None,
            });
        }
        Ok(Reply::Version(index))
    }

    /// Removes a value whose hold was given back.
    pub(super) fn vanish(&mut self, key: &Name) {
        if let Some(value) = self.values.remove(key) {
            self.events.push(Event::Value {
                key: key.clone(),
                version: value.version,
                value: None,
            });
        }
    }
}
