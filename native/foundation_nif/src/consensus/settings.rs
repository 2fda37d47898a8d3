//! What an engine and a group are told, from maps.

use super::clock::SharedClock;
use foundation_consensus::{EngineConfig, GroupConfig};
use rustler::{Atom, Decoder, Error, NifResult, Term};
use std::sync::Arc;
use std::time::Duration;

mod atoms {
    rustler::atoms! {
        me, dir, sync, heartbeat_ms, election_min_ms, election_max_ms,
        max_in_flight, max_command, snapshot_entries,
    }
}

/// The most members a group can be told of.
pub(super) const MAX_MEMBERS: usize = 1_024;

fn field<'a, T: Decoder<'a>>(map: Term<'a>, name: Atom) -> NifResult<T> {
    map.map_get(name)?.decode()
}

fn millis(map: Term<'_>, name: Atom) -> NifResult<Duration> {
    field::<u32>(map, name).map(|ms| Duration::from_millis(ms.into()))
}

/// What `consensus_start` is told.
pub(super) fn engine(map: Term<'_>, clock: &Arc<SharedClock>) -> NifResult<EngineConfig> {
    let dir = map.map_get(atoms::dir())?;
    let me: &str = field(map, atoms::me())?;
    let mut config = EngineConfig::new(me);
    config.dir = if dir.is_atom() {
        None
    } else {
        Some(dir.decode::<&str>()?.into())
    };
    config.sync = field(map, atoms::sync())?;
    config.heartbeat = millis(map, atoms::heartbeat_ms())?;
    config.election_min = millis(map, atoms::election_min_ms())?;
    config.election_max = millis(map, atoms::election_max_ms())?;
    config.clock = Arc::clone(clock) as _;
    Ok(config)
}

/// The names in a list.
pub(super) fn names(list: Term<'_>) -> NifResult<Vec<String>> {
    let names = crate::term::list(list, MAX_MEMBERS)?;
    names.into_iter().map(|name| name.decode()).collect()
}

/// What `consensus_group_start` is told.
pub(super) fn group(name: &str, members: Term<'_>, map: Term<'_>) -> NifResult<GroupConfig> {
    if name.is_empty() {
        return Err(Error::BadArg);
    }
    let mut config = GroupConfig::new(name, names(members)?);
    config.max_in_flight = field::<u32>(map, atoms::max_in_flight())? as usize;
    config.max_command = field::<u32>(map, atoms::max_command())? as usize;
    config.snapshot_entries = field(map, atoms::snapshot_entries())?;
    Ok(config)
}
