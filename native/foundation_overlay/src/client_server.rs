//! Clients are linked to a few servers, servers to each other; servers relay between clients.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::links::Want;
use crate::shape::Shape;
use crate::wire::{self, kind};
use crate::{Error, NodeId, Peer, PeerName, Role, Route};

/// At most this many clients are named in one frame.
const CLIENTS_PER_FRAME: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Message {
    /// I am your client from now on.
    Attach,
    /// These clients are linked to me, or (`gone`) are no more. Servers say so to servers.
    Clients { clients: Vec<NodeId>, gone: bool },
}

/// Who serves, who is attached where.
#[derive(Debug)]
pub(crate) struct ClientServer {
    want: Want,
    /// Servers this node wants links to.
    servers: BTreeSet<NodeId>,
    /// Clients linked to this server.
    clients: BTreeSet<NodeId>,
    /// Servers each client of theirs is linked to, as they say.
    homes: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl ClientServer {
    pub(crate) fn new(want: Want) -> Self {
        Self {
            want,
            servers: BTreeSet::new(),
            clients: BTreeSet::new(),
            homes: BTreeMap::new(),
        }
    }

    /// All that serve, this node included: those with the role, else the few that have been up longest.
    fn all_servers(ctx: &Context) -> Vec<NodeId> {
        let everyone = || ctx.peers.values().chain(std::iter::once(&ctx.me));
        let named = |role: Role| {
            everyone()
                .filter(move |peer| peer.role == role)
                .map(|peer| peer.id.clone())
        };
        let servers: Vec<_> = named(Role::Server).collect();
        if !servers.is_empty() {
            return servers;
        }
        let mut oldest: Vec<_> = named(Role::Peer).collect();
        if oldest.is_empty() {
            oldest = everyone().map(|peer| peer.id.clone()).collect();
        }
        oldest.sort_by(|a, b| (a.boot, &a.name).cmp(&(b.boot, &b.name)));
        oldest.truncate(ctx.config.client_server.elected_servers);
        oldest
    }

    pub(crate) fn serves(&self, ctx: &Context) -> bool {
        Self::all_servers(ctx).contains(&ctx.me.id)
    }

    /// Wants the links that the present members call for.
    fn arrange(&mut self, ctx: &mut Context) {
        let mut servers = Self::all_servers(ctx);
        let serving = servers.contains(&ctx.me.id);
        servers.retain(|id| *id != ctx.me.id);
        if !serving {
            // The same client prefers the same servers, and clients spread evenly over them.
            servers.sort_by_key(|id| std::cmp::Reverse(affinity(&ctx.me.id.name, &id.name)));
            servers.truncate(ctx.config.client_server.servers_per_client);
        }
        let wanted: BTreeSet<_> = servers.into_iter().collect();
        for id in self.servers.difference(&wanted) {
            if !self.clients.contains(id) {
                ctx.unwant(self.want, id);
            }
        }
        self.servers = wanted;
        for id in self.servers.clone() {
            if let Some(peer) = ctx.peers.get(&id.name).cloned() {
                ctx.want(self.want, &peer, serving);
                if ctx.links.is_up(&id) {
                    self.introduce(ctx, &id);
                }
            }
        }
    }

    /// Says to a server what this node is to it.
    fn introduce(&self, ctx: &mut Context, server: &NodeId) {
        if !self.serves(ctx) {
            self.send(ctx, server, &Message::Attach);
            return;
        }
        let clients: Vec<_> = self.clients.iter().cloned().collect();
        for part in clients.chunks(CLIENTS_PER_FRAME) {
            let clients = part.to_vec();
            self.send(ctx, server, &Message::Clients { clients, gone: false });
        }
    }

    fn send(&self, ctx: &mut Context, to: &NodeId, message: &Message) {
        ctx.frame(to, wire::encode(kind::SERVERS, message));
    }

    fn tell_servers(&self, ctx: &mut Context, client: &NodeId, gone: bool) {
        let clients = vec![client.clone()];
        for id in self.servers.clone() {
            self.send(
                ctx,
                &id,
                &Message::Clients {
                    clients: clients.clone(),
                    gone,
                },
            );
        }
    }

    /// A client is no client of this server any more. One that serves by now is wanted as a server.
    fn detach(&mut self, ctx: &mut Context, client: &NodeId) {
        if self.clients.remove(client) {
            if !self.servers.contains(client) {
                ctx.unwant(self.want, client);
            }
            self.tell_servers(ctx, client, true);
        }
    }
}

/// How much a client prefers a server: a fixed hash of both names (rendezvous hashing).
pub(crate) fn affinity(client: &PeerName, server: &PeerName) -> u64 {
    let bytes = client.as_str().bytes().chain([0]).chain(server.as_str().bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

impl Shape for ClientServer {
    fn start(&mut self, ctx: &mut Context) {
        self.arrange(ctx);
    }

    fn member_up(&mut self, ctx: &mut Context, _: &Peer) {
        self.arrange(ctx);
    }

    fn member_down(&mut self, ctx: &mut Context, peer: &Peer) {
        self.detach(ctx, &peer.id);
        self.homes.remove(&peer.id);
        self.homes
            .values_mut()
            .for_each(|homes| _ = homes.remove(&peer.id));
        self.arrange(ctx);
    }

    fn link_up(&mut self, ctx: &mut Context, id: &NodeId) {
        if self.servers.contains(id) {
            self.introduce(ctx, id);
        }
    }

    fn link_down(&mut self, ctx: &mut Context, id: &NodeId) {
        self.detach(ctx, id);
        self.homes.values_mut().for_each(|homes| _ = homes.remove(id));
    }

    fn frame(&mut self, ctx: &mut Context, from: &NodeId, body: &[u8]) -> Result<(), Error> {
        match wire::decode(body, "servers frame")? {
            Message::Attach if self.serves(ctx) => {
                // The link is the client's to open: it is only kept here, never opened.
                if let Some(peer) = ctx.links.peer(from).cloned() {
                    ctx.want(self.want, &peer, false);
                }
                if self.clients.insert(from.clone()) {
                    self.tell_servers(ctx, from, false);
                }
            }
            // It sees other members than we do, for a moment.
            Message::Attach => {}
            Message::Clients { clients, .. } if clients.len() > CLIENTS_PER_FRAME => {
                return Err(Error::Malformed("list of clients"));
            }
            Message::Clients { clients, gone: false } => {
                for client in clients {
                    if ctx.peers.get(&client.name).is_some_and(|peer| peer.id == client) {
                        self.homes.entry(client).or_default().insert(from.clone());
                    }
                }
            }
            Message::Clients { clients, gone: true } => {
                for client in clients {
                    if let Some(homes) = self.homes.get_mut(&client) {
                        homes.remove(from);
                    }
                }
            }
        }
        Ok(())
    }

    fn kind(&self) -> u8 {
        kind::SERVERS
    }

    fn datagram(&mut self, _: &mut Context, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn wake(&mut self, _: &mut Context, _: u8) {}

    fn ready(&self, ctx: &Context) -> bool {
        ctx.links.settled(self.want)
    }

    fn ways(&self, ctx: &Context, to: &Peer) -> Option<Vec<Route>> {
        let servers = Self::all_servers(ctx);
        let serving = servers.contains(&ctx.me.id);
        let through: Box<dyn Iterator<Item = &NodeId>> = if serving {
            Box::new(self.homes.get(&to.id).into_iter().flatten())
        } else {
            Box::new(self.servers.iter())
        };
        let mut through: Vec<_> = through.filter(|id| ctx.links.is_up(id)).cloned().collect();
        // First the one that the other node most likely is linked to.
        through.sort_by_key(|id| std::cmp::Reverse(affinity(&to.id.name, &id.name)));
        let mut ways: Vec<_> = through.into_iter().map(Route::Via).collect();
        // Clients never dial clients.
        if serving || servers.contains(&to.id) {
            ways.push(Route::Dial(to.clone()));
        }
        Some(ways)
    }

    fn stop(&mut self, ctx: &mut Context) {
        ctx.unwant_all(self.want);
    }
}
