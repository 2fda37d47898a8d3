//! The types of a state and how a path leads through them.

use crate::Error;
use crate::wire::{self, Reader};

/// Deepest nesting of a type.
const MAX_DEPTH: usize = 8;

/// A replicated type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A counter that only grows.
    GCounter,
    /// A counter that grows and shrinks.
    PnCounter,
    /// A set that only grows.
    GSet,
    /// A set in which an add wins over a concurrent removal.
    OrSet,
    /// A set in which a removal wins over a concurrent add.
    RwSet,
    /// A register that keeps the value written last, by a hybrid logical clock.
    Lww,
    /// A register that keeps all values written concurrently.
    Mv,
    /// A flag that is on when it was switched on and off concurrently.
    EwFlag,
    /// A flag that is off when it was switched on and off concurrently.
    DwFlag,
    /// A map of which each key keeps what was done to it last, a removal included.
    LwwMap,
    /// A map of values of one type; a change of a value wins over a concurrent removal of its key.
    OrMap(Box<Kind>),
    /// Fields, each with a type of its own.
    Record(Vec<(Vec<u8>, Kind)>),
}

/// What stands at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// See [`Kind::GCounter`].
    GCounter,
    /// See [`Kind::PnCounter`].
    PnCounter,
    /// See [`Kind::Lww`].
    Lww,
    /// See [`Kind::Mv`].
    Mv,
    /// See [`Kind::EwFlag`].
    EwFlag,
    /// See [`Kind::DwFlag`].
    DwFlag,
    /// A key of a [`Kind::LwwMap`].
    LwwEntry,
    /// An element of a [`Kind::GSet`].
    GElement,
    /// An element of a [`Kind::OrSet`].
    OrElement,
    /// An element of a [`Kind::RwSet`].
    RwElement,
}

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'k> {
    Leaf(Leaf),
    Inner(&'k Kind),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'k> {
    pub(crate) at: At<'k>,
    /// Whether it is a key of an observed-remove map.
    pub(crate) key: bool,
}

impl Leaf {
    /// Whether a removal leaves a mark, until every replica has it.
    pub(crate) fn marks(self) -> bool {
        matches!(self, Leaf::DwFlag | Leaf::LwwEntry | Leaf::RwElement)
    }

    /// Whether it is an element of a set.
    pub fn is_element(self) -> bool {
        matches!(self, Leaf::GElement | Leaf::OrElement | Leaf::RwElement)
    }

    /// Whether its times are those of the hybrid logical clock.
    pub(crate) fn is_timed(self) -> bool {
        matches!(self, Leaf::Lww | Leaf::LwwEntry)
    }
}

impl Kind {
    /// What a path from here leads to.
    pub(crate) fn place<'p>(&self, path: impl IntoIterator<Item = &'p [u8]>) -> Result<Place<'_>, Error> {
        let mut kind = self;
        let mut key = false;
        let mut path = path.into_iter();
        while let Some(segment) = path.next() {
            let leaf = match kind {
                Kind::OrMap(inner) => {
                    (kind, key) = (inner, true);
                    continue;
                }
                Kind::Record(fields) => {
                    let field = fields.iter().find(|(name, _)| name == segment);
                    (kind, key) = (&field.ok_or(Error::WrongPath)?.1, false);
                    continue;
                }
                Kind::LwwMap => Leaf::LwwEntry,
                Kind::GSet => Leaf::GElement,
                Kind::OrSet => Leaf::OrElement,
                Kind::RwSet => Leaf::RwElement,
                _ => return Err(Error::WrongPath),
            };
            return match path.next() {
                None => Ok(Place {
                    at: At::Leaf(leaf),
                    key: false,
                }),
                Some(_) => Err(Error::WrongPath),
            };
        }
        Ok(Place {
            at: kind.leaf().map_or(At::Inner(kind), At::Leaf),
            key,
        })
    }

    /// The leaf that it is, when it has no parts.
    pub(crate) fn leaf(&self) -> Option<Leaf> {
        match self {
            Kind::GCounter => Some(Leaf::GCounter),
            Kind::PnCounter => Some(Leaf::PnCounter),
            Kind::Lww => Some(Leaf::Lww),
            Kind::Mv => Some(Leaf::Mv),
            Kind::EwFlag => Some(Leaf::EwFlag),
            Kind::DwFlag => Some(Leaf::DwFlag),
            _ => None,
        }
    }

    /// How many parts of a path decide about the shard, so that what can be removed as one is in one; none for a path that
    /// leads to what lies in several.
    pub(crate) fn shard_parts(&self, path: &[&[u8]]) -> Option<usize> {
        let mut kind = self;
        for (i, name) in path.iter().enumerate() {
            match kind {
                Kind::Record(fields) => kind = &fields.iter().find(|(known, _)| known == name)?.1,
                _ if kind.leaf().is_some() => return Some(i),
                _ => return Some(i + 1),
            }
        }
        kind.leaf().map(|_| path.len())
    }

    /// Whether anything in it leaves marks behind.
    pub(crate) fn has_marks(&self) -> bool {
        match self {
            Kind::RwSet | Kind::DwFlag | Kind::LwwMap => true,
            Kind::OrMap(inner) => inner.has_marks(),
            Kind::Record(fields) => fields.iter().any(|(_, kind)| kind.has_marks()),
            _ => false,
        }
    }

    /// Checks depth and the names of fields.
    ///
    /// # Errors
    /// `InvalidKind`.
    pub fn check(&self) -> Result<(), Error> {
        self.check_at(0)
    }

    fn check_at(&self, depth: usize) -> Result<(), Error> {
        if depth == MAX_DEPTH {
            return Err(Error::InvalidKind);
        }
        match self {
            Kind::OrMap(inner) => inner.check_at(depth + 1),
            Kind::Record(fields) => {
                let mut names: Vec<&[u8]> = fields.iter().map(|(name, _)| name.as_slice()).collect();
                names.sort_unstable();
                if fields.is_empty() || fields.len() > 256 || names.windows(2).any(|pair| pair[0] == pair[1])
                {
                    return Err(Error::InvalidKind);
                }
                fields.iter().try_for_each(|(_, kind)| kind.check_at(depth + 1))
            }
            _ => Ok(()),
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Kind::GCounter => 1,
            Kind::PnCounter => 2,
            Kind::GSet => 3,
            Kind::OrSet => 4,
            Kind::RwSet => 5,
            Kind::Lww => 6,
            Kind::Mv => 7,
            Kind::EwFlag => 8,
            Kind::DwFlag => 9,
            Kind::LwwMap => 10,
            Kind::OrMap(_) => 11,
            Kind::Record(_) => 12,
        }
    }

    /// Bytes that are equal exactly when the types are.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        match self {
            Kind::OrMap(inner) => inner.encode(out),
            Kind::Record(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by_key(|(name, _)| name);
                wire::put_u64(out, sorted.len() as u64);
                for (name, kind) in sorted {
                    wire::put_bytes(out, name);
                    kind.encode(out);
                }
            }
            _ => {}
        }
    }

    /// Reads what `encode` has written.
    ///
    /// # Errors
    /// `InvalidKind`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let kind = Self::read(&mut reader, 0).map_err(|_| Error::InvalidKind)?;
        if !reader.is_empty() {
            return Err(Error::InvalidKind);
        }
        kind.check()?;
        Ok(kind)
    }

    fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self, Error> {
        if depth == MAX_DEPTH {
            return Err(Error::InvalidKind);
        }
        Ok(match reader.u8()? {
            1 => Kind::GCounter,
            2 => Kind::PnCounter,
            3 => Kind::GSet,
            4 => Kind::OrSet,
            5 => Kind::RwSet,
            6 => Kind::Lww,
            7 => Kind::Mv,
            8 => Kind::EwFlag,
            9 => Kind::DwFlag,
            10 => Kind::LwwMap,
            11 => Kind::OrMap(Box::new(Self::read(reader, depth + 1)?)),
            12 => {
                let mut fields = Vec::new();
                for _ in 0..reader.count(2)? {
                    fields.push((reader.bytes()?.to_vec(), Self::read(reader, depth + 1)?));
                }
                Kind::Record(fields)
            }
            _ => return Err(Error::InvalidKind),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cart() -> Kind {
        let fields = vec![
            (b"items".to_vec(), Kind::OrSet),
            (b"seen".to_vec(), Kind::PnCounter),
        ];
        Kind::OrMap(Box::new(Kind::Record(fields)))
    }

    #[test]
    fn a_path_leads_to_a_leaf_or_to_something_with_parts() {
        let kind = cart();
        let place = |path: &[&[u8]]| kind.place(path.iter().copied());
        assert!(matches!(place(&[]).unwrap().at, At::Inner(Kind::OrMap(_))));
        let key = place(&[b"k"]).unwrap();
        assert!(key.key && matches!(key.at, At::Inner(Kind::Record(_))));
        let element = place(&[b"k", b"items", b"e"]).unwrap();
        assert!(!element.key && matches!(element.at, At::Leaf(Leaf::OrElement)));
        assert!(matches!(place(&[b"k", b"other"]), Err(Error::WrongPath)));
        assert!(matches!(place(&[b"k", b"seen", b"x"]), Err(Error::WrongPath)));
        assert!(matches!(
            place(&[b"k", b"items", b"e", b"x"]),
            Err(Error::WrongPath)
        ));
    }

    #[test]
    fn encoding_goes_there_and_back_and_ignores_the_order_of_fields() {
        let mut bytes = Vec::new();
        cart().encode(&mut bytes);
        assert_eq!(Kind::decode(&bytes).unwrap(), cart());
        assert!(Kind::decode(&bytes[..bytes.len() - 1]).is_err());
        let swapped = Kind::Record(vec![(b"b".to_vec(), Kind::Lww), (b"a".to_vec(), Kind::Mv)]);
        let sorted = Kind::Record(vec![(b"a".to_vec(), Kind::Mv), (b"b".to_vec(), Kind::Lww)]);
        let encoded = |kind: &Kind| {
            let mut out = Vec::new();
            kind.encode(&mut out);
            out
        };
        assert_eq!(encoded(&swapped), encoded(&sorted));
        let twice = Kind::Record(vec![(b"a".to_vec(), Kind::Lww), (b"a".to_vec(), Kind::Mv)]);
        assert!(twice.check().is_err());
        let deep = (0..9).fold(Kind::Lww, |kind, _| Kind::OrMap(Box::new(kind)));
        assert!(deep.check().is_err());
    }
}
