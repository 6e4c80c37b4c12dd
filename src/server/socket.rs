//! A TCP socket that is closed in the way that lets the last answer arrive.
//!
//! When a socket is closed while bytes that its peer sent are unread, the kernel resets the connection, and the peer
//! may lose the answer that was on its way, the `431` that says what was wrong with a head of a megabyte. So the
//! writing side is closed first and what still comes is thrown away for a moment (nginx calls it a lingering close).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// How long what still comes is thrown away.
const LINGER: Duration = Duration::from_secs(5);

pub struct Socket {
    stream: TcpStream,
    /// Whether the last look brought something, so that more may be there.
    unread: bool,
    lingers: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, unread: false, lingers: None }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        self.unread = into.filled().len() > before;
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        if !this.unread {
            return Poll::Ready(Ok(()));
        }
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut scratch = [0; 8192];
        while lingers.as_mut().poll(context).is_pending() {
            let mut thrown_away = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut thrown_away)) {
                Ok(()) if !thrown_away.filled().is_empty() => {}
                // The peer has read all and left, or it left in anger; either way nothing is on its way any more.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
