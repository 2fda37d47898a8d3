//! An end of a circuit, as a byte stream.

use super::exchange::{Circuit, Exchange};
use crate::transport::Carrier;
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An end of a circuit; the circuit is let go when all shares of it are dropped.
struct Hold {
    exchange: Arc<Mutex<Exchange>>,
    circuit: Circuit,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.exchange.lock().close(self.circuit);
    }
}

struct Reader(Arc<Hold>);
struct Writer(Arc<Hold>);

/// A circuit that ends here, as bytes to be read and written.
pub(crate) fn carrier(exchange: &Arc<Mutex<Exchange>>, circuit: Circuit) -> Carrier {
    let hold = Arc::new(Hold {
        exchange: Arc::clone(exchange),
        circuit,
    });
    Carrier {
        read: Box::new(Reader(Arc::clone(&hold))),
        write: Box::new(Writer(hold)),
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut exchange = self.0.exchange.lock();
        let mut any = false;
        while out.remaining() > 0 {
            match exchange.poll_read(self.0.circuit, out.remaining(), context) {
                Poll::Ready(Ok(bytes)) if bytes.is_empty() => break,
                Poll::Ready(Ok(bytes)) => out.put_slice(&bytes),
                // What came before the end is read first.
                Poll::Ready(Err(_)) | Poll::Pending if any => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            any = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.exchange.lock().poll_write(self.0.circuit, bytes, context)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.exchange.lock().end(self.0.circuit);
        Poll::Ready(Ok(()))
    }
}
