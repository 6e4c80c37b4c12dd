//! A TCP socket that is closed in the way that lets the last answer arrive.
//!
//! When a socket is closed while bytes that its peer sent are unread, the kernel resets the connection, and the peer
//! may lose the answer that was on its way, the `431` that says what was wrong with a head of a megabyte. So the
//! writing side is closed first and what still comes is thrown away for a moment (nginx calls it a lingering close).

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// How long what still comes is thrown away.
const LINGER: Duration = Duration::from_secs(5);

pub struct Socket {
    /// Shared with the [`Tap`] of a stream.
    stream: Arc<TcpStream>,
    /// Whether the last look brought something, so that more may be there.
    unread: bool,
    lingers: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream: Arc::new(stream), unread: false, lingers: None }
    }

    fn poll_write_by(
        &self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write(&self.stream) {
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

/// The writing end of a socket for whoever must not wait.
pub struct Tap(Arc<TcpStream>);

impl Tap {
    /// Writes as much as can be written now. A socket that failed takes nothing: whoever serves it notices.
    pub fn write(&self, bytes: &[u8]) -> usize {
        self.0.try_write(bytes).unwrap_or(0)
    }
}

/// What a connection lies on.
pub trait Line: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// A way past what is in between, if nothing is.
    fn tap(&self) -> Option<Tap> {
        None
    }
}

impl Line for Socket {
    fn tap(&self) -> Option<Tap> {
        Some(Tap(self.stream.clone()))
    }
}

impl Line for tokio_rustls::server::TlsStream<Socket> {}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.unread = false;
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read_buf(into) {
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    self.unread = matches!(read, Ok(1..));
                    return Poll::Ready(read.map(|_| ()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_by(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_by(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // the kernel has it
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            SockRef::from(&*this.stream).shutdown(Shutdown::Write)?;
        }
        if !this.unread {
            return Poll::Ready(Ok(()));
        }
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut scratch = [0; 8192];
        while lingers.as_mut().poll(context).is_pending() {
            ready!(this.stream.poll_read_ready(context))?;
            match this.stream.try_read(&mut scratch) {
                Ok(thrown_away) if thrown_away > 0 => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                // The peer has read all and left, or it left in anger; either way nothing is on its way any more.
                Ok(_) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
