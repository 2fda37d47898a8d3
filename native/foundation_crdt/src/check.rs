//! Finding what only one of two replicas has removed: sums over ranges of dots, in the manner of range-based set
//! reconciliation (Meyer, 2022).
//!
//! What was added is found by the contexts alone. A removal leaves nothing but a dot that was seen and is not live, so two
//! replicas that have seen the same compare their live dots: ranges whose sums differ are cut into parts, and short
//! ones are told as runs of live dots.

use crate::Error;
use crate::context::Runs;
use crate::message::{self, Message, Writer};
use crate::shard::Shard;
use crate::tree::Dot;

/// Parts that a range is cut into.
const PARTS: usize = 16;
/// Runs of live dots up to which a range is told as it is, and dots that are looked through for that.
const FEW: usize = 64;
const SHORT: usize = 4096;

/// A range of one replica's dots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) id: u64,
    low: u64,
    high: u64,
}

impl Range {
    pub(crate) fn read(message: &mut Message<'_>) -> Result<Self, Error> {
        let id = message.id()?;
        let low = message.number()?;
        let high = low.checked_add(message.number()?).ok_or(Error::Malformed)?;
        Ok(Range { id, low, high })
    }

    fn put(self, message: &mut Writer) {
        message.id(self.id);
        message.number(self.low);
        message.number(self.high - self.low);
    }
}

impl Shard {
    /// Sums over all live dots, for another to compare.
    pub(crate) fn put_checks(&self, message: &mut Writer, shard: usize) {
        for replica in self.replicas.iter().filter(|replica| !replica.seen.is_empty()) {
            let range = Range {
                id: replica.id,
                low: 1,
                high: replica.seen.max(),
            };
            self.put_parts(message, shard, range);
        }
    }

    fn put_parts(&self, message: &mut Writer, shard: usize, range: Range) {
        let Some(replica) = self.replica(range.id) else {
            return;
        };
        let (count, _) = replica.live.sum(range.low, range.high);
        let parts = if count <= FEW { 1 } else { PARTS };
        for (low, high) in replica.live.cut(range.low, range.high, parts) {
            message.item(message::CHECK, shard);
            Range { low, high, ..range }.put(message);
            let (count, sum) = replica.live.sum(low, high);
            message.number(count as u64);
            message.word(sum);
        }
    }

    /// Answers a sum that another has made of that range.
    pub(crate) fn answer_check(
        &self,
        message: &mut Writer,
        shard: usize,
        range: Range,
        count: u64,
        sum: u64,
    ) {
        let mine = self
            .replica(range.id)
            .map_or((0, 0), |replica| replica.live.sum(range.low, range.high));
        if mine == (count as usize, sum) {
            return;
        }
        if mine.0 <= SHORT && self.told(range).1.len() <= FEW {
            self.put_live(message, shard, range, true);
        } else {
            self.put_parts(message, shard, range);
        }
    }

    fn put_live(&self, message: &mut Writer, shard: usize, range: Range, answer: bool) {
        message.item(message::LIVE, shard);
        range.put(message);
        message.number(u64::from(answer));
        let (seen, live) = self.told(range);
        message.runs(&seen);
        message.runs(&live);
    }

    fn told(&self, range: Range) -> (Runs, Runs) {
        let mut live = Runs::default();
        let Some(replica) = self.replica(range.id) else {
            return (live.clone(), live);
        };
        for (counter, _) in replica.live.range(range.low, range.high) {
            live.insert(counter);
        }
        (replica.seen.clip(range.low, range.high), live)
    }

    /// Takes away what the other has seen go; answers with what is live here where the other has yet to do so. The dots
    /// that went.
    pub(crate) fn join_live(
        &mut self,
        message: &mut Writer,
        shard: usize,
        range: Range,
        answer: bool,
        (seen, live): (&Runs, &Runs),
    ) -> Vec<Dot> {
        let Some(replica) = self.replicas.iter().position(|replica| replica.id == range.id) else {
            return Vec::new();
        };
        let known = &self.replicas[replica];
        let replica = replica as u32;
        let dead: Vec<(Dot, u32)> = known
            .live
            .range(range.low, range.high)
            .filter(|(counter, _)| seen.contains(*counter) && !live.contains(*counter))
            .map(|(counter, at)| (Dot { replica, counter }, at))
            .collect();
        for (dot, at) in &dead {
            self.drop_dot(*dot, *at);
        }
        let (mine_seen, mine_live) = self.told(range);
        let theirs_dead = live.without(&mine_live);
        let news = theirs_dead
            .iter()
            .any(|(low, high)| !mine_seen.clip(low, high).is_empty());
        if answer && news {
            self.put_live(message, shard, range, false);
        }
        dead.into_iter().map(|(dot, _)| dot).collect()
    }
}
