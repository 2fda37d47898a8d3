//! Taking the newest records out again, as a consensus log must when another leader's records replace them.
//!
//! At each moment what is on the disk is a log without its newest records, so a crash leaves more or fewer of them,
//! never a hole. The segments behind the cut are deleted, the newest first; then a new segment begins at the cut, and
//! its base says that what an older segment holds from there on does not count.

use std::sync::atomic::Ordering;

use crate::format::Header;
use crate::log::{Inner, Log};
use crate::segment::Segment;
use crate::writer::Writer;
use crate::{Error, format};

impl Log {
    /// Takes every record from sequence `from` on out of the log; the next record gets `from`, or the first sequence
    /// of the log when that is later. Answers how many records that were. What was appended before the call and is
    /// still on its way is written first. Durable when it returns, whatever the policy. O(segments deleted + the
    /// segment that is cut).
    ///
    /// # Errors
    /// `NotWritable`, `NoSpace`, `Sync`, `Io`: the newest records are out of the log, not necessarily all that were
    /// to go (`next_seq` says), and until the next success a crash may bring them back. The log stays usable.
    pub fn truncate_from(&self, from: u64) -> Result<u64, Error> {
        self.flush()?;
        let inner = self.inner();
        let _files = inner.files.write();
        let mut writer = inner.writer.lock();
        writer.sync()?;
        inner.trim()?;
        let from = from.max(self.first_seq());
        if from >= writer.next_seq() {
            return writer.restart().map(|()| 0);
        }
        let before = inner.records(&writer);
        let cut = inner
            .drop_segments(&mut writer, from)
            .and_then(|()| inner.cut_boundary(&mut writer, from))
            .and_then(|()| writer.restart())
            .and_then(|()| inner.trim());
        let next = writer.next_seq();
        inner.shared.counts.next_seq.store(next, Ordering::Release);
        cut.map(|()| before - inner.records(&writer))
    }
}

impl Inner {
    fn records(&self, writer: &Writer) -> u64 {
        let sealed = self.shared.sealed.lock();
        sealed.iter().map(|segment| segment.records).sum::<u64>() + writer.active().records
    }

    /// Cuts what is left behind the records of segments that were cut before. Once the segment behind such a one is
    /// deleted, nothing else says that those bytes do not count.
    fn trim(&self) -> Result<(), Error> {
        let mut untrimmed = self.shared.untrimmed.lock();
        while let Some(base) = untrimmed.last() {
            // It may have been deleted, or rewritten and be as long as it should: its figures are those of now.
            let sealed = self.shared.sealed.lock();
            let segment = sealed.iter().find(|segment| segment.base == *base).cloned();
            drop(sealed);
            if let Some(Segment { path, bytes, .. }) = segment {
                let file = self.shared.disk.open(&path);
                file.and_then(|file| file.set_len(bytes).and_then(|()| file.sync()))
                    .map_err(|error| Error::io("cut", &path, error))?;
            }
            untrimmed.pop();
        }
        Ok(())
    }

    /// Deletes the segments that begin behind the cut, the newest first. One that begins at the cut stays until its
    /// successor takes its name: a directory without any name would start at sequence 1 again.
    fn drop_segments(&self, writer: &mut Writer, from: u64) -> Result<(), Error> {
        if writer.base() >= from {
            // After an earlier failure this may be a leftover, or not be there.
            self.delete(&writer.active(), from, writer.is_lost())?;
            writer.lose(writer.base());
        }
        loop {
            let last = self.shared.sealed.lock().last().cloned();
            let Some(last) = last.filter(|segment| segment.base >= from) else {
                return Ok(());
            };
            self.delete(&last, from, false)?;
            self.shared.sealed.lock().pop();
            writer.lose(last.base);
        }
    }

    fn delete(&self, segment: &Segment, from: u64, may_be_gone: bool) -> Result<(), Error> {
        if segment.base == from {
            return Ok(());
        }
        let path = &segment.path;
        match self.shared.disk.remove(path) {
            Err(error) if may_be_gone && error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|error| Error::io("delete", path, error)),
        }
    }

    /// Has the last segment that is left end at the cut.
    fn cut_boundary(&self, writer: &mut Writer, from: u64) -> Result<(), Error> {
        let sealed = self.shared.sealed.lock().last().cloned();
        let last = match writer.is_lost() {
            true => sealed.filter(|segment| segment.end > from),
            false => Some(writer.active()),
        };
        let Some(last) = last else {
            writer.lose(from);
            return Ok(());
        };
        let (cut, compacted) = self.cut_of(&last, from)?;
        if compacted {
            // Its header says how far it reaches, and would swallow a segment that begins before that.
            self.end_compacted(&last, from)?;
        } else {
            let mut sealed = self.shared.sealed.lock();
            if writer.is_lost() {
                sealed.pop();
            }
            self.shared.untrimmed.lock().push(cut.base);
            sealed.push(cut);
        }
        writer.lose(from);
        Ok(())
    }

    /// What is left of a segment, and whether it is a compacted one.
    fn cut_of(&self, segment: &Segment, from: u64) -> Result<(Segment, bool), Error> {
        let mut bytes = Vec::new();
        let path = &segment.path;
        self.shared
            .disk
            .read(path, &mut bytes)
            .map_err(|error| Error::io("read", path, error))?;
        bytes.truncate(usize::try_from(segment.bytes).unwrap_or(usize::MAX));
        let compacted = Header::decode(&bytes).and_then(|header| header.compacted);
        let salt = self.shared.salt;
        let scan = format::scan(
            &bytes,
            segment.base,
            salt,
            from,
            compacted.is_some(),
            &mut |_, _| {},
        );
        let cut = Segment {
            end: from,
            records: scan.records,
            bytes: scan.end,
            ..segment.clone()
        };
        Ok((cut, compacted.is_some()))
    }
}
