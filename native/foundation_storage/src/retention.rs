//! Getting rid of records: by whole segments, or by rewriting segments without the records nobody needs.

use std::sync::atomic::Ordering;

use crate::format::{self, Compacted, HEADER, Header, VERSION};
use crate::log::{Inner, Log};
use crate::segment::{self, Segment};
use crate::{Error, Retired};

impl Log {
    /// Deletes the oldest segments until `Options::retention` holds. Runs by itself too: when a segment is
    /// closed, and every ten seconds.
    ///
    /// # Errors
    /// `NotWritable`, `Io`: fewer segments than wanted are gone, the log is whole.
    pub fn retain(&self) -> Result<Retired, Error> {
        self.inner().retain_at(segment::now_ms())
    }

    /// `retain` with another idea of the present time, in milliseconds since 1970.
    ///
    /// # Errors
    /// As `retain`.
    pub fn retain_at(&self, now_ms: u64) -> Result<Retired, Error> {
        self.inner().retain_at(now_ms)
    }

    /// Deletes the segments that hold only records before `seq`. The active segment stays.
    ///
    /// # Errors
    /// As `retain`.
    pub fn retire_before(&self, seq: u64) -> Result<Retired, Error> {
        let inner = self.inner();
        let _files = inner.files.write();
        let count = inner
            .shared
            .sealed
            .lock()
            .iter()
            .take_while(|segment| segment.end <= seq)
            .count();
        inner.delete_oldest(count)
    }

    /// Gives every record in the log that is appended before this call to `f`, from sequence `from` on, until
    /// it answers false. Damaged records are left out, as at recovery.
    ///
    /// # Errors
    /// `Io`, and those of `flush`.
    pub fn read(&self, from: u64, f: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), Error> {
        self.flush()?;
        let inner = self.inner();
        let _files = inner.files.read();
        let mut bytes = Vec::new();
        let mut more = true;
        for segment in inner.segments().iter().filter(|segment| segment.end > from) {
            inner.scan(segment, &mut bytes, &mut |seq, payload| {
                more = more && (seq < from || f(seq, payload));
            })?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Rewrites the log without the records for which `keep` answers false. Everything appended before the
    /// call is offered; appends go on meanwhile. Small neighbours are merged. Each rewritten segment takes its
    /// place by a rename after it is whole on the disk, so that a crash leaves the old or the new, never a mix.
    ///
    /// # Errors
    /// `NoSpace`, `NotWritable`, `Sync`, `Io`: segments not yet rewritten are as before.
    pub fn compact(&self, keep: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<Retired, Error> {
        self.rotate()?;
        let inner = self.inner();
        let _files = inner.files.write();
        let sources = inner.shared.sealed.lock().clone();
        let before: u64 = sources.iter().map(|segment| segment.bytes).sum();
        let records: u64 = sources.iter().map(|segment| segment.records).sum();
        inner.rewrite(&sources, keep)?;
        // Appends may have sealed more segments meanwhile, which are none of these.
        let behind = sources.last().map_or(0, |last| last.end);
        let mut left = inner.shared.sealed.lock().clone();
        left.retain(|segment| segment.base < behind);
        let sum = |of: fn(&Segment) -> u64| left.iter().map(of).sum::<u64>();
        Ok(Retired {
            segments: sources.len().saturating_sub(left.len()),
            records: records.saturating_sub(sum(|segment| segment.records)),
            bytes: before.saturating_sub(sum(|segment| segment.bytes)),
            first_seq: self.first_seq(),
        })
    }
}

/// A segment being rewritten.
struct Output {
    bytes: Vec<u8>,
    records: u64,
    dropped: u64,
}

impl Output {
    fn new() -> Self {
        Output {
            bytes: vec![0; HEADER],
            records: 0,
            dropped: 0,
        }
    }
}

impl Inner {
    /// Retention on the thread of the log.
    pub(crate) fn retain_quietly(&self) {
        if self.shared.options.retention.is_bounded()
            && let Err(error) = self.retain_at(segment::now_ms())
        {
            tracing::warn!("retention of the log in {:?}: {error}", self.shared.dir);
        }
    }

    fn retain_at(&self, now_ms: u64) -> Result<Retired, Error> {
        let bounds = self.shared.options.retention;
        self.rotate_aged(now_ms)?;
        let _files = self.files.write();
        let all = self.segments();
        let mut bytes: u64 = all.iter().map(|segment| segment.bytes).sum();
        let mut records: u64 = all.iter().map(|segment| segment.records).sum();
        let mut count = 0;
        for (segment, next) in all.iter().zip(all.iter().skip(1)) {
            // No record of a segment is younger than the segment behind it.
            let aged = bounds
                .max_age_ms
                .is_some_and(|age| next.created_ms.saturating_add(age) < now_ms);
            let over = bounds.max_bytes.is_some_and(|max| bytes > max)
                || bounds.max_records.is_some_and(|max| records > max)
                || bounds
                    .max_segments
                    .is_some_and(|max| all.len() - count > max.max(1));
            if !aged && !over {
                break;
            }
            bytes -= segment.bytes;
            records -= segment.records;
            count += 1;
        }
        self.delete_oldest(count)
    }

    /// Closes an active segment that reaches back further than the age allowed, so that its time comes.
    fn rotate_aged(&self, now_ms: u64) -> Result<(), Error> {
        let Some(age) = self.shared.options.retention.max_age_ms else {
            return Ok(());
        };
        let mut writer = self.writer.lock();
        if writer.active().created_ms.saturating_add(age) < now_ms {
            writer.rotate()?;
        }
        Ok(())
    }

    /// Deletes that many of the oldest closed segments. The caller holds `files`.
    fn delete_oldest(&self, count: usize) -> Result<Retired, Error> {
        let mut retired = Retired::default();
        for _ in 0..count {
            let Some(oldest) = self.shared.sealed.lock().first().cloned() else {
                break;
            };
            let path = &oldest.path;
            self.shared
                .disk
                .remove(path)
                .map_err(|error| Error::io("delete", path, error))?;
            self.shared.sealed.lock().remove(0);
            self.shared.counts.first_seq.store(oldest.end, Ordering::Release);
            retired.segments += 1;
            retired.records += oldest.records;
            retired.bytes += oldest.bytes;
        }
        if retired.segments > 0 {
            let dir = &self.shared.dir;
            self.shared
                .disk
                .sync_dir(dir)
                .map_err(|error| Error::io("sync", dir, error))?;
        }
        retired.first_seq = self.shared.counts.first_seq.load(Ordering::Acquire);
        Ok(retired)
    }

    /// Reads a segment.
    fn scan(
        &self,
        segment: &Segment,
        bytes: &mut Vec<u8>,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), Error> {
        let path = &segment.path;
        self.shared
            .disk
            .read(path, bytes)
            .map_err(|error| Error::io("read", path, error))?;
        bytes.truncate(usize::try_from(segment.bytes).unwrap_or(usize::MAX));
        let compacted = Header::decode(bytes).and_then(|header| header.compacted);
        format::scan(
            bytes,
            segment.base,
            self.shared.salt,
            segment.end,
            compacted.is_some(),
            visit,
        );
        Ok(())
    }

    /// Writes the kept records of the sources into as few segments as they need.
    fn rewrite(&self, sources: &[Segment], keep: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), Error> {
        let (mut bytes, mut part) = (Vec::new(), Vec::new());
        let (mut out, mut start) = (Output::new(), 0);
        for (index, source) in sources.iter().enumerate() {
            part.clear();
            let (mut kept, mut dropped) = (0, 0);
            self.scan(source, &mut bytes, &mut |seq, payload| {
                if keep(seq, payload) {
                    format::push_sealed(&mut part, seq, self.shared.salt, payload);
                    kept += 1;
                } else {
                    dropped += 1;
                }
            })?;
            let fits = (out.bytes.len() + part.len()) as u64 <= self.shared.options.segment_bytes;
            if index > start && !fits {
                self.place(&sources[start..index], std::mem::replace(&mut out, Output::new()))?;
                start = index;
            }
            out.bytes.extend_from_slice(&part);
            out.records += kept;
            out.dropped += dropped;
        }
        self.place(&sources[start..], out)
    }

    /// Rewrites a compacted segment so that it ends at `end`. The caller holds `files`.
    pub(crate) fn end_compacted(&self, segment: &Segment, end: u64) -> Result<(), Error> {
        let (mut bytes, mut out) = (Vec::new(), Output::new());
        self.scan(segment, &mut bytes, &mut |seq, payload| {
            if seq < end {
                format::push_sealed(&mut out.bytes, seq, self.shared.salt, payload);
                out.records += 1;
            }
        })?;
        self.place_until(std::slice::from_ref(segment), out, end)
    }

    fn place(&self, sources: &[Segment], out: Output) -> Result<(), Error> {
        let (Some(first), Some(last)) = (sources.first(), sources.last()) else {
            return Ok(());
        };
        if sources.len() == 1 && out.dropped == 0 && first.records == out.records {
            return Ok(());
        }
        self.place_until(sources, out, last.end)
    }

    fn place_until(&self, sources: &[Segment], mut out: Output, end: u64) -> Result<(), Error> {
        let first = &sources[0];
        let header = Header {
            version: VERSION,
            salt: self.shared.salt,
            base: first.base,
            // The age of a segment is judged by the one behind it, so the result is as old as its first source.
            created_ms: first.created_ms,
            compacted: Some(Compacted {
                end,
                records: out.records,
                bytes: out.bytes.len() as u64,
            }),
        };
        out.bytes[..HEADER].copy_from_slice(&header.encode());
        self.replace(sources, &out.bytes, out.records, end)
    }

    /// Puts the bytes in the place of the sources.
    fn replace(&self, sources: &[Segment], bytes: &[u8], records: u64, end: u64) -> Result<(), Error> {
        let (first, rest) = (&sources[0], &sources[1..]);
        let disk = &self.shared.disk;
        let temporary = first
            .path
            .with_extension(segment::TEMPORARY.trim_start_matches('.'));
        let written = disk.create(&temporary).and_then(|file| {
            file.write_at(bytes, 0)?;
            file.sync()?;
            disk.rename(&temporary, &first.path)?;
            disk.sync_dir(&self.shared.dir)
        });
        if let Err(error) = written {
            // Recovery deletes it when this fails.
            let _ = disk.remove(&temporary);
            return Err(Error::io("rewrite", &first.path, error));
        }
        let mut sealed = self.shared.sealed.lock();
        let behind = sources[sources.len() - 1].end;
        sealed.retain(|segment| segment.base <= first.base || segment.base >= behind);
        if let Some(entry) = sealed.iter_mut().find(|segment| segment.base == first.base) {
            *entry = Segment {
                end,
                records,
                bytes: bytes.len() as u64,
                ..first.clone()
            };
        }
        drop(sealed);
        for source in rest {
            // The new segment covers its range: a leftover is deleted by the next recovery.
            if let Err(error) = disk.remove(&source.path) {
                tracing::warn!("{:?} could not be deleted after compaction: {error}", source.path);
            }
        }
        disk.sync_dir(&self.shared.dir)
            .map_err(|error| Error::io("sync", &self.shared.dir, error))
    }
}
