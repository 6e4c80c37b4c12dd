//! A stream, written to its client without hyper.
//!
//! hyper reads the request and the routes answer it; then the socket is taken from hyper, with its 16 kB of buffers and
//! the state of everything that a connection might still be. What is left of HTTP/1.1 is one loop that writes the chunks
//! of the body (RFC 9112 §7.1), until the body or the client ends. What is there goes out in one write: the head with the
//! first chunk, the last chunk with the one before.

use std::{
    error::Error,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::{Buf, Bytes};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    Response,
    body::Body,
    header::{DATE, TRANSFER_ENCODING},
};
use tokio::{io::ReadBuf, sync::OwnedSemaphorePermit};

use super::{
    connection::{Leash, Straight},
    socket::Line,
};

type Problem = Box<dyn Error + Send + Sync>;

/// What is to be written, and when to cut it.
pub struct Stream {
    pub response: Response<UnsyncBoxBody<Bytes, Problem>>,
    /// Tells the body that it is to give chunks.
    pub straight: Straight,
    /// Its turn, which is over when its beginning has been written.
    pub turn: Option<OwnedSemaphorePermit>,
    pub cut: Leash,
}

/// Writes a stream to its end, unless the client ends it before, or the leash does.
///
/// # Errors
/// The client is gone, or the body failed.
pub async fn write(io: impl Line, stream: Stream) -> Result<(), Problem> {
    let (parts, body) = stream.response.into_parts();
    (stream.straight)(io.tap());
    let mut head = Vec::with_capacity(1_024);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
    put(&[b"HTTP/1.1 ", parts.status.as_str().as_bytes(), b" "]);
    put(&[parts.status.canonical_reason().unwrap_or_default().as_bytes(), b"\r\n"]);
    for (name, value) in &parts.headers {
        put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    let now = httpdate::fmt_http_date(SystemTime::now());
    put(&[DATE.as_str().as_bytes(), b": ", now.as_bytes(), b"\r\n"]);
    // No `Connection: close`, though nothing comes after it: some clients (undici) then take a stream that broke off for
    // one that ended as it should.
    put(&[TRANSFER_ENCODING.as_str().as_bytes(), b": chunked\r\n\r\n"]);
    drop(parts);
    let mut writer = Writer { io, body, head, out: Bytes::new(), ends: false };
    let (mut cut, mut turn) = (stream.cut, stream.turn);
    poll_fn(move |context| {
        if let Poll::Ready(written) = writer.poll(context) {
            return Poll::Ready(written);
        }
        drop(turn.take());
        cut.as_mut().poll(context).map(Ok)
    })
    .await
}

/// Room for the length of a chunk and the line break after it.
const HEAD: usize = size_of::<usize>() * 2 + 2;

/// A piece of a stream while it is put together, in one stretch of memory with what HTTP/1.1 puts around it.
pub struct Chunk(Vec<u8>);

impl Chunk {
    /// With room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut chunk = Vec::with_capacity(HEAD + bytes + 2 + Self::LAST.len());
        chunk.resize(HEAD, 0);
        Self(chunk)
    }

    /// What has been put into it, to put more after it.
    pub fn data(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// How many bytes have been put into it.
    pub fn len(&self) -> usize {
        self.0.len() - HEAD
    }

    /// Whether nothing has been put into it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The data alone.
    pub fn plain(self) -> Bytes {
        Bytes::from(self.0).split_off(HEAD)
    }

    /// What ends a body.
    pub const LAST: &[u8] = b"0\r\n\r\n";

    /// The data as a chunk, its length before it (RFC 9112 §7.1): all of it, and where in that it begins.
    pub fn seal(self) -> (Vec<u8>, usize) {
        let (mut left, mut chunk) = (self.len(), self.0);
        chunk.extend_from_slice(b"\r\n");
        chunk[HEAD - 2..HEAD].copy_from_slice(b"\r\n");
        let mut begin = HEAD - 2;
        // Without the machinery of `format!`: every alarm passes here.
        loop {
            begin -= 1;
            chunk[begin] = b"0123456789abcdef"[left & 0xf];
            left >>= 4;
            if left == 0 {
                return (chunk, begin);
            }
        }
    }
}

struct Writer<I> {
    io: I,
    body: UnsyncBoxBody<Bytes, Problem>,
    /// Not written yet: it goes with the first chunk, if that is there.
    head: Vec<u8>,
    /// What has been taken from the body and not been written; empty and without memory most of the time.
    out: Bytes,
    /// The body has ended.
    ends: bool,
}

impl<I: Line> Writer<I> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        loop {
            match self.poll_write(context) {
                Poll::Ready(Ok(())) if self.ends => return self.poll_close(context),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause.into())),
                Poll::Pending => break,
            }
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(frame)) => {
                    if let Ok(chunk) = frame?.into_data() {
                        self.out = self.after_head(chunk);
                    }
                }
                Poll::Ready(None) => {
                    self.ends = true;
                    self.out = self.after_head(Bytes::new());
                }
                Poll::Pending if self.head.is_empty() => break,
                Poll::Pending => self.out = self.after_head(Bytes::new()),
            }
        }
        // Whatever a client sends meanwhile is of no interest, but its end is.
        let mut scratch = [0; 256];
        loop {
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.io).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
            }
        }
    }

    fn after_head(&mut self, chunk: Bytes) -> Bytes {
        if self.head.is_empty() {
            return chunk;
        }
        let mut head = std::mem::take(&mut self.head);
        head.extend_from_slice(&chunk);
        head.into()
    }

    /// Writes what waits; the memory is given back, because most connections wait most of the time.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        self.out = Bytes::new();
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        Pin::new(&mut self.io).poll_shutdown(context).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_its_length_in_hex_before_it() {
        for length in [1, 9, 15, 16, 255, 256, 4_095, 65_536, 0xab_cdef] {
            let mut chunk = Chunk::with_capacity(length);
            chunk.data().resize(HEAD + length, b'x');
            let (sealed, begin) = chunk.seal();
            let expected = format!("{length:x}\r\n{}\r\n", "x".repeat(length));
            assert!(sealed[begin..] == *expected.as_bytes(), "{length}");
        }
    }

    #[test]
    fn a_piece_that_is_no_chunk_is_the_data_alone() {
        let mut chunk = Chunk::with_capacity(0);
        assert!(chunk.is_empty());
        chunk.data().extend_from_slice(b"event: ping");
        assert_eq!((chunk.len(), &chunk.plain()[..]), (11, &b"event: ping"[..]));
    }
}
