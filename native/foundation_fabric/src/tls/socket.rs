//! What is asked of the operating system for a link's socket.

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// A listener that can be bound again right after its predecessor closed.
pub(crate) fn listen(bind: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(bind), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&bind.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Listens on a port that the system chooses, which is free for UDP as well.
pub(crate) async fn listen_on_both(bind: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut tries = 32;
    loop {
        let datagrams = UdpSocket::bind(bind).await?;
        match listen(datagrams.local_addr()?) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => tries -= 1,
            listener => return Ok((listener?, datagrams)),
        }
    }
}

/// Small writes leave at once, and an end that is silent for `dead_after` breaks the link.
pub(crate) fn tune(socket: &TcpStream, dead_after: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let seconds = dead_after.as_secs().max(3);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(seconds.div_ceil(3)))
        .with_interval(Duration::from_secs(seconds.div_ceil(3)));
    let socket = SockRef::from(socket);
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
    let keepalive = keepalive.with_retries(2);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(seconds)))?;
    Ok(())
}

/// Closes at once, without the usual wait for what is unsent.
pub(crate) fn reset(socket: TcpStream) {
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}
