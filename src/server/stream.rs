//! A stream, written to its client without hyper.
//!
//! hyper reads the request and the routes answer it; then the socket is taken from hyper, with its 16 kB of buffers and
//! the state of everything that a connection might still be. What is left of HTTP/1.1 is one loop: a chunk for each
//! piece of the body (RFC 9112 §7.1), until the body or the client ends. A chunk goes out in one write.

use std::{
    error::Error,
    future::poll_fn,
    io,
    io::Write as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    Response,
    body::Body,
    header::{DATE, TRANSFER_ENCODING},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Leash;

type Problem = Box<dyn Error + Send + Sync>;

/// What is to be written, and when to cut it.
pub struct Stream {
    pub response: Response<UnsyncBoxBody<Bytes, Problem>>,
    pub cut: Leash,
}

/// Writes a stream to its end, unless the client ends it before, or the leash does.
///
/// # Errors
/// The client is gone, or the body failed.
pub async fn write<I: AsyncRead + AsyncWrite + Unpin>(io: I, stream: Stream) -> Result<(), Problem> {
    let (parts, body) = stream.response.into_parts();
    let mut out = Vec::with_capacity(512);
    // Writing to a vector cannot fail, nor can what it is asked to write.
    let _ = write!(out, "HTTP/1.1 {}\r\n", parts.status);
    for (name, value) in &parts.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let now = httpdate::fmt_http_date(SystemTime::now());
    // No `Connection: close`, though nothing comes after it: some clients (undici) then take a stream that broke off for
    // one that ended as it should.
    let _ = write!(out, "{DATE}: {now}\r\n{TRANSFER_ENCODING}: chunked\r\n\r\n"); // as above
    drop(parts);
    let mut writer = Writer { io, body, out, sent: 0, ends: false };
    let mut cut = stream.cut;
    poll_fn(move |context| {
        if let Poll::Ready(written) = writer.poll(context) {
            return Poll::Ready(written);
        }
        cut.as_mut().poll(context).map(Ok)
    })
    .await
}

/// Without the machinery of `format!`: every alarm passes here.
fn push_hex(number: usize, out: &mut Vec<u8>) {
    let digits = number.checked_ilog2().unwrap_or(0) / 4;
    out.extend((0..=digits).rev().map(|digit| b"0123456789abcdef"[number >> (4 * digit) & 0xf]));
}

struct Writer<I> {
    io: I,
    body: UnsyncBoxBody<Bytes, Problem>,
    /// What has been taken from the body and not been written entirely; empty and without memory most of the time.
    out: Vec<u8>,
    sent: usize,
    /// The body has ended.
    ends: bool,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Writer<I> {
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
                    if let Ok(data) = frame?.into_data()
                        && !data.is_empty()
                    {
                        self.out = Vec::with_capacity(data.len() + 16);
                        push_hex(data.len(), &mut self.out);
                        self.out.extend_from_slice(b"\r\n");
                        self.out.extend_from_slice(&data);
                        self.out.extend_from_slice(b"\r\n");
                    }
                }
                Poll::Ready(None) => {
                    self.ends = true;
                    self.out.extend_from_slice(b"0\r\n\r\n");
                }
                Poll::Pending => break,
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

    /// Writes what waits; the memory is given back, because most connections wait most of the time.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.out.len() {
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.out[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        ready!(Pin::new(&mut self.io).poll_flush(context))?;
        (self.out, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        Pin::new(&mut self.io).poll_shutdown(context).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_chunk_is_written_in_hex() {
        for number in [1, 9, 15, 16, 255, 256, 4_095, 65_536, 0xab_cdef] {
            let mut out = Vec::new();
            push_hex(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{number:x}"));
        }
    }
}
