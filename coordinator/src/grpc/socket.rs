//! Connections whose bytes are counted where they cross the socket: TLS, headers and retries included.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::Connected;

/// Bytes of one connection so far.
#[derive(Debug, Default)]
pub(crate) struct SocketBytes {
    up: AtomicU64,
    down: AtomicU64,
}

impl SocketBytes {
    /// Bytes received, and bytes sent.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}

/// A connection that counts.
pub(super) struct Counted {
    stream: TcpStream,
    bytes: Arc<SocketBytes>,
}

impl Counted {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        Self { stream, bytes: Arc::default() }
    }
}

impl Connected for Counted {
    type ConnectInfo = Arc<SocketBytes>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.bytes)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        self.bytes.up.fetch_add(read as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, buffer);
        if let Poll::Ready(Ok(written)) = &polled {
            self.bytes.down.fetch_add(*written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
