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
};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::{CONNECTION, HeaderValue, TRANSFER_ENCODING},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::Watcher,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tracing::debug;

use super::{
    Excess, Times,
    addresses::{Rate, Share},
    socket::Socket,
};

/// Headers that a request has at most.
const HEADERS: usize = 200;

/// Bytes of a request's head at most: an `Accept-Language` of 90 KB still fits, and is cut by who reads it. This is
/// also how much of a response waits to be written at most, one chunk apart.
const HEAD: usize = 131_072;

type Ended = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Completes when what writes a response shall not go on.
type Leash = Pin<Box<dyn Future<Output = ()> + Send>>;

/// In the extensions of a response that is a stream: completes when whoever feeds it has let go of it. The
/// connection then has a moment to be read to its end and is cut, also if the client reads nothing at all.
#[derive(Clone)]
pub struct Ends(Arc<Ended>);

impl Ends {
    /// When `ended` completes.
    pub fn new(ended: Ended) -> Self {
        Self(Arc::new(ended))
    }
}

/// Who is connected.
pub struct Visitor {
    pub peer: SocketAddr,
    /// `None`: it is exempt from what is counted per address.
    pub share: Option<Share>,
    pub rate: Rate,
    /// Why it is answered from the reserve.
    pub over: Option<Excess>,
}

impl Visitor {
    /// Whether the next request is over a limit.
    fn excess(&self) -> Option<Excess> {
        self.over.or_else(|| self.share.as_ref()?.request(self.rate).err().map(Excess::Rate))
    }
}

tokio::task_local! {
    /// Where the service leaves a [`Leash`] for the task that writes its response.
    static LEASH: Cell<Option<Leash>>;
}

/// Serves the requests of one connection until it ends.
pub async fn serve<S, B>(stream: TcpStream, visitor: Visitor, service: S, times: Times, watcher: Watcher)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let over = visitor.over.is_some();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(visitor.peer);
        if let Some(excess) = visitor.excess() {
            request.extensions_mut().insert(excess);
        }
        // Whether it had a Content-Length besides, hyper does not tell; then nothing may come after it (RFC 9112 §6.1).
        let last = request.headers().contains_key(TRANSFER_ENCODING);
        let answer = service.call(request);
        async move {
            LEASH.with(|leash| leash.set(Some(Box::pin(pending())))); // what came before has been read to its end
            let mut response = answer.await?;
            if let Some(ended) = response.extensions_mut().remove::<Ends>().and_then(|ends| Arc::into_inner(ends.0)) {
                let cut = async move {
                    ended.await;
                    sleep(times.farewell).await;
                };
                LEASH.with(|leash| leash.set(Some(Box::pin(cut))));
            }
            if last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(if over { times.excess } else { times.head })
        .max_headers(HEADERS)
        .max_buf_size(HEAD)
        .keep_alive(!over);
    let connection = http.serve_connection(TokioIo::new(Socket::new(stream)), service);
    let served = leashed(watcher.watch(connection));
    let served = if over { timeout(times.excess, served).await.ok().flatten() } else { served.await };
    if let Some(Err(cause)) = served {
        debug!(%cause, "a connection failed");
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
