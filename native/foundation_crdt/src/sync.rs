//! The conversation of two replicas. Each message is answered from what the state is at that moment: nothing is remembered
//! between them, so any may be lost, repeated or come late.
//!
//! One sends the roots of its shards. For those that differ the other asks by its context for what it lacks, gets it in
//! slices, and is asked in turn. Where both have seen the same and still differ, sums over ranges find who has yet to
//! remove what.

use crate::Error;
use crate::check::Range;
use crate::context::{Context, Runs};
use crate::delta::Delta;
use crate::message::{self, Message, Writer};
use crate::state::{PORTION, State};
use std::collections::HashMap;

/// What a message brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handled {
    /// What is to be sent back.
    pub reply: Option<Vec<u8>>,
    /// Whether the state changed.
    pub changed: bool,
    /// The other had the same as this replica, when it wrote or when this one did.
    pub equal: bool,
    /// The reply has everything that the other asked for: when it has taken that, it has seen all that was here.
    pub gave: bool,
}

/// An item of a message, read and checked.
pub(crate) enum Item<'a> {
    Delta(Delta<'a>),
    Want {
        shard: usize,
        answer: bool,
        seen: Context,
    },
    Given {
        shard: usize,
        more: bool,
        roots: (u64, u64),
    },
    Check {
        shard: usize,
        range: Range,
        count: u64,
        sum: u64,
    },
    Live {
        shard: usize,
        range: Range,
        answer: bool,
        seen: Runs,
        live: Runs,
    },
    Roots(Vec<u64>),
    Equal,
}

impl State {
    /// A message that lets another find whether it has the same.
    pub fn roots(&self) -> Vec<u8> {
        let mut message = Writer::new(self.schema);
        message.item(message::ROOTS, self.shards.len());
        for shard in &self.shards {
            let root = shard.lock().root();
            message.word(root);
        }
        message.finish()
    }

    /// Takes a message of a peer, which is named by any number of its own; the answer is of about `budget` bytes at most.
    /// With a journal, what it brought is in there when this returns. O(bytes of the message and of the answer).
    ///
    /// # Errors
    /// `Malformed`, `Mismatch`, `Drift`, `Full`: nothing was taken. `Journal`: it was, but is not in the journal.
    pub fn handle(&self, peer: u64, bytes: &[u8], wall_ms: u64, budget: usize) -> Result<Handled, Error> {
        let (message, items) = self.items(bytes)?;
        for item in &items {
            if let Item::Delta(delta) = item {
                self.admit_delta(delta, wall_ms)?;
            }
        }
        let _one = self.joining.lock();
        let mut turn = Turn {
            state: self,
            peer,
            budget,
            out: Writer::new(self.schema),
            known: HashMap::new(),
            handled: Handled::default(),
            joined: false,
        };
        let asked = items.iter().any(|item| matches!(item, Item::Want { .. }));
        turn.handled.gave = asked;
        for item in items {
            turn.take(item, &message)?;
        }
        let Turn {
            out,
            mut handled,
            joined,
            ..
        } = turn;
        if let (true, Some(journal)) = (joined, self.journal.get()) {
            journal.append(bytes)?;
        }
        handled.reply = (!out.is_empty()).then(|| out.finish());
        Ok(handled)
    }

    /// Reads a message whole.
    pub(crate) fn items<'a>(&self, bytes: &'a [u8]) -> Result<(Message<'a>, Vec<Item<'a>>), Error> {
        let mut message = Message::open(bytes, self.schema)?;
        let mut items = Vec::new();
        while !message.items.is_empty() {
            items.push(self.item(&mut message)?);
        }
        Ok((message, items))
    }

    fn item<'a>(&self, message: &mut Message<'a>) -> Result<Item<'a>, Error> {
        let shards = self.shards.len();
        Ok(match message.items.u8()? {
            message::DELTA => Item::Delta(Delta::read(message, &self.kind, shards)?),
            message::WANT => Item::Want {
                shard: message.shard(shards)?,
                answer: message.number()? == 1,
                seen: message.context()?,
            },
            message::GIVEN => Item::Given {
                shard: message.shard(shards)?,
                more: message.number()? == 1,
                roots: (message.items.word()?, message.items.word()?),
            },
            message::CHECK => Item::Check {
                shard: message.shard(shards)?,
                range: Range::read(message)?,
                count: message.number()?,
                sum: message.items.word()?,
            },
            message::LIVE => Item::Live {
                shard: message.shard(shards)?,
                range: Range::read(message)?,
                answer: message.number()? == 1,
                seen: message.runs()?,
                live: message.runs()?,
            },
            message::ROOTS => {
                if message.number()? != shards as u64 {
                    return Err(Error::Mismatch);
                }
                Item::Roots(
                    (0..shards)
                        .map(|_| message.items.word())
                        .collect::<Result<_, _>>()?,
                )
            }
            message::EQUAL => {
                message.number()?;
                Item::Equal
            }
            _ => return Err(Error::Malformed),
        })
    }

    fn confirm(&self, peer: u64, shard: usize, context: Context) {
        if self.kind.has_marks() {
            self.confirmed
                .lock()
                .entry(peer)
                .or_default()
                .insert(shard, context);
        }
    }
}

/// One message being answered.
struct Turn<'s> {
    state: &'s State,
    peer: u64,
    budget: usize,
    out: Writer,
    /// What the peer had seen when it wrote, by shard.
    known: HashMap<usize, Context>,
    handled: Handled,
    joined: bool,
}

impl Turn<'_> {
    fn left(&self) -> usize {
        self.budget.saturating_sub(self.out.len())
    }

    fn take(&mut self, item: Item<'_>, message: &Message<'_>) -> Result<(), Error> {
        match item {
            Item::Delta(delta) => {
                if self.state.join(&delta, message) {
                    self.joined = true;
                    self.handled.changed = true;
                }
                self.known.insert(delta.shard, delta.known);
            }
            Item::Want { shard, answer, seen } => self.give(shard, answer, &seen),
            Item::Given {
                shard, more: true, ..
            } => self.want(shard, false),
            Item::Given {
                shard,
                more: false,
                roots,
            } => self.given(shard, roots),
            Item::Check {
                shard,
                range,
                count,
                sum,
            } => {
                if self.left() > 0 {
                    let here = self.state.shards[shard].lock();
                    here.answer_check(&mut self.out, shard, range, count, sum);
                }
            }
            Item::Live {
                shard,
                range,
                answer,
                seen,
                live,
            } => {
                let gone = self.state.within(shard, |here| {
                    here.join_live(&mut self.out, shard, range, answer, (&seen, &live))
                });
                self.handled.changed |= !gone.is_empty();
                self.state.journal_gone(shard, &gone)?;
            }
            Item::Roots(roots) => self.compare(&roots),
            Item::Equal => self.handled.equal = true,
        }
        Ok(())
    }

    fn compare(&mut self, roots: &[u64]) {
        let mut equal = true;
        for (shard, root) in roots.iter().enumerate() {
            let here = self.state.shards[shard].lock();
            if here.root() == *root {
                if here.has_marks && !here.marks.is_empty() {
                    let context = here.context();
                    drop(here);
                    self.state.confirm(self.peer, shard, context);
                }
            } else {
                drop(here);
                equal = false;
                self.want(shard, true);
            }
        }
        if equal {
            self.out.item(message::EQUAL, 0);
            self.handled.equal = true;
        }
    }

    fn want(&mut self, shard: usize, answer: bool) {
        let seen = self.state.shards[shard].lock().context();
        self.out.item(message::WANT, shard);
        self.out.number(u64::from(answer));
        self.out.context(&seen);
    }

    /// Sends what the peer lacks, asks for what it has, and where both have seen the same compares what is live.
    fn give(&mut self, shard: usize, answer: bool, theirs: &Context) {
        let left = self.left();
        let here = self.state.shards[shard].lock();
        let mut covered = Context::default();
        let more = left == 0 || here.give(&mut self.out, shard, theirs, left.min(PORTION), &mut covered);
        self.handled.gave &= !more;
        let mine = here.context();
        let lacking = !theirs.within(&mine);
        if !covered.is_empty() || more {
            self.out.item(message::GIVEN, shard);
            self.out.number(u64::from(more));
            let (seen, live) = here.roots();
            self.out.word(seen);
            self.out.word(live);
        } else if !lacking {
            here.put_checks(&mut self.out, shard);
        }
        drop(here);
        if answer && lacking {
            self.want(shard, false);
        }
    }

    fn given(&mut self, shard: usize, roots: (u64, u64)) {
        let here = self.state.shards[shard].lock();
        let (seen, live) = here.roots();
        let mine = here.context();
        if seen == roots.0 && live != roots.1 {
            here.put_checks(&mut self.out, shard);
        }
        drop(here);
        let known = if (seen, live) == roots {
            Some(mine)
        } else {
            self.known.remove(&shard).filter(|k| k.within(&mine))
        };
        if let Some(known) = known {
            self.state.confirm(self.peer, shard, known);
        }
    }
}
