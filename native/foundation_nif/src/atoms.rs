//! Atoms that more than one file uses.

rustler::atoms! {
    ok,
    error,
    nil,
    closed,
    busy,
    foundation_native_log,
    debug,
    info,
    warning,
    normal,
    dirty_cpu,
    dirty_io,
}
