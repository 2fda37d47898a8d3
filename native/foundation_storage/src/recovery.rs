//! Opening: reads every segment, cuts the torn tail, accounts for what is missing.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::disk::Disk;
use crate::format::{self, HEADER, Header, Scan, VERSION};
use crate::segment::{self, Segment};
use crate::{Damage, DamageKind, Error, OnDamage, Recovery, Torn};

/// What recovery hands to the log.
pub(crate) struct Recovered {
    pub(crate) segments: Vec<Segment>,
    /// The last segment may take more records.
    pub(crate) reuse_last: bool,
    pub(crate) salt: u32,
    pub(crate) next_seq: u64,
    pub(crate) report: Recovery,
}

struct Found {
    path: PathBuf,
    base: u64,
    header: Option<Header>,
}

struct Run<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    on_damage: OnDamage,
    salt: u32,
    out: Recovered,
    bytes: Vec<u8>,
    /// Bytes that were taken off the end of `bytes` because the last group was torn.
    torn: u64,
}

/// Reads the log in `dir`, giving every record to `replay` in order.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    on_damage: OnDamage,
    replay: &mut dyn FnMut(u64, &[u8]),
) -> Result<Recovered, Error> {
    let started = Instant::now();
    let mut bytes = Vec::new();
    let found = find(disk, dir, &mut bytes)?;
    let known = found
        .iter()
        .find_map(|found| found.header.map(|header| header.salt));
    let salt = known.unwrap_or_else(|| RandomState::new().hash_one(dir) as u32);
    let first = found.first().map_or(1, |found| found.base);
    let report = Recovery {
        first_seq: first,
        next_seq: first,
        ..Recovery::default()
    };
    let out = Recovered {
        segments: Vec::new(),
        reuse_last: false,
        salt,
        next_seq: first,
        report,
    };
    let mut run = Run {
        disk,
        dir,
        on_damage,
        salt,
        out,
        bytes,
        torn: 0,
    };
    if on_damage == OnDamage::Fail {
        run.check_only(&found)?;
    }
    run.walk(&found, replay)?;
    let mut out = run.out;
    out.report.segments = out.segments.len();
    out.report.records = out.segments.iter().map(|segment| segment.records).sum();
    out.report.bytes = out.segments.iter().map(|segment| segment.bytes).sum();
    out.report.next_seq = out.next_seq;
    out.report.took = started.elapsed();
    Ok(out)
}

/// Lists the segments in order, after deleting what an interrupted compaction or rotation left.
fn find(disk: &dyn Disk, dir: &Path, bytes: &mut Vec<u8>) -> Result<Vec<Found>, Error> {
    let names = disk.list(dir).map_err(|error| Error::io("list", dir, error))?;
    let mut found = Vec::new();
    for name in names {
        let path = dir.join(&name);
        if name.ends_with(segment::TEMPORARY) {
            disk.remove(&path)
                .map_err(|error| Error::io("delete", &path, error))?;
        } else if let Some(base) = segment::base_of(&name) {
            disk.read_start(&path, HEADER, bytes)
                .map_err(|error| Error::io("read", &path, error))?;
            let header = Header::decode(bytes).filter(|header| header.base == base);
            if let Some(header) = header
                && header.version > VERSION
            {
                return Err(Error::Version {
                    path,
                    found: header.version,
                    supported: VERSION,
                });
            }
            found.push(Found { path, base, header });
        }
    }
    found.sort_by_key(|found| found.base);
    drop_covered(disk, found)
}

/// A compaction that merged segments deletes its sources after its result is in place; a crash between the
/// two leaves sources whose range the result covers.
fn drop_covered(disk: &dyn Disk, found: Vec<Found>) -> Result<Vec<Found>, Error> {
    let mut kept = Vec::with_capacity(found.len());
    let mut covered = 0;
    for item in found {
        if item.base < covered {
            disk.remove(&item.path)
                .map_err(|error| Error::io("delete", &item.path, error))?;
            continue;
        }
        if let Some(compacted) = item.header.and_then(|header| header.compacted) {
            covered = compacted.end;
        }
        kept.push(item);
    }
    Ok(kept)
}

impl Run<'_> {
    /// Finds damage without changing anything and without replaying.
    fn check_only(&mut self, found: &[Found]) -> Result<(), Error> {
        for (index, item) in found.iter().enumerate() {
            let after = found.get(index + 1).map(|item| item.base);
            let scan = self.scan(item, after, &mut |_, _| {})?;
            let unborn = after.is_none() && scan.records == 0 && self.is_unborn(item);
            match damage_of(item, &scan, after).into_iter().next() {
                Some(damage) if !unborn => return Err(Error::Damaged(Box::new(damage))),
                _ => {}
            }
        }
        Ok(())
    }

    fn walk(&mut self, found: &[Found], replay: &mut dyn FnMut(u64, &[u8])) -> Result<(), Error> {
        for (index, item) in found.iter().enumerate() {
            let after = found.get(index + 1).map(|item| item.base);
            if self.on_damage == OnDamage::Stop && self.stops_here(item, after)? {
                return self.stop(&found[index..], replay);
            }
            let scan = self.scan(item, after, replay)?;
            if after.is_none() && scan.records == 0 && self.is_unborn(item) {
                return self.drop_unborn(&item.path);
            }
            let damage = damage_of(item, &scan, after);
            self.keep(item, &scan, after, &damage)?;
            self.out.report.damage.extend(damage);
        }
        Ok(())
    }

    fn scan(
        &mut self,
        item: &Found,
        after: Option<u64>,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<Scan, Error> {
        self.disk
            .read(&item.path, &mut self.bytes)
            .map_err(|error| Error::io("read", &item.path, error))?;
        let torn = item.header.filter(|_| after.is_none());
        let torn = torn.and_then(|header| format::torn_group(&self.bytes, &header));
        self.torn = torn.map_or(0, |at| self.bytes.len() as u64 - at);
        self.bytes.truncate(self.bytes.len() - self.torn as usize);
        let compacted = item.header.and_then(|header| header.compacted);
        let before = after
            .unwrap_or(u64::MAX)
            .min(compacted.map_or(u64::MAX, |compacted| compacted.end));
        Ok(format::scan(
            &self.bytes,
            item.base,
            self.salt,
            before,
            compacted.is_some(),
            visit,
        ))
    }

    /// A file whose header never reached the disk: the process died while making it.
    fn is_unborn(&self, item: &Found) -> bool {
        item.header.is_none() && (self.bytes.len() < HEADER || self.bytes.iter().all(|&byte| byte == 0))
    }

    fn drop_unborn(&mut self, path: &Path) -> Result<(), Error> {
        if self.bytes.iter().any(|&byte| byte != 0) {
            let (segment, bytes) = (path.to_path_buf(), self.bytes.len() as u64);
            self.out.report.torn = Some(Torn {
                segment,
                offset: 0,
                bytes,
                whole_record: false,
            });
        }
        self.disk
            .remove(path)
            .map_err(|error| Error::io("delete", path, error))
    }

    /// Takes a segment into the log; cuts the torn tail of the last one.
    fn keep(
        &mut self,
        item: &Found,
        scan: &Scan,
        after: Option<u64>,
        damage: &[Damage],
    ) -> Result<(), Error> {
        let mut bytes = self.bytes.len() as u64;
        if let (None, Some(Header { compacted: None, .. })) = (after, item.header) {
            if bytes + self.torn > scan.end {
                self.cut(&item.path, scan.end)?;
                bytes = scan.end;
            }
            if scan.tail + self.torn > 0 {
                let (segment, whole_record) = (item.path.clone(), scan.tail_is_whole);
                self.out.report.torn = Some(Torn {
                    segment,
                    offset: scan.end,
                    bytes: scan.tail + self.torn,
                    whole_record,
                });
            }
            let same = item.header.is_some_and(|header| header.version == VERSION);
            self.out.reuse_last = damage.is_empty() && same;
        }
        let plain = matches!(item.header, Some(Header { compacted: None, .. }));
        if after.is_some() && plain && damage.is_empty() && bytes > scan.end {
            // Records that a truncation took out: they must not count again when the segment behind is deleted.
            self.cut(&item.path, scan.end)?;
            bytes = scan.end;
        }
        self.out.next_seq = end_of(item, scan, after);
        self.out.segments.push(Segment {
            path: item.path.clone(),
            base: item.base,
            end: self.out.next_seq,
            records: scan.records,
            bytes,
            // Its age is unknown without a header: it counts from now, so that nothing goes too early.
            created_ms: item
                .header
                .map_or_else(segment::now_ms, |header| header.created_ms),
        });
        Ok(())
    }

    fn cut(&self, path: &Path, len: u64) -> Result<(), Error> {
        let cut = self
            .disk
            .open(path)
            .and_then(|file| file.set_len(len).and_then(|()| file.sync()));
        cut.map_err(|error| Error::io("cut the torn tail of", path, error))
    }

    fn stops_here(&mut self, item: &Found, after: Option<u64>) -> Result<bool, Error> {
        let scan = self.scan(item, after, &mut |_, _| {})?;
        let unborn = after.is_none() && scan.records == 0 && self.is_unborn(item);
        Ok(!unborn && !damage_of(item, &scan, after).is_empty())
    }

    /// Keeps the good start of the first segment of `rest` and sets everything behind it aside.
    fn stop(&mut self, rest: &[Found], replay: &mut dyn FnMut(u64, &[u8])) -> Result<(), Error> {
        let Some((item, later)) = rest.split_first() else {
            return Ok(());
        };
        let after = later.first().map(|found| found.base);
        let scan = self.scan(item, after, &mut |_, _| {})?;
        self.out.report.damage.extend(damage_of(item, &scan, after));
        for found in later.iter().rev() {
            self.set_aside(&found.path)?;
        }
        self.scan(item, after, &mut |_, _| {})?;
        let good_end = scan.gaps.first().map_or(scan.end, |gap| gap.offset);
        if item.header.is_none_or(|header| header.compacted.is_some()) {
            return self.set_aside(&item.path);
        }
        let aside = aside(&item.path);
        let copied = self.disk.create(&aside).and_then(|file| {
            file.write_at(&self.bytes, 0)?;
            file.sync()
        });
        copied.map_err(|error| Error::io("set aside", &aside, error))?;
        self.out.report.set_aside.push(aside);
        self.cut(&item.path, good_end)?;
        let scan = self.scan(item, None, replay)?;
        self.keep(item, &scan, None, &[])
    }

    fn set_aside(&mut self, path: &Path) -> Result<(), Error> {
        let aside = aside(path);
        let moved = self
            .disk
            .rename(path, &aside)
            .and_then(|()| self.disk.sync_dir(self.dir));
        moved.map_err(|error| Error::io("set aside", path, error))?;
        self.out.report.set_aside.push(aside);
        Ok(())
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(segment::ASIDE);
    PathBuf::from(name)
}

/// The sequence after the last one this segment stands for.
fn end_of(item: &Found, scan: &Scan, after: Option<u64>) -> u64 {
    let compacted = item.header.and_then(|header| header.compacted);
    after
        .or(compacted.map(|compacted| compacted.end))
        .unwrap_or_else(|| open_end(item, scan))
}

/// The end of a last segment. Without a header only its size bounds how many records may have been in it, and
/// their sequences are not given again.
fn open_end(item: &Found, scan: &Scan) -> u64 {
    match item.header {
        Some(_) => scan.next,
        None => (scan.next + scan.tail / format::FRAME as u64).max(item.base + 1),
    }
}

/// Everything that is lost in a segment.
fn damage_of(item: &Found, scan: &Scan, after: Option<u64>) -> Vec<Damage> {
    let place = |kind, offset, bytes, missing| Damage {
        kind,
        segment: item.path.clone(),
        offset,
        bytes,
        missing,
    };
    let mut out = Vec::new();
    for gap in &scan.gaps {
        out.push(place(
            DamageKind::Checksum,
            gap.offset,
            gap.bytes,
            gap.from..gap.to,
        ));
    }
    let end = end_of(item, scan, after);
    let lost_end = match item.header.map(|header| header.compacted) {
        None => {
            out.push(place(DamageKind::Header, 0, HEADER as u64, scan.next..end));
            None
        }
        Some(Some(compacted)) if scan.tail > 0 || scan.len < compacted.bytes => Some(scan.next),
        Some(Some(compacted)) if compacted.end < end => Some(compacted.end),
        Some(None) if scan.next < end => Some(scan.next),
        Some(_) => None,
    };
    out.extend(lost_end.map(|from| place(DamageKind::Truncated, scan.end, scan.tail, from..end)));
    out
}
