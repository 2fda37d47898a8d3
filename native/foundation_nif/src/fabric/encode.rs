//! Terms to the external term format, in one pass, without a copy of what is large.
//!
//! Atoms, integers, floats, binaries, lists, tuples and maps are written here; the rest goes through the VM's own
//! encoder. A binary of [`SHARED`] bytes or more is not copied but kept by reference until it is sent. On a normal
//! scheduler the work is bounded; [`Stop::Dirty`] says that a message needs a dirty one.

use bytes::Bytes;
use rustler::sys::{
    ErlNifBinary, ErlNifCharEncoding, ErlNifEnv, enif_alloc_env, enif_free_env, enif_get_atom,
    enif_inspect_binary, enif_make_copy,
};
use rustler::{Binary, Term, TermType};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// The version byte before every encoded term.
pub(crate) const VERSION: u8 = 131;
/// Binaries from this size on are shared.
pub(crate) const SHARED: usize = 8 << 10;
/// Bytes copied, and terms visited, on a normal scheduler.
const NORMAL_BYTES: usize = 64 << 10;
const NORMAL_TERMS: usize = 2_000;
/// Levels written here; what lies deeper goes through the VM.
const DEPTH: usize = 64;

/// Why a term was not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It takes longer than a normal scheduler may be held.
    Dirty,
    /// It is longer than allowed.
    TooLarge,
}

/// The name of an atom, where it is ASCII.
pub(crate) fn plain_name<'b>(term: Term<'_>, buffer: &'b mut [u8; 256]) -> Option<&'b [u8]> {
    // SAFETY: the buffer has the length that is said; an atom has at most 255 characters.
    let written = unsafe {
        enif_get_atom(
            term.get_env().as_c_arg(),
            term.as_c_arg(),
            buffer.as_mut_ptr().cast(),
            buffer.len() as u32,
            ErlNifCharEncoding::ERL_NIF_LATIN1,
        )
    };
    // Latin-1 with its ending zero, or nothing when other characters are in it.
    let length = usize::try_from(written).ok()?.checked_sub(1)?;
    buffer.get(..length).filter(|name| name.is_ascii())
}

/// An environment of our own that keeps binaries alive.
struct Keeper(*mut ErlNifEnv);

// SAFETY: the environment belongs to no process or thread, and nothing is made in it after it is shared.
unsafe impl Send for Keeper {}
// SAFETY: as above.
unsafe impl Sync for Keeper {}

impl Drop for Keeper {
    fn drop(&mut self) {
        // SAFETY: allocated by `Shared::new`, freed once.
        unsafe { enif_free_env(self.0) }
    }
}

/// A binary that lives as long as this does.
struct Shared {
    _keeper: Arc<Keeper>,
    data: *const u8,
    length: usize,
}

// SAFETY: the bytes are immutable and kept alive by the keeper.
unsafe impl Send for Shared {}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.data, self.length) }
    }
}

/// Bytes on their way to be a message.
pub(crate) struct Encoder<'b> {
    out: &'b mut Vec<u8>,
    /// What stands before `cut` is in `parts` already.
    cut: usize,
    parts: Vec<Bytes>,
    keeper: Option<Arc<Keeper>>,
    shared: usize,
    terms: usize,
    normal: bool,
    max: usize,
}

impl<'b> Encoder<'b> {
    /// Appends to `out`; bounded when `normal`.
    pub(crate) fn new(out: &'b mut Vec<u8>, normal: bool, max: usize) -> Self {
        Self {
            out,
            cut: 0,
            parts: Vec::new(),
            keeper: None,
            shared: 0,
            terms: 0,
            normal,
            max,
        }
    }

    /// Writes a term with its version byte.
    pub(crate) fn message(&mut self, term: Term<'_>) -> Result<(), Stop> {
        self.out.push(VERSION);
        self.write(term, 0)
    }

    /// The parts, when anything is shared or long; none when all stands in `out`.
    pub(crate) fn finish(mut self, longest: usize) -> Option<Vec<Bytes>> {
        if self.parts.is_empty() && self.out.len() <= longest {
            return None;
        }
        self.flush();
        Some(self.parts)
    }

    fn flush(&mut self) {
        if self.out.len() > self.cut {
            self.parts.push(Bytes::copy_from_slice(&self.out[self.cut..]));
            self.cut = self.out.len();
        }
    }

    fn check(&mut self) -> Result<(), Stop> {
        self.terms += 1;
        if self.normal && (self.out.len() > NORMAL_BYTES || self.terms > NORMAL_TERMS) {
            return Err(Stop::Dirty);
        }
        if self.out.len() + self.shared > self.max {
            return Err(Stop::TooLarge);
        }
        Ok(())
    }

    fn write(&mut self, term: Term<'_>, depth: usize) -> Result<(), Stop> {
        self.check()?;
        if depth > DEPTH {
            return self.by_vm(term);
        }
        match term.get_type() {
            TermType::Atom => self.atom(term),
            TermType::Integer => self.integer(term),
            TermType::Float => match term.decode::<f64>() {
                Ok(number) => {
                    self.out.push(70);
                    self.out.extend_from_slice(&number.to_bits().to_be_bytes());
                    Ok(())
                }
                Err(_) => self.by_vm(term),
            },
            TermType::Binary if term.is_binary() => self.binary(term),
            TermType::Tuple => self.tuple(term, depth),
            TermType::List => self.list(term, depth),
            TermType::Map => self.map(term, depth),
            _ => self.by_vm(term),
        }
    }

    fn atom(&mut self, term: Term<'_>) -> Result<(), Stop> {
        match plain_name(term, &mut [0; 256]) {
            Some(name) => {
                self.out.extend_from_slice(&[119, name.len() as u8]);
                self.out.extend_from_slice(name);
                Ok(())
            }
            None => self.by_vm(term),
        }
    }

    fn integer(&mut self, term: Term<'_>) -> Result<(), Stop> {
        let Ok(number) = term.decode::<i64>() else {
            return self.by_vm(term);
        };
        if let Ok(small) = u8::try_from(number) {
            self.out.extend_from_slice(&[97, small]);
        } else if let Ok(middle) = i32::try_from(number) {
            self.out.push(98);
            self.out.extend_from_slice(&middle.to_be_bytes());
        } else {
            let magnitude = number.unsigned_abs().to_le_bytes();
            let length = 8 - number.unsigned_abs().leading_zeros() as usize / 8;
            self.out
                .extend_from_slice(&[110, length as u8, u8::from(number < 0)]);
            self.out.extend_from_slice(&magnitude[..length]);
        }
        Ok(())
    }

    fn binary(&mut self, term: Term<'_>) -> Result<(), Stop> {
        let Ok(binary) = Binary::from_term(term) else {
            return self.by_vm(term);
        };
        self.out.push(109);
        let Ok(length) = u32::try_from(binary.len()) else {
            return Err(Stop::TooLarge);
        };
        self.out.extend_from_slice(&length.to_be_bytes());
        if binary.len() < SHARED {
            self.out.extend_from_slice(&binary);
            return Ok(());
        }
        if self.out.len() + self.shared + binary.len() > self.max {
            return Err(Stop::TooLarge);
        }
        self.flush();
        let shared = self.share(term);
        self.shared += shared.len();
        self.parts.push(shared);
        Ok(())
    }

    fn share(&mut self, term: Term<'_>) -> Bytes {
        // SAFETY: an environment of its own, freed by the keeper's drop.
        let new = || Arc::new(Keeper(unsafe { enif_alloc_env() }));
        let keeper = Arc::clone(self.keeper.get_or_insert_with(new));
        let mut inside = MaybeUninit::<ErlNifBinary>::uninit();
        // SAFETY: the copy of a binary term is a binary term of that environment, and nothing else uses it meanwhile.
        let inside = unsafe {
            let copy = enif_make_copy(keeper.0, term.as_c_arg());
            enif_inspect_binary(keeper.0, copy, inside.as_mut_ptr());
            inside.assume_init()
        };
        Bytes::from_owner(Shared {
            _keeper: keeper,
            data: inside.data,
            length: inside.size,
        })
    }

    fn tuple(&mut self, term: Term<'_>, depth: usize) -> Result<(), Stop> {
        let Ok(items) = crate::term::elements(term) else {
            return self.by_vm(term);
        };
        match u8::try_from(items.len()) {
            Ok(arity) => self.out.extend_from_slice(&[104, arity]),
            Err(_) => self.counted(105, items.len()),
        }
        for item in items {
            self.write(item, depth + 1)?;
        }
        Ok(())
    }

    fn counted(&mut self, tag: u8, count: usize) {
        self.out.push(tag);
        self.out.extend_from_slice(&(count as u32).to_be_bytes());
    }

    /// The number of elements is written when it is known.
    fn list(&mut self, term: Term<'_>, depth: usize) -> Result<(), Stop> {
        if term.is_empty_list() {
            self.out.push(106);
            return Ok(());
        }
        let mut count: u32 = 0;
        let mut end = term;
        while let Ok((_, tail)) = end.list_get_cell() {
            count += 1;
            if self.normal && count as usize > NORMAL_TERMS {
                return Err(Stop::Dirty);
            }
            end = tail;
        }
        self.counted(108, count as usize);
        let mut rest = term;
        while let Ok((head, tail)) = rest.list_get_cell() {
            self.write(head, depth + 1)?;
            rest = tail;
        }
        self.write(rest, depth + 1)
    }

    fn map(&mut self, term: Term<'_>, depth: usize) -> Result<(), Stop> {
        let Ok(size) = term.map_size() else {
            return self.by_vm(term);
        };
        self.counted(116, size);
        let mut outcome = Ok(());
        let walked = crate::term::pairs(term, |key, value| {
            outcome = self
                .write(key, depth + 1)
                .and_then(|()| self.write(value, depth + 1));
            outcome.is_ok()
        });
        if walked.is_err() {
            return Err(Stop::TooLarge);
        }
        outcome
    }

    /// Pids, references and ports are short; anything else may be of any length.
    fn by_vm(&mut self, term: Term<'_>) -> Result<(), Stop> {
        let short = matches!(
            term.get_type(),
            TermType::Pid | TermType::Ref | TermType::Port | TermType::Atom
        );
        if self.normal && !short {
            return Err(Stop::Dirty);
        }
        let bytes = term.to_binary();
        self.out.extend_from_slice(&bytes.as_slice()[1..]);
        self.check()
    }
}
