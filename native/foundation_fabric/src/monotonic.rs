//! Messages of which only the latest of each key matters.

use std::collections::{HashMap, VecDeque};

/// What waits to be sent, the latest of each key, in the order in which the keys began to wait.
#[derive(Debug, Default)]
pub struct Monotonic {
    order: VecDeque<u128>,
    latest: HashMap<u128, Vec<u8>>,
    superseded: u64,
}

impl Monotonic {
    /// Takes a message; the bytes that it takes the place of, if it does.
    pub fn put(&mut self, key: u128, bytes: &[u8]) -> Option<usize> {
        if let Some(there) = self.latest.get_mut(&key) {
            let before = there.len();
            there.clear();
            there.extend_from_slice(bytes);
            self.superseded += 1;
            return Some(before);
        }
        self.latest.insert(key, bytes.to_vec());
        self.order.push_back(key);
        None
    }

    /// The message of the key that has waited longest.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let key = self.order.pop_front()?;
        self.latest.remove(&key)
    }

    /// Whether a message of that key waits.
    pub fn holds(&self, key: u128) -> bool {
        self.latest.contains_key(&key)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many messages were dropped for a later one.
    pub fn superseded(&self) -> u64 {
        self.superseded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_the_latest_of_each_key_comes_out(steps: Vec<Option<(u8, u16)>>) {
            let mut queue = Monotonic::default();
            let mut model: Vec<(u8, u16)> = Vec::new();
            let mut dropped = 0;
            for step in steps {
                match step {
                    Some((key, value)) => {
                        let replaced = queue.put(key.into(), &value.to_le_bytes());
                        match model.iter_mut().find(|(k, _)| *k == key) {
                            Some(there) => {
                                there.1 = value;
                                dropped += 1;
                                prop_assert_eq!(replaced, Some(2));
                            }
                            None => model.push((key, value)),
                        }
                    }
                    None => {
                        let expected = (!model.is_empty()).then(|| model.remove(0).1.to_le_bytes().to_vec());
                        prop_assert_eq!(queue.pop(), expected);
                    }
                }
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert_eq!(queue.superseded(), dropped);
            }
        }
    }
}
