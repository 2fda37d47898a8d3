//! Changing the topology of the whole cluster.
use std::time::Duration;

use crate::context::{Context, News, Wake};
use crate::full_mesh::FullMesh;
use crate::hyparview::HyParView;
use crate::links::Want;
use crate::shape::Shape;
use crate::wire::{Control, Decision, encode, kind};
use crate::{Effect, NodeId, Topology};

/// How often it is looked at whether the new links stand.
const LOOK: Duration = Duration::from_millis(100);

/// The topology in force, and the former one as long as its links are kept.
pub(crate) struct Shapes {
    pub(crate) decision: Decision,
    pub(crate) current: Box<dyn Shape>,
    former: Option<Box<dyn Shape>>,
    since: Duration,
    ready_at: Option<Duration>,
}

fn make(topology: Topology, epoch: u64, _ctx: &Context) -> Box<dyn Shape> {
    let want = if epoch % 2 == 0 { Want::EVEN } else { Want::ODD };
    match topology {
        Topology::FullMesh => Box::new(FullMesh::new(want)),
        Topology::HyParView | Topology::PubSub => Box::new(HyParView::new(want)),
        Topology::ClientServer => Box::new(FullMesh::new(want)),
    }
}

impl Shapes {
    pub(crate) fn new(ctx: &mut Context) -> Self {
        let topology = ctx.config.topology;
        let mut current = make(topology, 0, ctx);
        current.start(ctx);
        let decision = Decision {
            epoch: 0,
            by: None,
            topology,
        };
        Self {
            decision,
            current,
            former: None,
            since: Duration::ZERO,
            ready_at: None,
        }
    }

    /// Whether only the links of the topology in force are left.
    pub(crate) fn settled(&self) -> bool {
        self.former.is_none()
    }

    /// Everyone who has to hear of links and members.
    pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut Box<dyn Shape>> {
        std::iter::once(&mut self.current).chain(self.former.as_mut())
    }

    /// The owner of this node wants another topology for all.
    pub(crate) fn decide(&mut self, ctx: &mut Context, topology: Topology) {
        if topology == self.decision.topology {
            return;
        }
        let by = Some(ctx.me.id.clone());
        self.adopt(
            ctx,
            Decision {
                epoch: self.decision.epoch + 1,
                by,
                topology,
            },
            None,
        );
    }

    /// A decision was heard of. The greater one wins; a news is told on, an old one is answered with ours.
    pub(crate) fn hear(&mut self, ctx: &mut Context, decision: Decision, from: Option<&NodeId>) {
        match decision.cmp(&self.decision) {
            std::cmp::Ordering::Greater => self.adopt(ctx, decision, from),
            std::cmp::Ordering::Less => {
                if let Some(from) = from {
                    ctx.frame(
                        from,
                        encode(kind::CONTROL, &Control::Switch(self.decision.clone())),
                    );
                }
            }
            std::cmp::Ordering::Equal => {}
        }
    }

    fn adopt(&mut self, ctx: &mut Context, decision: Decision, from: Option<&NodeId>) {
        let changes = decision.topology != self.decision.topology;
        let parity = self.decision.epoch % 2 != decision.epoch % 2;
        self.decision = decision;
        let frame = encode(kind::CONTROL, &Control::Switch(self.decision.clone()));
        for id in ctx.links.sorted_up() {
            if Some(&id) != from {
                ctx.frame(&id, frame.clone());
            }
        }
        let Decision { epoch, topology, .. } = self.decision;
        if !changes {
            return;
        }
        let _ = parity;
        let mut next = make(topology, epoch, ctx);
        if let Some(mut older) = self.former.take() {
            older.stop(ctx);
        }
        next.start(ctx);
        self.former = Some(std::mem::replace(&mut self.current, next));
        (self.since, self.ready_at) = (ctx.now, None);
        ctx.wake(LOOK, Wake::Settle);
        ctx.news.push_back(News::Switched(topology));
        ctx.out.push(Effect::Topology {
            current: topology,
            epoch,
            settled: false,
        });
    }

    /// Lets go of the former topology once the new one stands and messages under way had time to arrive.
    pub(crate) fn look(&mut self, ctx: &mut Context) {
        if self.former.is_none() {
            return;
        }
        if self.ready_at.is_none() && self.current.ready(ctx) {
            self.ready_at = Some(ctx.now);
        }
        let lingered = self
            .ready_at
            .is_some_and(|at| ctx.now - at >= ctx.config.switch_linger);
        if lingered || ctx.now - self.since >= ctx.config.switch_timeout {
            if let Some(mut former) = self.former.take() {
                former.stop(ctx);
            }
            let Decision { epoch, topology, .. } = self.decision;
            ctx.out.push(Effect::Topology {
                current: topology,
                epoch,
                settled: true,
            });
        } else {
            ctx.wake(LOOK, Wake::Settle);
        }
    }
}
