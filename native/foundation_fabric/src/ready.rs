//! Links that passed every check and wait for [`Transport::accept`](crate::transport::Transport::accept).

use crate::transport::{BoxFuture, Stream};
use tokio::sync::{Mutex, mpsc, watch};

/// Links that wait. Beyond them handshakes do.
const MOST: usize = 256;

/// Where a transport's links are taken from, until it is closed.
pub(crate) struct Ready {
    links: Mutex<mpsc::Receiver<Stream>>,
    closed: watch::Sender<bool>,
}

impl Ready {
    /// With the end that links are put in at.
    pub(crate) fn new() -> (Self, mpsc::Sender<Stream>) {
        let (sender, receiver) = mpsc::channel(MOST);
        let ready = Self {
            links: Mutex::new(receiver),
            closed: watch::Sender::new(false),
        };
        (ready, sender)
    }

    /// Says when the transport is closed.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// The next link; none after [`Ready::close`].
    pub(crate) fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        Box::pin(async move {
            let mut closed = self.closing();
            let mut links = self.links.lock().await;
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => None,
                stream = links.recv() => stream,
            }
        })
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.close();
    }
}
