//! What stands before the encoded term of a message: whom it is for.
//!
//! ```text
//! 1 name:        length u8 │ UTF-8                     a registered process
//! 2 pid:         length u8 │ external term format, without its version byte
//! 3 subscribers
//! 4 call:        number u64 │ timeout in ms u32 │ 1 … or 2 …
//! 5 reply:       number u64 │ 0 reply, 1 reason of failure
//! 6 cancel:      number u64, no term
//! 7 engine:      length u16 │ member it is for │ length u16 │ member it is from │ a frame in place of a term
//! ```

use super::encode::{VERSION, plain_name};
use rustler::{Env, NifResult, Term};

pub(crate) const NAME: u8 = 1;
pub(crate) const PID: u8 = 2;
pub(crate) const SUBSCRIBERS: u8 = 3;
pub(crate) const CALL: u8 = 4;
pub(crate) const REPLY: u8 = 5;
pub(crate) const CANCEL: u8 = 6;
pub(crate) const ENGINE: u8 = 7;

/// Whom a message is for, as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'b> {
    Name(&'b [u8]),
    Pid(&'b [u8]),
}

/// A message as it came, without its term.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head<'b> {
    To(Target<'b>),
    Subscribers,
    Call {
        number: u64,
        timeout: u32,
        target: Target<'b>,
    },
    Reply {
        number: u64,
        failed: bool,
    },
    Cancel {
        number: u64,
    },
    Engine {
        to: &'b str,
        from: &'b str,
    },
}

/// Reads what stands before the term; how long it is.
pub(crate) fn head(bytes: &[u8]) -> Option<(Head<'_>, usize)> {
    let (kind, rest) = bytes.split_first()?;
    match *kind {
        NAME | PID => {
            let (target, length) = target(bytes)?;
            Some((Head::To(target), length))
        }
        SUBSCRIBERS => Some((Head::Subscribers, 1)),
        CALL => {
            let number = u64::from_le_bytes(*rest.first_chunk()?);
            let timeout = u32::from_le_bytes(*rest.get(8..)?.first_chunk()?);
            let (target, length) = target(rest.get(12..)?)?;
            let head = Head::Call {
                number,
                timeout,
                target,
            };
            Some((head, 13 + length))
        }
        REPLY => {
            let number = u64::from_le_bytes(*rest.first_chunk()?);
            let failed = *rest.get(8)? != 0;
            Some((Head::Reply { number, failed }, 10))
        }
        CANCEL => {
            let number = u64::from_le_bytes(*rest.first_chunk()?);
            Some((Head::Cancel { number }, 9))
        }
        ENGINE => {
            let (to, rest) = text(rest)?;
            let (from, rest) = text(rest)?;
            Some((Head::Engine { to, from }, bytes.len() - rest.len()))
        }
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Writes what stands before a frame of an engine.
pub(crate) fn write_engine(to: &str, from: &str, out: &mut Vec<u8>) {
    out.push(ENGINE);
    for name in [to, from] {
        // A longer name, which no node has, is that of nobody.
        let name = &name.as_bytes()[..name.len().min(u16::MAX.into())];
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
    }
}

fn target(bytes: &[u8]) -> Option<(Target<'_>, usize)> {
    let (kind, length) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    let name = bytes.get(2..2 + length)?;
    match kind {
        NAME => Some((Target::Name(name), 2 + length)),
        PID => Some((Target::Pid(name), 2 + length)),
        _ => None,
    }
}

impl Target<'_> {
    /// The atom or pid.
    pub(crate) fn term<'a>(&self, env: Env<'a>) -> Option<Term<'a>> {
        let mut bytes = [0; 2 + 256 + 1];
        let (head, name): (&[u8], &[u8]) = match self {
            Target::Name(name) => (&[VERSION, 119, name.len() as u8], name),
            Target::Pid(pid) => (&[VERSION], pid),
        };
        let length = head.len() + name.len();
        bytes[..head.len()].copy_from_slice(head);
        bytes[head.len()..length].copy_from_slice(name);
        super::decode::small(env, &bytes[..length])
    }
}

/// Writes the target that a term names: an atom, a pid, or `[]` for the subscribers.
pub(crate) fn write_target(term: Term<'_>, out: &mut Vec<u8>) -> NifResult<()> {
    if term.is_empty_list() {
        out.push(SUBSCRIBERS);
        return Ok(());
    }
    let kind = match () {
        () if term.is_atom() => NAME,
        () if term.is_pid() => PID,
        () => return Err(rustler::Error::BadArg),
    };
    out.extend_from_slice(&[kind, 0]);
    let from = out.len();
    if kind == NAME {
        match plain_name(term, &mut [0; 256]) {
            Some(name) => out.extend_from_slice(name),
            None => out.extend_from_slice(term.atom_to_string()?.as_bytes()),
        }
    } else {
        out.extend_from_slice(&term.to_binary().as_slice()[1..]);
    }
    let length = u8::try_from(out.len() - from).map_err(|_| rustler::Error::BadArg)?;
    out[from - 1] = length;
    Ok(())
}
