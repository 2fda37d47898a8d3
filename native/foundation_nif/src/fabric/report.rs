//! What is measured, as maps.

use super::{Fabric, common};
use crate::handle::get;
use foundation_fabric::metrics::ChannelMetrics;
use rustler::{Encoder, Env, NifResult, Term};

mod names {
    rustler::atoms! {
        node, peer, channel, address, boot, up, peers, waiting, refused, linked, links, nil,
        sent, sent_bytes, frames, resent, busy, lost, superseded, queued, queued_bytes,
        received, received_bytes, duplicates, nobody, malformed, latency_us, count, p50, p99, max,
        relayed, relaying, relayed_bytes, relays_refused, circuits,
    }
}

/// `%{address:, boot:, peers: [{node, boot, address, up}], waiting:, refused: [{reason, count}], …}`, and what was carried
/// for other nodes, and by others for this one.
#[rustler::nif(schedule = "DirtyCpu")]
fn fabric_info<'a>(env: Env<'a>, handle: Term<'a>) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let endpoint = &fabric.endpoint;
    let peers: Vec<_> = endpoint
        .peers()
        .into_iter()
        .map(|(name, at)| (name.as_str().to_owned(), at.boot, at.addr.to_string(), at.up))
        .collect();
    let refused: Vec<_> = endpoint
        .refused()
        .iter()
        .map(|(reason, count)| (reason.name(), count))
        .collect();
    let relay = endpoint.relayed();
    let pairs = [
        (names::relaying(), relay.relaying.encode(env)),
        (names::relayed(), relay.relayed.encode(env)),
        (names::relayed_bytes(), relay.relayed_bytes.encode(env)),
        (names::relays_refused(), relay.refused.encode(env)),
        (names::circuits(), relay.opened.encode(env)),
        (names::address(), endpoint.local_addr().to_string().encode(env)),
        (names::boot(), endpoint.me().boot.encode(env)),
        (names::peers(), peers.encode(env)),
        (names::waiting(), fabric.shared.pending.len().encode(env)),
        (names::refused(), refused.encode(env)),
    ];
    Term::map_from_pairs(env, &pairs)
}

/// A map for each channel and node.
#[rustler::nif(schedule = "DirtyCpu")]
fn fabric_metrics<'a>(env: Env<'a>, handle: Term<'a>) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let rows = fabric.endpoint.metrics();
    let rows = rows
        .iter()
        .map(|row| metrics(env, row))
        .collect::<NifResult<Vec<_>>>()?;
    Ok(rows.encode(env))
}

fn metrics<'a>(env: Env<'a>, row: &ChannelMetrics) -> NifResult<Term<'a>> {
    let latency = match row.latency {
        None => common::nil().encode(env),
        Some((count, [p50, p99, max])) => {
            let pairs = [
                (names::count(), count.encode(env)),
                (names::p50(), p50.encode(env)),
                (names::p99(), p99.encode(env)),
                (names::max(), max.encode(env)),
            ];
            Term::map_from_pairs(env, &pairs)?
        }
    };
    let (sent, arrived) = (&row.sent, &row.arrived);
    let pairs = [
        (names::node(), row.peer.as_str().encode(env)),
        (names::channel(), row.channel.encode(env)),
        (names::linked(), row.linked.encode(env)),
        (names::links(), row.links.encode(env)),
        (names::sent(), sent.messages.encode(env)),
        (names::sent_bytes(), sent.bytes.encode(env)),
        (names::frames(), sent.frames.encode(env)),
        (names::resent(), sent.resent.encode(env)),
        (names::busy(), sent.busy.encode(env)),
        (names::lost(), sent.lost.encode(env)),
        (names::superseded(), sent.superseded.encode(env)),
        (names::queued(), sent.held_messages.encode(env)),
        (names::queued_bytes(), sent.held_bytes.encode(env)),
        (names::received(), arrived.messages.encode(env)),
        (names::received_bytes(), arrived.bytes.encode(env)),
        (names::duplicates(), arrived.duplicates.encode(env)),
        (names::nobody(), arrived.nobody.encode(env)),
        (names::malformed(), arrived.malformed.encode(env)),
        (names::latency_us(), latency),
    ];
    Term::map_from_pairs(env, &pairs)
}
