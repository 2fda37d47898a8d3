//! Cursors of pages in order of time.

use crate::Error;
use crate::codec::{Reader, put_i64, put_u64};
use crate::time_index::Key;

pub(super) fn bad_cursor() -> Error {
    Error::InvalidQuery("the cursor is not one of this query".into())
}

pub(super) fn write_time_cursor(key: Key) -> Vec<u8> {
    let mut cursor = vec![b'T'];
    put_i64(&mut cursor, key.0);
    put_u64(&mut cursor, key.1);
    cursor
}

pub(super) fn read_time_cursor(bytes: &[u8]) -> Result<Key, Error> {
    let mut r = Reader::new(bytes);
    match r.byte() {
        Ok(b'T') => Ok((
            r.i64().map_err(|_| bad_cursor())?,
            r.u64().map_err(|_| bad_cursor())?,
        )),
        _ => Err(bad_cursor()),
    }
}
