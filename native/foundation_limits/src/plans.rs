//! The definitions of plain keys by number, so that a cell needs two bytes to say which it has.

use crate::definition::Definition;
use std::collections::HashMap;
use std::sync::Arc;

/// The definitions that keys have, each with how many have it.
#[derive(Default)]
pub(crate) struct Plans {
    list: Vec<Option<(Arc<Definition>, u32)>>,
    free: Vec<u16>,
    /// By address.
    numbers: HashMap<usize, u16>,
}

impl Plans {
    /// The definition of that number.
    #[inline]
    pub(crate) fn get(&self, number: u16) -> Option<&Arc<Definition>> {
        Some(&self.list.get(usize::from(number))?.as_ref()?.0)
    }

    /// The number of a definition that one more key has from now on; `None` when there are too many.
    pub(crate) fn enter(&mut self, definition: &Arc<Definition>) -> Option<u16> {
        let address = Arc::as_ptr(definition) as usize;
        if let Some(&number) = self.numbers.get(&address) {
            let (_, keys) = self.list.get_mut(usize::from(number))?.as_mut()?;
            *keys = keys.checked_add(1)?;
            return Some(number);
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let number = u16::try_from(self.list.len()).ok()?;
                self.list.push(None);
                number
            }
        };
        self.list[usize::from(number)] = Some((definition.clone(), 1));
        self.numbers.insert(address, number);
        Some(number)
    }

    /// One key less has it.
    pub(crate) fn leave(&mut self, number: u16) {
        let Some(entry) = self.list.get_mut(usize::from(number)) else {
            return;
        };
        match entry {
            Some((_, keys)) if *keys > 1 => *keys -= 1,
            Some((definition, _)) => {
                self.numbers.remove(&(Arc::as_ptr(definition) as usize));
                *entry = None;
                self.free.push(number);
            }
            None => {}
        }
    }
}
