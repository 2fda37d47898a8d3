//! The first words on a link: who calls, for which channel, and where it listens.
//!
//! A hello crosses both ways right after the TLS handshake, so its sender is proven; what it says is still checked.
//!
//! ```text
//! length u16 │ version u8 │ features u32 │ boot u64 │ lane u16 │ priority u8 │ listen │ cluster │ channel
//! listen = 4, four bytes, port u16 │ 6, sixteen bytes, port u16;  cluster, channel = length u8, UTF-8
//! ```
//! Numbers are big-endian.

use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The version of the link protocol, also in the ALPN name.
pub const VERSION: u8 = 1;
/// Most bytes of a cluster's or a channel's name.
pub const MAX_NAME: usize = 255;
/// Most bytes of a hello behind its length.
pub const MAX_HELLO: usize = 1 + 4 + 8 + 2 + 1 + 19 + 2 * (1 + MAX_NAME);

/// What each side says of itself when a link opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cluster the sender belongs to, at most [`MAX_NAME`] bytes.
    pub cluster: String,
    /// When the sender started, µs since the epoch: orders its lives.
    pub boot: u64,
    /// The channel that the link carries, at most [`MAX_NAME`] bytes. The answering side repeats it.
    pub channel: String,
    /// Which of the channel's parallel links this is.
    pub lane: u16,
    /// The channel's priority; a greater one goes first where links share a connection.
    pub priority: u8,
    /// Where the sender accepts links.
    pub listen: SocketAddr,
    /// Bits that name what the sender can do.
    pub features: u32,
}

/// Why bytes are not a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The bytes end early, go on too long, or hold what no hello holds.
    #[error("malformed hello")]
    Malformed,
    /// The announced length is above [`MAX_HELLO`]. Nothing of it was read.
    #[error("hello above its size bound")]
    Oversized,
    /// A hello of another protocol version.
    #[error("hello of another version")]
    Version,
}

impl Hello {
    /// The bytes of this hello, length first. Names beyond their bound are an error.
    pub fn encode(&self) -> Result<Vec<u8>, HelloError> {
        let mut out = vec![0, 0, VERSION];
        out.extend_from_slice(&self.features.to_be_bytes());
        out.extend_from_slice(&self.boot.to_be_bytes());
        out.extend_from_slice(&self.lane.to_be_bytes());
        out.push(self.priority);
        match self.listen.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        out.extend_from_slice(&self.listen.port().to_be_bytes());
        for name in [&self.cluster, &self.channel] {
            out.push(u8::try_from(name.len()).map_err(|_| HelloError::Oversized)?);
            out.extend_from_slice(name.as_bytes());
        }
        let length = u16::try_from(out.len() - 2).map_err(|_| HelloError::Oversized)?;
        out[..2].copy_from_slice(&length.to_be_bytes());
        Ok(out)
    }

    /// Reads a hello from the bytes behind its length.
    pub fn decode(bytes: &[u8]) -> Result<Self, HelloError> {
        if bytes.len() > MAX_HELLO {
            return Err(HelloError::Oversized);
        }
        let mut input = Input(bytes);
        if input.array::<1>()? != [VERSION] {
            return Err(HelloError::Version);
        }
        let features = u32::from_be_bytes(input.array()?);
        let boot = u64::from_be_bytes(input.array()?);
        let lane = u16::from_be_bytes(input.array()?);
        let [priority] = input.array()?;
        let ip = match input.array()? {
            [4] => IpAddr::from(input.array::<4>()?),
            [6] => IpAddr::from(input.array::<16>()?),
            _ => return Err(HelloError::Malformed),
        };
        let listen = SocketAddr::new(ip, u16::from_be_bytes(input.array()?));
        let cluster = input.name()?;
        let channel = input.name()?;
        if !input.0.is_empty() {
            return Err(HelloError::Malformed);
        }
        Ok(Self {
            cluster,
            boot,
            channel,
            lane,
            priority,
            listen,
            features,
        })
    }

    /// Writes this hello to a link and flushes it.
    pub async fn send(&self, link: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let bytes = self
            .encode()
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        link.write_all(&bytes).await?;
        link.flush().await
    }

    /// Reads a hello from a link. The outer error is the link's, the inner one the hello's.
    pub async fn receive(link: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Result<Self, HelloError>> {
        let length = usize::from(link.read_u16().await?);
        if length > MAX_HELLO {
            return Ok(Err(HelloError::Oversized));
        }
        let mut bytes = [0; MAX_HELLO];
        link.read_exact(&mut bytes[..length]).await?;
        Ok(Self::decode(&bytes[..length]))
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], HelloError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn name(&mut self) -> Result<String, HelloError> {
        let [length] = self.array()?;
        let (head, rest) = self
            .0
            .split_at_checked(length.into())
            .ok_or(HelloError::Malformed)?;
        self.0 = rest;
        let name = std::str::from_utf8(head).map_err(|_| HelloError::Malformed)?;
        if name.chars().any(char::is_control) {
            return Err(HelloError::Malformed);
        }
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn hello()(cluster in "[^\\p{C}]{0,40}", channel in "[^\\p{C}]{0,40}", boot: u64, lane: u16, priority: u8,
                   v4: Option<[u8; 4]>, v6: [u8; 16], port: u16, features: u32) -> Hello {
            let ip = v4.map_or_else(|| IpAddr::from(v6), IpAddr::from);
            Hello { cluster, boot, channel, lane, priority, listen: SocketAddr::new(ip, port), features }
        }
    }

    proptest! {
        #[test]
        fn a_hello_comes_back_as_it_was(hello in hello()) {
            let bytes = hello.encode().unwrap();
            prop_assert_eq!(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])), bytes.len() - 2);
            prop_assert_eq!(Hello::decode(&bytes[2..]), Ok(hello));
        }

        #[test]
        fn any_bytes_are_a_hello_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let mut versioned = bytes.clone();
            if let Some(first) = versioned.first_mut() { *first = VERSION; }
            for bytes in [bytes, versioned] {
                if let Ok(hello) = Hello::decode(&bytes) {
                    prop_assert_eq!(&hello.encode().unwrap()[2..], &bytes[..]);
                }
            }
        }

        #[test]
        fn a_cut_or_grown_hello_is_malformed(hello in hello(), at: prop::sample::Index) {
            let bytes = hello.encode().unwrap();
            let cut = 2 + at.index(bytes.len() - 2);
            prop_assert!(Hello::decode(&bytes[2..cut]).is_err());
            let mut longer = bytes[2..].to_vec();
            longer.push(0);
            prop_assert!(Hello::decode(&longer).is_err());
        }
    }

    #[tokio::test]
    async fn an_oversized_hello_is_refused_unread() {
        let mut bytes: &[u8] = &[0xff, 0xff, 1, 2, 3];
        assert_eq!(
            Hello::receive(&mut bytes).await.unwrap(),
            Err(HelloError::Oversized)
        );
        assert_eq!(bytes, [1, 2, 3]);
    }
}
