//! A disk in memory that fails and loses power on command, for tests and simulation.
//!
//! It keeps apart what was written and what was synced. A power cut takes an arbitrary part of what was not
//! synced, sector by sector, and an arbitrary end of the changes of names, as file systems do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Move(PathBuf, PathBuf, usize),
}

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    contents: Vec<Content>,
    locked: BTreeSet<PathBuf>,
    capacity: Option<usize>,
    failing_syncs: u32,
    failing_writes: u32,
    read_only: bool,
}

/// A disk in memory.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

struct MemoryFile {
    state: Arc<Mutex<State>>,
    id: usize,
}

struct MemoryLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.state.lock().locked.remove(&self.path);
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds the bytes of all files; writes beyond it stop where the space ends and fail.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state.lock().capacity = bytes;
    }

    /// Makes the next so many syncs of files fail.
    pub fn fail_syncs(&self, count: u32) {
        self.state.lock().failing_syncs = count;
    }

    /// Makes the next so many writes fail after half their bytes.
    pub fn fail_writes(&self, count: u32) {
        self.state.lock().failing_writes = count;
    }

    /// Makes every change fail.
    pub fn set_read_only(&self, read_only: bool) {
        self.state.lock().read_only = read_only;
    }

    /// Bytes of all files.
    pub fn used(&self) -> usize {
        self.state.lock().used()
    }

    /// The disk as the next boot finds it. `dice` decides what survives of that which was not synced: it gets
    /// a number n and answers one below n. Handles to this disk keep working on the lost one.
    pub fn power_cut(&self, dice: &mut dyn FnMut(usize) -> usize) -> MemoryDisk {
        let state = self.state.lock();
        let kept = dice(state.unsynced_names.len() + 1);
        let mut names = state.synced_names.clone();
        for change in &state.unsynced_names[..kept] {
            match change {
                NameChange::Link(path, id) => names.insert(path.clone(), *id),
                NameChange::Unlink(path) => names.remove(path),
                NameChange::Move(from, to, id) => {
                    names.remove(from);
                    names.insert(to.clone(), *id)
                }
            };
        }
        let contents = state
            .contents
            .iter()
            .map(|content| content.survivor(dice))
            .collect();
        let next = State {
            synced_names: names.clone(),
            names,
            contents,
            ..State::default()
        };
        MemoryDisk {
            state: Arc::new(Mutex::new(next)),
        }
    }

    /// The disk as a new process finds it after the old one was killed: everything written is there.
    pub fn killed(&self) -> MemoryDisk {
        let state = self.state.lock();
        let next = State {
            names: state.names.clone(),
            synced_names: state.synced_names.clone(),
            unsynced_names: state.unsynced_names.clone(),
            contents: state.contents.clone(),
            ..State::default()
        };
        MemoryDisk {
            state: Arc::new(Mutex::new(next)),
        }
    }
}

impl Content {
    fn survivor(&self, dice: &mut dyn FnMut(usize) -> usize) -> Content {
        let mut bytes = self.synced.clone();
        for change in &self.unsynced {
            match change {
                Change::Length(_) if dice(2) == 0 => {}
                Change::Length(len) => bytes.resize(*len, 0),
                Change::Write {
                    offset,
                    bytes: written,
                } => {
                    for (index, part) in written.chunks(SECTOR).enumerate() {
                        if dice(4) > 0 {
                            put(&mut bytes, offset + index * SECTOR, part);
                        }
                    }
                }
            }
        }
        Content {
            now: bytes.clone(),
            synced: bytes,
            unsynced: Vec::new(),
        }
    }
}

fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}

impl State {
    fn used(&self) -> usize {
        self.names.values().map(|id| self.contents[*id].now.len()).sum()
    }

    fn writable(&self) -> io::Result<()> {
        if self.read_only {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        } else {
            Ok(())
        }
    }

    fn id(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, id: usize, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.writable()?;
        let offset = offset as usize;
        let grown = (offset + bytes.len()).saturating_sub(self.contents[id].now.len());
        let free = self
            .capacity
            .map_or(usize::MAX, |capacity| capacity.saturating_sub(self.used()));
        let fails = self.failing_writes > 0;
        let fit = match (fails, grown > free) {
            (true, _) => bytes.len() / 2,
            (_, true) => bytes.len().saturating_sub(grown - free),
            _ => bytes.len(),
        };
        let content = &mut self.contents[id];
        put(&mut content.now, offset, &bytes[..fit]);
        content.unsynced.push(Change::Write {
            offset,
            bytes: bytes[..fit].to_vec(),
        });
        if fails {
            self.failing_writes -= 1;
            return Err(io::Error::other("injected"));
        }
        if grown > free {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state.lock().write(self.id, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.failing_syncs > 0 {
            state.failing_syncs -= 1;
            return Err(io::Error::other("injected"));
        }
        let content = &mut state.contents[self.id];
        content.synced = content.now.clone();
        content.unsynced.clear();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.writable()?;
        let content = &mut state.contents[self.id];
        content.now.resize(len as usize, 0);
        content.unsynced.push(Change::Length(len as usize));
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.state.lock();
        state.writable()?;
        if !state.locked.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock {
            state: self.state.clone(),
            path: path.to_path_buf(),
        }))
    }

    fn lock_holder(&self, _path: &Path) -> Option<u32> {
        Some(std::process::id())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.writable()?;
        let id = state.contents.len();
        state.contents.push(Content::default());
        state.names.insert(path.to_path_buf(), id);
        state
            .unsynced_names
            .push(NameChange::Link(path.to_path_buf(), id));
        Ok(Box::new(MemoryFile {
            state: self.state.clone(),
            id,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state.lock();
        state.writable()?;
        let id = state.id(path)?;
        Ok(Box::new(MemoryFile {
            state: self.state.clone(),
            id,
        }))
    }

    fn read(&self, path: &Path, into: &mut Vec<u8>) -> io::Result<()> {
        self.read_start(path, usize::MAX, into)
    }

    fn read_start(&self, path: &Path, bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let state = self.state.lock();
        let content = &state.contents[state.id(path)?].now;
        into.clear();
        into.extend_from_slice(&content[..bytes.min(content.len())]);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.writable()?;
        let id = state.id(from)?;
        state.names.remove(from);
        state.names.insert(to.to_path_buf(), id);
        state
            .unsynced_names
            .push(NameChange::Move(from.to_path_buf(), to.to_path_buf(), id));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.writable()?;
        state.id(path)?;
        state.names.remove(path);
        state.unsynced_names.push(NameChange::Unlink(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }
}
