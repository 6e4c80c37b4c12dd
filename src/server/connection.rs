//! One connection, from its first byte to its last.

use std::{
    cell::Cell,
    convert::Infallible,
    error::Error,
    future::{pending, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request, Response, Version,
    body::{Body, Incoming},
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    rt::Executor,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::{
    Excess, Times,
    seats::Seat,
    socket::{Line, Socket, Tap},
    stream::{self, Stream},
    tls,
};

/// Headers that a request has at most.
const HEADERS: usize = 200;

/// Bytes of a request's head at most: an `Accept-Language` of 90 KB still fits, and is cut by who reads it. This is
/// also how much of a response waits to be written at most, one chunk apart.
const HEAD: usize = 131_072;

/// How long a request keeps its turn at most: if it takes longer than that, it waits for something.
const TURN: Duration = Duration::from_millis(50);

/// How often an HTTP/2 client shows that it is there, and how long that may take.
const PING: Duration = Duration::from_secs(20);

type Problem = Box<dyn Error + Send + Sync>;

type Ended = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Completes when what writes a response shall not go on.
pub type Leash = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells the body of a stream that it is written without hyper, and what there is to write past the body.
pub type Straight = Box<dyn FnOnce(Option<Tap>) + Send + Sync>;

/// In the extensions of a response that is a stream.
#[derive(Clone)]
pub struct Live(Arc<(Ended, Straight)>);

impl Live {
    /// `ended` completes when whoever feeds the stream has let go of it: the connection then has a moment to be read to
    /// its end and is cut, also if the client reads nothing at all. After `straight` the body has to give whole
    /// [`Chunk`](super::Chunk)s, the last one too; the tap takes such as well, as long as nothing waits that the body
    /// gave.
    pub fn new(ended: Ended, straight: Straight) -> Self {
        Self(Arc::new((ended, straight)))
    }
}

/// Who is connected.
pub struct Visitor {
    pub peer: SocketAddr,
    /// Without one, why: it is answered from the reserve, and soon sent away.
    pub seat: Result<Seat, Excess>,
    /// As many requests are in work at a time: thousands that come at once shall not stand between an alarm and those
    /// who wait for it.
    pub turns: Arc<Semaphore>,
    pub times: Times,
}

tokio::task_local! {
    /// Where the service leaves a [`Leash`] for the task that writes its response.
    static LEASH: Cell<Option<Leash>>;

    /// Where the service of an HTTP/1.1 connection leaves a stream: hyper is not to write it.
    static STREAM: Cell<Option<Stream>>;
}

impl Visitor {
    /// Serves the requests of one connection until it ends.
    pub async fn serve<S, B>(self, stream: TcpStream, tls: Option<TlsAcceptor>, service: S, stop: watch::Receiver<()>)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Problem>,
    {
        let (times, over) = (self.times, self.seat.is_err());
        let stream = Socket::new(stream);
        let served = async move {
            match tls {
                None => self.http1(stream, service, stop).await,
                // In a box, because a connection without TLS shall not be as large as one with it.
                Some(tls) => Box::pin(self.secure(stream, tls, service, stop)).await,
            }
        };
        let served = if over { timeout(times.excess, served).await.unwrap_or(Ok(())) } else { served.await };
        if let Err(cause) = served {
            debug!(cause, "a connection failed");
        }
    }

    async fn secure<S, B>(
        self,
        stream: Socket,
        tls: TlsAcceptor,
        service: S,
        stop: watch::Receiver<()>,
    ) -> Result<(), Problem>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Problem>,
    {
        let stream = timeout(self.times.head, tls.accept(stream)).await??;
        if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2) {
            self.http2(stream, service, stop).await
        } else {
            self.http1(stream, service, stop).await
        }
    }

    async fn http1<S, B, I>(self, stream: I, service: S, mut stop: watch::Receiver<()>) -> Result<(), Problem>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Problem>,
        I: Line,
    {
        // In a box, because what hyper needs goes with it, and a stream shall not be as large as that.
        let taken = Box::pin(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(self.times.head)
                .max_headers(HEADERS)
                .max_buf_size(HEAD)
                .keep_alive(self.seat.is_ok());
            // In a box as well: hyper keeps the place of what answers a request for as long as the connection lasts.
            let service = service_fn(move |request| Box::pin(self.answer(&service, request)));
            let mut connection = http.serve_connection(TokioIo::new(stream), service);
            let mut stopping = pin!(async move {
                let _ = stop.changed().await; // the sender is only ever dropped
            });
            let (mut stopped, mut taken) = (false, None);
            let served = poll_fn(|context| {
                if !stopped && stopping.as_mut().poll(context).is_ready() {
                    stopped = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                if let Poll::Ready(served) = Pin::new(&mut connection).poll(context) {
                    return Poll::Ready(served);
                }
                taken = STREAM.with(Cell::take);
                if taken.is_some() { Poll::Ready(Ok(())) } else { Poll::Pending }
            });
            STREAM.scope(Cell::new(None), leashed(served)).await.unwrap_or(Ok(()))?;
            let parts = connection.into_parts();
            // The service holds the seat.
            Ok::<_, Problem>(taken.map(|stream| (parts.io.into_inner(), parts.service, stream)))
        });
        match taken.await? {
            Some((io, _seated, stream)) => stream::write(io, stream).await,
            None => Ok(()),
        }
    }

    async fn http2<S, B, I>(self, stream: I, service: S, mut stop: watch::Receiver<()>) -> Result<(), Problem>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Problem>,
        I: Line,
    {
        let (times, streams) = (self.times, Streams(Arc::new(())));
        let mut http = http2::Builder::new(streams.clone());
        http.timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_header_list_size(HEAD as u32)
            .max_send_buf_size(HEAD);
        let service = service_fn(move |request| self.answer(&service, request));
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let idle = streams.idle(times.head);
        tokio::select! {
            served = &mut connection => return Ok(served?),
            _ = stop.changed() => {}
            () = idle => {}
        }
        connection.as_mut().graceful_shutdown();
        Ok(connection.await?)
    }

    /// Answers one request, in the task that writes the answer.
    fn answer<S, B>(
        &self,
        service: &S,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<B>, Infallible>> + use<S, B>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Problem>,
    {
        // An HTTP/1 connection has one request at a time; each at a time of HTTP/2 has a seat.
        let seat = match &self.seat {
            Ok(seat) => seat.request().and_then(|()| {
                let shared = request.version() == Version::HTTP_2;
                if shared { seat.another().map(Some) } else { Ok(None) }
            }),
            Err(excess) => Err(*excess),
        };
        let held = seat.unwrap_or_else(|excess| {
            request.extensions_mut().insert(excess);
            None
        });
        request.extensions_mut().insert(self.peer);
        let plain = request.version() == Version::HTTP_11
            && [TRANSFER_ENCODING, CONTENT_LENGTH].iter().all(|body| !request.headers().contains_key(body));
        let (answer, farewell, turns) = (service.call(request), self.times.farewell, self.turns.clone());
        async move {
            LEASH.with(|leash| leash.set(Some(Box::pin(pending())))); // what came before has been read to its end
            let (mut answer, mut turn) = (pin!(answer), None);
            let mut response = if plain {
                turn = turns.acquire_owned().await.ok(); // it is never closed
                match timeout(TURN, answer.as_mut()).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        turn = None;
                        answer.await
                    }
                }
            } else {
                answer.await // whoever sends a body may be slow
            }?;
            if let Some((ended, straight)) =
                response.extensions_mut().remove::<Live>().and_then(|live| Arc::into_inner(live.0))
            {
                let cut = async move {
                    let _held = held;
                    ended.await;
                    sleep(farewell).await;
                };
                if plain {
                    let response = response.map(|body| body.map_err(Into::into).boxed_unsync());
                    STREAM.with(|stream| stream.set(Some(Stream { response, straight, turn, cut: Box::pin(cut) })));
                    return pending().await;
                }
                LEASH.with(|leash| leash.set(Some(Box::pin(cut))));
            }
            Ok(response)
        }
    }
}

/// Runs what writes responses; `None`: it was still not done when the leash of the last one ended, and is cut.
async fn leashed<F: Future>(writes: F) -> Option<F::Output> {
    let run = async move {
        let mut writes = pin!(writes);
        let mut cut: Option<Leash> = None;
        let run = poll_fn(|context| {
            if let Poll::Ready(done) = writes.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            cut = LEASH.with(Cell::take).or_else(|| cut.take());
            cut.as_mut().map_or(Poll::Pending, |cut| cut.as_mut().poll(context).map(|()| None))
        });
        run.await
    };
    LEASH.scope(Cell::new(None), run).await
}

/// Runs the streams of one HTTP/2 connection, each in a task of its own; all of them hold what is in it.
#[derive(Clone)]
struct Streams(Arc<()>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let held = self.0.clone();
        tokio::spawn(async move {
            leashed(stream).await;
            drop(held);
        });
    }
}

impl Streams {
    /// Completes when it has none after so long, or again so long; HTTP/1 has its header read time-out for that.
    fn idle(self, time: Duration) -> impl Future<Output = ()> {
        let none = Arc::strong_count(&self.0);
        async move {
            loop {
                sleep(time).await;
                if Arc::strong_count(&self.0) <= none {
                    return;
                }
            }
        }
    }
}
