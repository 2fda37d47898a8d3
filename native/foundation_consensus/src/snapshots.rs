//! Snapshots: what they hold, and their files. A file is written whole under another name before it gets its own, so
//! that there is always the old snapshot or the new one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use foundation_storage::disk::Disk;
use parking_lot::Mutex;

use crate::codec::{Malformed, Reader, put_bytes, put_optional_log_id, put_stored_membership};
use crate::error::invalid_data;
use crate::sessions::Sessions;
use crate::types::{Name, Snapshot, SnapshotMeta, StoredMembership};

const MAGIC: &[u8; 8] = b"FNDTNSNP";
const VERSION: u8 = 1;
const ENDING: &str = ".snapshot";

/// What a group's state comes down to, apart from the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) last: Option<crate::types::LogId>,
    pub(crate) membership: StoredMembership,
    pub(crate) time_ms: u64,
    pub(crate) sessions: Sessions,
    pub(crate) machine: Bytes,
}

impl Content {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.machine.len() + 1_024);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        put_optional_log_id(&mut out, self.last.as_ref());
        put_stored_membership(&mut out, &self.membership);
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        self.sessions.put(&mut out);
        put_bytes(&mut out, &self.machine);
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out.into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, &'static str> {
        let end = bytes.len().checked_sub(4).ok_or("it is too short")?;
        let sum = Reader(bytes.slice(end..))
            .u32()
            .map_err(|Malformed| "it is too short")?;
        if crc32c::crc32c(&bytes[..end]) != sum {
            return Err("its checksum is wrong");
        }
        let mut reader = Reader(bytes.slice(..end));
        Self::read(&mut reader).map_err(|Malformed| "it is malformed")?
    }

    fn read(reader: &mut Reader) -> Result<Result<Self, &'static str>, Malformed> {
        if reader.take(8)?.as_ref() != MAGIC {
            return Ok(Err("it is no snapshot"));
        }
        if reader.u8()? != VERSION {
            return Ok(Err("it was written by a later version"));
        }
        Ok(Ok(Content {
            last: reader.optional_log_id()?,
            membership: reader.stored_membership()?,
            time_ms: reader.u64()?,
            sessions: Sessions::read(reader)?,
            machine: reader.bytes()?,
        }))
    }

    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.last,
            last_membership: self.membership.clone(),
        }
    }
}

/// The snapshots of one group: the newest one counts.
pub(crate) struct Snapshots {
    /// `None` in memory.
    place: Option<Place>,
    current: Mutex<Option<(SnapshotMeta, Bytes)>>,
    /// One is stored at a time.
    storing: Mutex<()>,
}

struct Place {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// What the names of the files of this group begin with.
    prefix: String,
}

impl Snapshots {
    pub(crate) fn new(place: Option<(Arc<dyn Disk>, PathBuf)>, group: &Name) -> Self {
        let place = place.map(|(disk, dir)| Place {
            disk,
            dir,
            prefix: format!("{}-", file_name(group.as_str())),
        });
        Snapshots {
            place,
            current: Mutex::default(),
            storing: Mutex::default(),
        }
    }

    /// Finds the newest snapshot on the disk.
    pub(crate) fn load(&self) -> Result<Option<Content>, (PathBuf, String)> {
        let Some(place) = &self.place else {
            let current = self.current.lock().clone();
            let content = current.and_then(|(_, bytes)| Content::decode(&bytes).ok());
            return Ok(content);
        };
        let broken = |path: PathBuf| move |what: io::Error| (path, what.to_string());
        place
            .disk
            .create_dir(&place.dir)
            .map_err(broken(place.dir.clone()))?;
        let Some((_, name)) = place.files().map_err(broken(place.dir.clone()))?.pop() else {
            return Ok(None);
        };
        let path = place.dir.join(name);
        let mut bytes = Vec::new();
        place.disk.read(&path, &mut bytes).map_err(broken(path.clone()))?;
        let bytes = Bytes::from(bytes);
        let content = Content::decode(&bytes).map_err(|what| (path, what.to_owned()))?;
        *self.current.lock() = Some((content.meta(), bytes));
        Ok(Some(content))
    }

    /// The newest snapshot.
    pub(crate) fn current(&self) -> Option<Snapshot> {
        let current = self.current.lock().clone();
        current.map(|(meta, snapshot)| Snapshot { meta, snapshot })
    }

    /// Makes this the newest snapshot; it is on the disk when this returns. Older than the newest, it is dropped.
    pub(crate) fn store(&self, meta: SnapshotMeta, bytes: Bytes) -> io::Result<()> {
        let _one = self.storing.lock();
        let newest = self
            .current
            .lock()
            .as_ref()
            .and_then(|(meta, _)| meta.last_log_id);
        if newest.is_some() && newest > meta.last_log_id {
            return Ok(());
        }
        if let Some(place) = &self.place {
            place.write(meta.last_log_id.as_ref().map_or(0, |id| id.index()), &bytes)?;
        }
        *self.current.lock() = Some((meta, bytes));
        Ok(())
    }

    /// Deletes all of them.
    pub(crate) fn remove(&self) -> io::Result<()> {
        *self.current.lock() = None;
        let Some(place) = &self.place else {
            return Ok(());
        };
        place.disk.create_dir(&place.dir)?;
        for (_, name) in place.files()? {
            place.disk.remove(&place.dir.join(name))?;
        }
        place.disk.sync_dir(&place.dir)
    }
}

impl Place {
    /// The snapshots of the group, the newest last.
    fn files(&self) -> io::Result<Vec<(u64, String)>> {
        let mut files: Vec<(u64, String)> = self
            .disk
            .list(&self.dir)?
            .into_iter()
            .filter_map(|name| {
                let index = name.strip_prefix(&self.prefix)?.strip_suffix(ENDING)?;
                Some((u64::from_str_radix(index, 16).ok()?, name))
            })
            .collect();
        files.sort();
        Ok(files)
    }

    fn write(&self, index: u64, bytes: &[u8]) -> io::Result<()> {
        let name = format!("{}{index:016x}{ENDING}", self.prefix);
        let (path, temporary) = (self.dir.join(&name), self.dir.join(format!("{name}.new")));
        let file = self.disk.create(&temporary)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        self.disk.rename(&temporary, &path)?;
        self.disk.sync_dir(&self.dir)?;
        for (_, older) in self.files()?.into_iter().filter(|(_, other)| *other != name) {
            // It is only in the way, and the next snapshot tries again.
            if let Err(error) = self.disk.remove(&self.dir.join(&older)) {
                tracing::warn!("the snapshot {older} could not be deleted: {error}");
            }
        }
        Ok(())
    }
}

/// The group's name as a file name: letters, digits and `_` as they are, other bytes as `%xx`. Long ones are cut, and
/// told apart by their checksum.
fn file_name(group: &str) -> String {
    let mut name = String::new();
    for byte in group.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => name.push(byte as char),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > 150 {
        name.truncate(150);
        name.push_str(&format!("%{:08x}", crc32c::crc32c(group.as_bytes())));
    }
    name
}

/// A file that was not decoded, as Raft wants to hear of it.
pub(crate) fn refused(what: &str) -> io::Error {
    invalid_data(format!("a snapshot: {what}"))
}
