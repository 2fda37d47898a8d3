//! Commands and queries of the coordination machine, from tuples.

use foundation_consensus::coordination::{Command, Expect, Hold, Kind, MAX_NAME, MAX_VALUE, Query};
use rustler::types::tuple::get_tuple;
use rustler::{Atom, Binary, Decoder, Error, NifResult, Term};

mod atoms {
    rustler::atoms! {
        nil,
        lock, rw_lock, semaphore, election, barrier, double_barrier, queue, value,
        open, keep_alive, close, drop, define, remove, acquire, renew, release, campaign, describe, enter, leave,
        push, take, acknowledge, add, set_counter, next, put, delete,
        any, absent,
        claim, leader, candidates, counter, sequence, session,
    }
}

/// The most holds given back by one command.
const MAX_DROPPED: usize = 10_000;

/// What stands in a tuple, one after the other.
struct Parts<'a> {
    parts: std::vec::IntoIter<Term<'a>>,
    too_large: bool,
}

impl<'a> Parts<'a> {
    fn new(tuple: Term<'a>) -> NifResult<(Atom, Self)> {
        let mut parts = get_tuple(tuple)?.into_iter();
        let tag = parts.next().ok_or(Error::BadArg)?.decode()?;
        Ok((
            tag,
            Self {
                parts,
                too_large: false,
            },
        ))
    }

    fn next<T: Decoder<'a>>(&mut self) -> NifResult<T> {
        self.parts.next().ok_or(Error::BadArg)?.decode()
    }

    fn bytes(&mut self, max: usize) -> NifResult<Vec<u8>> {
        let binary: Binary<'a> = self.next()?;
        if binary.len() > max {
            self.too_large = true;
            return Ok(Vec::new());
        }
        Ok(binary.as_slice().to_vec())
    }

    fn name(&mut self) -> NifResult<Vec<u8>> {
        self.bytes(MAX_NAME)
    }

    fn value(&mut self) -> NifResult<Vec<u8>> {
        self.bytes(MAX_VALUE)
    }

    fn kind(&mut self) -> NifResult<Kind> {
        let kind: Atom = self.next()?;
        let kinds = [
            (atoms::lock(), Kind::Lock),
            (atoms::rw_lock(), Kind::RwLock),
            (atoms::semaphore(), Kind::Semaphore),
            (atoms::election(), Kind::Election),
            (atoms::barrier(), Kind::Barrier),
            (atoms::double_barrier(), Kind::DoubleBarrier),
            (atoms::queue(), Kind::Queue),
            (atoms::value(), Kind::Value),
        ];
        let found = kinds.into_iter().find(|(name, _)| *name == kind);
        found.map(|(_, kind)| kind).ok_or(Error::BadArg)
    }

    fn hold(&mut self) -> NifResult<Hold> {
        self.next::<Term<'a>>().and_then(hold)
    }

    fn optional<T>(&mut self, decode: impl Fn(Term<'a>) -> NifResult<T>) -> NifResult<Option<T>> {
        let term: Term<'a> = self.next()?;
        if term.is_atom() {
            return if atoms::nil() == term {
                Ok(None)
            } else {
                Err(Error::BadArg)
            };
        }
        decode(term).map(Some)
    }

    fn expect(&mut self) -> NifResult<Expect> {
        let term: Term<'a> = self.next()?;
        if term.is_atom() {
            return match term.decode::<Atom>()? {
                any if any == atoms::any() => Ok(Expect::Any),
                absent if absent == atoms::absent() => Ok(Expect::Absent),
                _ => Err(Error::BadArg),
            };
        }
        term.decode().map(Expect::Version)
    }

    /// Nothing stands behind what was read.
    fn end(&self) -> NifResult<()> {
        if self.parts.len() == 0 {
            Ok(())
        } else {
            Err(Error::BadArg)
        }
    }
}

fn hold(term: Term<'_>) -> NifResult<Hold> {
    let (session, number) = term.decode()?;
    Ok(Hold { session, number })
}

/// The command; none when a name or a value in it is too large.
pub(super) fn command(tuple: Term<'_>) -> NifResult<Option<Command>> {
    let (tag, mut parts) = Parts::new(tuple)?;
    let command = match held(tag, &mut parts)? {
        Some(command) => command,
        None => plain(tag, &mut parts)?,
    };
    parts.end()?;
    Ok((!parts.too_large).then_some(command))
}

/// What is done under a session or a hold.
fn held(tag: Atom, parts: &mut Parts<'_>) -> NifResult<Option<Command>> {
    Ok(Some(if tag == atoms::acquire() {
        Command::Acquire {
            kind: parts.kind()?,
            name: parts.name()?,
            hold: parts.hold()?,
            weight: parts.next()?,
            lease_ms: parts.next()?,
            wait: parts.next()?,
        }
    } else if tag == atoms::release() {
        Command::Release { hold: parts.hold()? }
    } else if tag == atoms::renew() {
        Command::Renew {
            hold: parts.hold()?,
            lease_ms: parts.next()?,
        }
    } else if tag == atoms::drop() {
        let holds = crate::term::list(parts.next()?, MAX_DROPPED)?;
        Command::Drop {
            holds: holds.into_iter().map(hold).collect::<NifResult<_>>()?,
        }
    } else if tag == atoms::open() {
        Command::Open {
            session: parts.next()?,
            node: String::from_utf8(parts.name()?).map_err(|_| Error::BadArg)?,
            ttl_ms: parts.next()?,
        }
    } else if tag == atoms::keep_alive() {
        Command::KeepAlive {
            session: parts.next()?,
        }
    } else if tag == atoms::close() {
        Command::Close {
            session: parts.next()?,
        }
    } else if tag == atoms::campaign() {
        Command::Campaign {
            name: parts.name()?,
            hold: parts.hold()?,
            priority: parts.next()?,
            preempt: parts.next()?,
            metadata: parts.value()?,
        }
    } else if tag == atoms::describe() {
        Command::Describe {
            hold: parts.hold()?,
            metadata: parts.value()?,
        }
    } else if tag == atoms::enter() {
        Command::Enter {
            kind: parts.kind()?,
            name: parts.name()?,
            hold: parts.hold()?,
        }
    } else if tag == atoms::leave() {
        Command::Leave { hold: parts.hold()? }
    } else if tag == atoms::take() {
        Command::Take {
            name: parts.name()?,
            hold: parts.hold()?,
            wait: parts.next()?,
        }
    } else if tag == atoms::acknowledge() {
        Command::Acknowledge { hold: parts.hold()? }
    } else {
        return Ok(None);
    }))
}

/// What needs no hold.
fn plain(tag: Atom, parts: &mut Parts<'_>) -> NifResult<Command> {
    Ok(if tag == atoms::define() {
        Command::Define {
            kind: parts.kind()?,
            name: parts.name()?,
            size: parts.next()?,
        }
    } else if tag == atoms::remove() {
        Command::Remove {
            kind: parts.kind()?,
            name: parts.name()?,
        }
    } else if tag == atoms::push() {
        Command::Push {
            name: parts.name()?,
            value: parts.value()?,
        }
    } else if tag == atoms::add() {
        Command::Add {
            name: parts.name()?,
            by: parts.next()?,
        }
    } else if tag == atoms::set_counter() {
        Command::SetCounter {
            name: parts.name()?,
            value: parts.next()?,
            expect: parts.optional(|term| term.decode())?,
        }
    } else if tag == atoms::next() {
        Command::Next {
            name: parts.name()?,
            count: parts.next()?,
        }
    } else if tag == atoms::put() {
        Command::Put {
            key: parts.name()?,
            value: parts.value()?,
            expect: parts.expect()?,
            hold: parts.optional(hold)?,
        }
    } else if tag == atoms::delete() {
        Command::Delete {
            key: parts.name()?,
            expect: parts.expect()?,
        }
    } else {
        return Err(Error::BadArg);
    })
}

/// The query.
pub(super) fn query(tuple: Term<'_>) -> NifResult<Query> {
    let (tag, mut parts) = Parts::new(tuple)?;
    let query = if tag == atoms::claim() {
        Query::Claim {
            kind: parts.kind()?,
            name: parts.name()?,
        }
    } else if tag == atoms::leader() {
        Query::Leader { name: parts.name()? }
    } else if tag == atoms::candidates() {
        Query::Candidates { name: parts.name()? }
    } else if tag == atoms::barrier() {
        Query::Barrier {
            kind: parts.kind()?,
            name: parts.name()?,
        }
    } else if tag == atoms::queue() {
        Query::Queue { name: parts.name()? }
    } else if tag == atoms::counter() {
        Query::Counter { name: parts.name()? }
    } else if tag == atoms::sequence() {
        Query::Sequence { name: parts.name()? }
    } else if tag == atoms::value() {
        Query::Value { key: parts.name()? }
    } else if tag == atoms::session() {
        Query::Session {
            session: parts.next()?,
        }
    } else {
        return Err(Error::BadArg);
    };
    parts.end()?;
    Ok(query)
}
