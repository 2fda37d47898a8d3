//! Who waits: taken in, served in order, told when it is too late.

use super::{Limits, Waiting};
use crate::error::LimitError;
use crate::hold::Held;
use crate::node::{Demand, Hold, Node, Verdict, admit};
use crate::schedule::Event;
use crate::wait::{Reply, Ticket, WaitError, WaitOptions, Waiter};
use parking_lot::Mutex;
use std::sync::Arc;

impl Limits {
    /// Takes `costs` at once when nobody waits and there is room; otherwise queues and calls `reply` later.
    pub fn wait<P: AsRef<[u8]>>(
        &self,
        key: &[u8],
        pattern: impl FnOnce() -> Option<P>,
        costs: &[(u64, i128)],
        options: WaitOptions,
        reply: Reply,
        now: u64,
    ) -> Result<Waiting, LimitError> {
        let node = self.node(key, pattern, now)?;
        let hold = if options.reserve_us.is_some() {
            Hold::All
        } else {
            Hold::Nothing
        };
        let mut verdict = Verdict::default();
        if admit(
            &node,
            &Demand {
                costs,
                now,
                hold,
                waiter: None,
            },
            0,
            &mut verdict,
        ) {
            return Ok(Waiting::Granted(
                options.reserve_us.map(|us| self.reservation(verdict, us, now)),
            ));
        }
        match verdict.denial() {
            LimitError::Limited(_) => {}
            error => return Err(error),
        }
        let ticket = {
            let mut state = node.state.lock();
            let most = state.definition.max_waiters as usize;
            let queue = &mut state.extra.get_or_insert_default().queue;
            if queue.len() >= most {
                return Err(LimitError::QueueFull);
            }
            let ticket = Arc::new(Ticket {
                node: node.clone(),
                order: queue.place(options.priority),
                reply: Mutex::new(Some(reply)),
                deadline: self.schedule.place(options.deadline),
            });
            queue.push(Waiter {
                ticket: ticket.clone(),
                costs: costs.into(),
                reserve_us: options.reserve_us,
            });
            ticket
        };
        self.schedule
            .put(ticket.deadline, Event::Deadline(ticket.clone()));
        self.try_again(&[Arc::downgrade(&node)], now);
        Ok(Waiting::Queued(ticket))
    }

    /// Takes a waiter out of its queue; its reply is never called. False when it was answered before.
    pub fn cancel(&self, ticket: &Ticket, now: u64) -> bool {
        self.withdraw(ticket, now).is_some()
    }

    fn withdraw(&self, ticket: &Ticket, now: u64) -> Option<Reply> {
        let reply = ticket.reply.lock().take()?;
        self.schedule.remove(ticket.deadline);
        {
            let mut state = ticket.node.state.lock();
            if let Some(extra) = &mut state.extra {
                extra.queue.remove(ticket.order);
            }
            state.tidy(now);
        }
        self.try_again(&[Arc::downgrade(&ticket.node)], now);
        Some(reply)
    }

    /// Does what is due: expires reservations, serves and times out waiters, drops idle keys. Answers when it is due
    /// next.
    pub fn tick(&self, now: u64) -> Option<u64> {
        while let Some(event) = self.schedule.pop(now) {
            match event {
                Event::Expire(reservation) => drop(self.refund(&reservation, now)),
                Event::Try(node) => {
                    if let Some(node) = node.upgrade() {
                        self.serve(&node, now);
                    }
                }
                Event::Deadline(ticket) => {
                    if let Some(reply) = self.withdraw(&ticket, now) {
                        reply(Err(WaitError::Timeout));
                    }
                }
            }
        }
        let swept = self.sweep(now);
        match (self.schedule.next_due(), swept) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Answers all who wait with [`WaitError::Closed`] and forgets what was due.
    pub fn close(&self, now: u64) {
        while let Some(event) = self.schedule.pop(u64::MAX) {
            if let Event::Deadline(ticket) = event
                && let Some(reply) = self.withdraw(&ticket, now)
            {
                reply(Err(WaitError::Closed));
            }
        }
    }

    /// Serves the waiters of `node` in order, up to the first that has to wait on.
    fn serve(&self, node: &Arc<Node>, now: u64) {
        loop {
            let (ticket, costs, reserve_us) = {
                let mut state = node.state.lock();
                match state.extra.as_ref().and_then(|e| e.queue.first()) {
                    Some(w) => (w.ticket.clone(), w.costs.clone(), w.reserve_us),
                    None => return state.tidy(now),
                }
            };
            let hold = if reserve_us.is_some() {
                Hold::All
            } else {
                Hold::Rates
            };
            let mut verdict = Verdict::default();
            let demand = Demand {
                costs: &costs,
                now,
                hold,
                waiter: Some(node),
            };
            if admit(node, &demand, 0, &mut verdict) {
                self.grant(&ticket, verdict, reserve_us, now);
                continue;
            }
            let timed = verdict.timed;
            match verdict.denial() {
                LimitError::Limited(limited) => return self.postpone(node, limited.wait_us, timed, now),
                error => {
                    if let Some(reply) = self.withdraw(&ticket, now) {
                        reply(Err(error.into()));
                    }
                }
            }
        }
    }

    /// Hands over what was taken for `ticket`, or gives it back when the caller has left meanwhile.
    fn grant(&self, ticket: &Ticket, verdict: Verdict, reserve_us: Option<u64>, now: u64) {
        if let Some(extra) = &mut ticket.node.state.lock().extra {
            extra.queue.remove(ticket.order);
        }
        let reply = ticket.reply.lock().take();
        self.schedule.remove(ticket.deadline);
        match (reply, reserve_us) {
            (Some(reply), Some(us)) => reply(Ok(Some(self.reservation(verdict, us, now)))),
            (reply, _) => {
                let held = Held {
                    levels: verdict.levels,
                    since: now,
                };
                let spent = reply.is_some().then_some(&[][..]);
                self.try_again(&held.settle(spent, now), now);
                if let Some(reply) = reply {
                    reply(Ok(None));
                }
            }
        }
    }

    fn postpone(&self, node: &Arc<Node>, wait_us: u64, timed: Option<u64>, now: u64) {
        if let Some(extra) = &mut node.state.lock().extra {
            extra.queue.due = now.saturating_add(wait_us);
        }
        if let Some(us) = timed {
            self.schedule.put(
                self.schedule.place(now.saturating_add(us)),
                Event::Try(Arc::downgrade(node)),
            );
        }
    }
}
