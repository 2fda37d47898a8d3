//! What is wrong with a durable log, as the atom that every domain with one gives as its reason.

use foundation_storage::Error;
use rustler::Atom;

mod names {
    rustler::atoms! { locked, not_writable, no_space, too_large, version, damaged, sync_failed, io }
}

pub(crate) fn reason(error: &Error) -> Atom {
    match error {
        Error::Locked { .. } => names::locked(),
        Error::NotWritable { .. } => names::not_writable(),
        Error::NoSpace { .. } => names::no_space(),
        Error::TooLarge { .. } => names::too_large(),
        Error::Version { .. } => names::version(),
        Error::Damaged(_) => names::damaged(),
        Error::Sync { .. } => names::sync_failed(),
        Error::Closed => crate::atoms::closed(),
        Error::Io { .. } => names::io(),
    }
}
