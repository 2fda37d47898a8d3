//! Drives a TLS handshake on a socket and takes the keys over, so that both directions can then work on their own.

use rustls::client::UnbufferedClientConnection;
use rustls::kernel::KernelConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CommonState, ConnectionTrafficSecrets, Error, ExtractedSecrets};
use std::io;
use std::ops::Deref;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most bytes that a peer may send before it is proven.
pub(crate) const MAX_HANDSHAKE: usize = 64 * 1024;

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error(transparent)]
    Tls(#[from] Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("more than {MAX_HANDSHAKE} bytes")]
    Oversized,
}

/// Gives each direction's next keys when TLS updates them.
pub(crate) trait NextKeys: Send {
    fn transmit(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error>;
    fn receive(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error>;
}

impl<Data: Send> NextKeys for KernelConnection<Data> {
    fn transmit(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        self.update_tx_secret()
    }

    fn receive(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        self.update_rx_secret()
    }
}

/// What a finished handshake leaves.
pub(crate) struct Established {
    pub(crate) secrets: ExtractedSecrets,
    pub(crate) next: Box<dyn NextKeys>,
    pub(crate) certificate: CertificateDer<'static>,
    /// What the peer sent right behind the handshake, already opened.
    pub(crate) early: Vec<u8>,
    /// What follows it, still sealed.
    pub(crate) incoming: Vec<u8>,
}

/// The half of rustls that differs between client and server.
pub(crate) trait Side: Deref<Target: Deref<Target = CommonState>> + Send + Sized {
    type Data: Send;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn take(self) -> Result<(ExtractedSecrets, Box<dyn NextKeys>), Error>;
}

impl Side for UnbufferedClientConnection {
    type Data = rustls::client::ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn take(self) -> Result<(ExtractedSecrets, Box<dyn NextKeys>), Error> {
        self.dangerous_into_kernel_connection()
            .map(|(secrets, next)| (secrets, Box::new(next) as _))
    }
}

impl Side for UnbufferedServerConnection {
    type Data = rustls::server::ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn take(self) -> Result<(ExtractedSecrets, Box<dyn NextKeys>), Error> {
        self.dangerous_into_kernel_connection()
            .map(|(secrets, next)| (secrets, Box::new(next) as _))
    }
}

enum Step {
    Again,
    Transmit,
    Read,
    Done,
}

/// Runs the handshake to its end. `incoming` may hold bytes that were read already.
pub(crate) async fn run<S: Side>(
    mut side: S,
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    mut incoming: Vec<u8>,
) -> Result<Established, HandshakeError> {
    let mut received = incoming.len();
    let mut outgoing = Vec::new();
    let mut early = Vec::new();
    loop {
        let (discard, step) = advance(&mut side, &mut incoming, &mut outgoing, &mut early);
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                // The alert says why; nobody waits for it to arrive.
                alert(&mut side, &mut outgoing);
                tokio::select! {
                    biased;
                    _ = write.write_all(&outgoing) => {}
                    () = std::future::ready(()) => {}
                }
                return Err(error.into());
            }
        };
        incoming.drain(..discard);
        match step {
            Step::Again => {}
            Step::Transmit => {
                write.write_all(&outgoing).await?;
                outgoing.clear();
            }
            Step::Done if !side.is_handshaking() => break,
            Step::Done | Step::Read => {
                let count = read.read_buf(&mut incoming).await?;
                received += count;
                if count == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                if received > MAX_HANDSHAKE {
                    return Err(HandshakeError::Oversized);
                }
            }
        }
    }
    let certificate = side
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or(Error::NoCertificatesPresented)?;
    let certificate = certificate.clone().into_owned();
    let (secrets, next) = side.take()?;
    Ok(Established {
        secrets,
        next,
        certificate,
        early,
        incoming,
    })
}

fn advance<S: Side>(
    side: &mut S,
    incoming: &mut [u8],
    outgoing: &mut Vec<u8>,
    early: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = side.process(incoming);
    let step = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(data) => encode(data, outgoing).map(|()| Step::Again),
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Transmit)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Read),
        ConnectionState::WriteTraffic(_) => Ok(Step::Done),
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                early.extend_from_slice(record.payload);
                discard += record.discard;
            }
            Ok(Step::Again)
        }
        // The peer closed, or sent what we never asked for.
        _ => Err(Error::HandshakeNotComplete),
    });
    (discard, step)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> Result<(), Error> {
    let start = outgoing.len();
    let mut room = 4 * 1024;
    loop {
        outgoing.resize(start + room, 0);
        match data.encode(&mut outgoing[start..]) {
            Ok(length) => {
                outgoing.truncate(start + length);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size
            }
            Err(error) => return Err(Error::General(error.to_string())),
        }
    }
}

/// Collects the alert that rustls wants sent after a failure, and what stands before it.
fn alert<S: Side>(side: &mut S, outgoing: &mut Vec<u8>) {
    // What waits to be sent is handed out before anything that came in is looked at.
    while side.wants_write() {
        let Ok(ConnectionState::EncodeTlsData(data)) = side.process(&mut []).state else {
            return;
        };
        if encode(data, outgoing).is_err() {
            return;
        }
    }
}
