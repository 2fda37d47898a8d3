//! What goes over a trunk.
//!
//! ```text
//! kind u8 │ aux u8 │ length u16 │ circuit u32 │ then `length` bytes; numbers are little-endian
//! open    a new circuit; aux: priority; hops u8 │ to │ from, each: boot u64 │ length u8 │ name
//! accept  it stands, all the way
//! refuse  it does not; aux: why
//! data    bytes of the circuit
//! credit  so many more bytes may be sent, u32
//! end     this end sends nothing more
//! reset   the circuit is gone
//! ```

use crate::error::Error;
use bytes::{BufMut, Bytes, BytesMut};
use foundation_overlay::NodeId;

/// Bytes before the body of every frame.
pub(crate) const HEADER: usize = 8;
/// Most bytes of a circuit in one frame.
pub(crate) const MAX_DATA: usize = 16 << 10;

/// Why a circuit does not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    /// A node on the way knows no way on.
    #[error("a relay knows no way")]
    NoWay = 1,
    /// A node on the way has as many circuits as it carries.
    #[error("a relay carries no more")]
    Busy = 2,
    /// It took more hops than it may.
    #[error("too many hops")]
    Hops = 3,
}

/// A circuit that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Hops it may still take.
    pub(crate) hops: u8,
    /// Who goes first where circuits share a trunk: the greater.
    pub(crate) priority: u8,
    pub(crate) to: NodeId,
    /// Who says to ask for it; proven only between the ends.
    pub(crate) from: NodeId,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Open(Open),
    Accept,
    Refuse(Why),
    Data(Bytes),
    Credit(u32),
    End,
    Reset,
}

impl Frame {
    /// The bytes of everything but data, which is written beside its header.
    pub(crate) fn encode(&self, circuit: u32) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER + 64);
        out.put_bytes(0, HEADER);
        let (kind, aux) = match self {
            Frame::Open(open) => {
                out.put_u8(open.hops);
                put_id(&mut out, &open.to);
                put_id(&mut out, &open.from);
                (1, open.priority)
            }
            Frame::Accept => (2, 0),
            Frame::Refuse(why) => (3, *why as u8),
            Frame::Data(bytes) => {
                out.extend_from_slice(bytes);
                (4, 0)
            }
            Frame::Credit(bytes) => {
                out.put_u32_le(*bytes);
                (5, 0)
            }
            Frame::End => (6, 0),
            Frame::Reset => (7, 0),
        };
        let length = (out.len() - HEADER) as u16;
        out[..HEADER].copy_from_slice(&header(kind, aux, length, circuit));
        out.freeze()
    }

    /// Reads a frame, whose body is as long as its header says.
    pub(crate) fn decode(head: &[u8; HEADER], mut body: Bytes) -> Result<(u32, Self), Error> {
        let (aux, [a, b, c, d]) = (head[1], [head[4], head[5], head[6], head[7]]);
        let circuit = u32::from_le_bytes([a, b, c, d]);
        let frame = match (head[0], body.len()) {
            (1, 1..) => {
                let hops = body.split_to(1)[0];
                let (to, from) = (take_id(&mut body)?, take_id(&mut body)?);
                if !body.is_empty() {
                    return Err(Error::Malformed);
                }
                Frame::Open(Open {
                    hops,
                    priority: aux,
                    to,
                    from,
                })
            }
            (2, 0) => Frame::Accept,
            (3, 0) => Frame::Refuse(match aux {
                1 => Why::NoWay,
                2 => Why::Busy,
                3 => Why::Hops,
                _ => return Err(Error::Malformed),
            }),
            (4, 1..=MAX_DATA) => Frame::Data(body),
            (5, 4) => Frame::Credit(crate::frame::u32_at(&body, 0)),
            (6, 0) => Frame::End,
            (7, 0) => Frame::Reset,
            _ => return Err(Error::Malformed),
        };
        Ok((circuit, frame))
    }
}

/// How many bytes follow a header.
pub(crate) fn length(head: &[u8; HEADER]) -> usize {
    u16::from_le_bytes([head[2], head[3]]).into()
}

/// The header of a data frame.
pub(crate) fn data_header(length: usize, circuit: u32) -> Bytes {
    Bytes::copy_from_slice(&header(4, 0, length as u16, circuit))
}

fn header(kind: u8, aux: u8, length: u16, circuit: u32) -> [u8; HEADER] {
    let ([a, b], [c, d, e, f]) = (length.to_le_bytes(), circuit.to_le_bytes());
    [kind, aux, a, b, c, d, e, f]
}

fn put_id(out: &mut BytesMut, id: &NodeId) {
    let name = id.name.as_str().as_bytes();
    out.put_u64_le(id.boot);
    // A name has at most 255 bytes.
    out.put_u8(name.len() as u8);
    out.extend_from_slice(name);
}

fn take_id(body: &mut Bytes) -> Result<NodeId, Error> {
    if body.len() < 9 {
        return Err(Error::Malformed);
    }
    let head = body.split_to(9);
    let length = usize::from(head[8]);
    if body.len() < length {
        return Err(Error::Malformed);
    }
    let name = body.split_to(length);
    let name = std::str::from_utf8(&name).map_err(|_| Error::Malformed)?;
    NodeId::new(name, crate::frame::u64_at(&head, 0)).map_err(|_| Error::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> impl Strategy<Value = NodeId> {
        ("[a-z@.]{1,255}", any::<u64>()).prop_map(|(name, boot)| NodeId::new(&name, boot).unwrap())
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let open = (any::<u8>(), any::<u8>(), id(), id()).prop_map(|(hops, priority, to, from)| {
            Frame::Open(Open {
                hops,
                priority,
                to,
                from,
            })
        });
        let data = proptest::collection::vec(any::<u8>(), 1..100).prop_map(|bytes| Frame::Data(bytes.into()));
        prop_oneof![
            open,
            data,
            any::<u32>().prop_map(Frame::Credit),
            prop_oneof![Just(Why::NoWay), Just(Why::Busy), Just(Why::Hops)].prop_map(Frame::Refuse),
            prop_oneof![Just(Frame::Accept), Just(Frame::End), Just(Frame::Reset)],
        ]
    }

    proptest! {
        #[test]
        fn frames_come_back(frame in frame(), circuit: u32) {
            let bytes = frame.encode(circuit);
            let head = bytes.first_chunk::<HEADER>().unwrap();
            prop_assert_eq!(length(head), bytes.len() - HEADER);
            let read = Frame::decode(head, bytes.slice(HEADER..)).unwrap();
            prop_assert_eq!(read, (circuit, frame));
        }

        #[test]
        fn any_bytes_are_a_frame_or_an_error(head: [u8; HEADER], body: Vec<u8>) {
            if let Ok((circuit, frame)) = Frame::decode(&head, body.clone().into()) {
                prop_assert_eq!(&frame.encode(circuit)[HEADER..], &body[..]);
            }
        }
    }
}
