//! Processes: an external term that names the node in full, or the four numbers that are left without it.

use crate::symbols::{self, Symbol};
use smallvec::SmallVec;

const VERSION: u8 = 131;
const NEW_PID: u8 = 88;
const ATOM: u8 = 100;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM: u8 = 115;
const SMALL_ATOM_UTF8: u8 = 119;

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pid<'a> {
    /// As external term.
    Term(&'a [u8]),
    /// Taken apart.
    Parts(PidParts),
}

/// A process taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PidParts {
    /// The node.
    pub node: Symbol,
    /// How the node's name is written: the tag of its atom.
    pub form: u8,
    /// The number of the process.
    pub id: u32,
    /// What tells apart the processes that had this number.
    pub serial: u32,
    /// What tells apart the nodes that had this name.
    pub creation: u32,
}

/// An external term on the stack.
pub type PidTerm = SmallVec<[u8; 64]>;

impl PidParts {
    /// The parts of a process, from its external term; None for another form of it.
    #[must_use]
    pub fn of(term: &[u8]) -> Option<PidParts> {
        let [VERSION, NEW_PID, form, rest @ ..] = term else {
            return None;
        };
        let (len, rest) = match (form, rest) {
            (&SMALL_ATOM_UTF8 | &SMALL_ATOM, [len, rest @ ..]) => (usize::from(*len), rest),
            (&ATOM_UTF8 | &ATOM, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            _ => return None,
        };
        let (name, numbers) = rest.split_at_checked(len)?;
        let number = |at: usize| Some(u32::from_be_bytes(numbers.get(at..at + 4)?.try_into().ok()?));
        // What is not ASCII differs between the forms.
        let name = std::str::from_utf8(name).ok().filter(|name| name.is_ascii())?;
        (numbers.len() == 12).then_some(())?;
        Some(PidParts {
            node: symbols::intern(name),
            form: *form,
            id: number(0)?,
            serial: number(4)?,
            creation: number(8)?,
        })
    }

    /// The external term.
    #[must_use]
    pub fn term(&self) -> PidTerm {
        let name = symbols::name(self.node).unwrap_or_else(|| "nil".into());
        let mut term = PidTerm::new();
        term.extend_from_slice(&[VERSION, NEW_PID, self.form]);
        match self.form {
            ATOM_UTF8 | ATOM => term.extend_from_slice(&(name.len() as u16).to_be_bytes()),
            _ => term.push(name.len() as u8),
        }
        term.extend_from_slice(name.as_bytes());
        for number in [self.id, self.serial, self.creation] {
            term.extend_from_slice(&number.to_be_bytes());
        }
        term
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(form: u8, name: &[u8], len: &[u8]) -> Vec<u8> {
        let numbers = [0, 0, 1, 7, 0, 0, 0, 2, 0xde, 0xad, 0xbe, 0xef];
        [&[VERSION, NEW_PID, form], len, name, &numbers[..]].concat()
    }

    #[test]
    fn parts_make_the_same_term_again() {
        for (form, len) in [
            (SMALL_ATOM_UTF8, &[3][..]),
            (SMALL_ATOM, &[3]),
            (ATOM, &[0, 3]),
            (ATOM_UTF8, &[0, 3]),
        ] {
            let whole = term(form, b"a@b", len);
            let parts = PidParts::of(&whole).unwrap();
            assert_eq!((parts.id, parts.serial, parts.creation), (263, 2, 0xdead_beef));
            assert_eq!(parts.term().as_slice(), whole);
        }
    }

    #[test]
    fn anything_else_stays_whole() {
        let whole = term(SMALL_ATOM_UTF8, b"a@b", &[3]);
        assert_eq!(PidParts::of(&whole[..whole.len() - 1]), None);
        assert_eq!(PidParts::of(&[&whole[..], &[0]].concat()), None);
        assert_eq!(PidParts::of(&term(SMALL_ATOM, b"\xe9@b", &[3])), None);
        assert_eq!(
            PidParts::of(&[VERSION, 103, 119, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 0, 0]),
            None
        );
        assert_eq!(PidParts::of(&[]), None);
    }
}
