//! The few operations the log asks of a file system, so that tests can put a failing or crashing one in its place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file open for writing at positions.
pub trait DiskFile: Send + Sync {
    /// Writes all bytes at the offset, growing the file when needed. May have written a part when it fails.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when the content and the length of the file are on the disk.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends (with zeroes) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Makes the directory and its parents where they are missing.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in the directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Takes the directory for one opener, until the answer is dropped. `WouldBlock` when it is taken.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
    /// The process that holds the lock, as far as known.
    fn lock_holder(&self, path: &Path) -> Option<u32>;
    /// Makes an empty file, replacing what had the name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Reads the whole file into the buffer, replacing what was there.
    fn read(&self, path: &Path, into: &mut Vec<u8>) -> io::Result<()>;
    /// Reads at most `bytes` from the start of the file into the buffer, replacing what was there.
    fn read_start(&self, path: &Path, bytes: usize, into: &mut Vec<u8>) -> io::Result<()>;
    /// Renames, replacing what had the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names in the directory are on the disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

struct LocalFile(File);

impl DiskFile for LocalFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

impl Disk for LocalDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The holder's id serves only the message of a later opener: a full disk must not keep the log shut.
        let _ = file
            .set_len(0)
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Box::new(file))
    }

    fn lock_holder(&self, path: &Path) -> Option<u32> {
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Box::new(LocalFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(LocalFile(OpenOptions::new().write(true).open(path)?)))
    }

    fn read(&self, path: &Path, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        File::open(path)?.read_to_end(into).map(|_| ())
    }

    fn read_start(&self, path: &Path, bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        File::open(path)?.take(bytes as u64).read_to_end(into).map(|_| ())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}
