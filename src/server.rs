//! The accept loop, and what protects the hub from its clients: how many connections there may be, how long a head may
//! take, what an ended connection may still cost. It knows HTTP as a protocol and nothing of what is asked for.
//!
//! One task accepts and owns all connections, so nothing is shared but what one address has used up
//! ([`seats::Seat`], an atomic number). Whoever is over a limit is still answered, from a small reserve of
//! connections and with an [`Excess`] in the request's extensions: the routes turn that into `bye busy` or a problem.
//! When the reserve is used up too, the rest waits in the backlog.

mod connection;
mod seats;
mod socket;
mod stream;
pub mod tls;

use std::{
    convert::Infallible,
    error::Error,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    service::Service,
};
use ipnet::IpNet;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, oneshot, watch},
    task::{JoinSet, yield_now},
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tracing::{info, warn};

pub use connection::Live;
use connection::Visitor;
use seats::Seats;
pub use socket::Tap;
pub use stream::Chunk;
use tls::Certificate;

/// Connections that wait to be accepted; the kernel takes `net.core.somaxconn` if that is less.
const BACKLOG: u32 = 4096;

/// Bytes that the kernel holds for a client that does not read, about: it doubles the figure for its own needs.
const SEND_BUFFER: u32 = 65_536;

/// Connections beyond the limit that are still answered, so that they are told to come back later.
const RESERVE: usize = 64;

/// Descriptors that are not connections: the database, its log and its watch, listeners, the runtime's own.
const DESCRIPTORS: usize = 32;

/// Requests that are in work at a time, those that wait for somebody else aside.
const TURNS: usize = 32;

/// Connections that are accepted in one go, before others have a turn.
const AT_ONCE: u32 = 16;

/// How long to wait before accepting again when the kernel has no descriptor or memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// How much one hub and one address may have.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address.
    pub per_address: usize,
    /// Requests a second from one address.
    pub rate: u32,
    /// Networks that are exempt from the two per address, as loopback is.
    pub exempt: Vec<IpNet>,
    /// How long things may take.
    pub times: Times,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The head of a request, from the first moment in which it could have come; also what an idle connection has.
    pub head: Duration,
    /// What an ended stream has to be read to its end before its connection is cut.
    pub farewell: Duration,
    /// Sent bytes that the client's side does not confirm, or has no room for (`TCP_USER_TIMEOUT`).
    pub unread: Duration,
    /// A connection that was accepted beyond the limit, in all.
    pub excess: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            farewell: Duration::from_secs(3),
            unread: Duration::from_secs(30),
            excess: Duration::from_secs(3),
        }
    }
}

/// In the extensions of a request that is over a limit: it is to be answered so, and nothing else done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// There are as many connections as there may be.
    Connections,
    /// Its address has as many connections as it may have.
    Address,
    /// Its address asks too often; after this time one more request is free.
    Rate(Duration),
}

impl Excess {
    /// When to come back, spread so that not all do at once.
    pub fn retry(self) -> Duration {
        match self {
            Self::Connections | Self::Address => actors::spread(Duration::from_secs(3), Duration::from_secs(10)),
            Self::Rate(free) => free + actors::spread(Duration::from_secs(1), Duration::from_secs(3)),
        }
    }
}

/// A server that runs; dropped, it cuts all connections.
pub struct Server {
    stop: oneshot::Sender<()>,
    limits: watch::Sender<Limits>,
    task: JoinSet<()>,
}

impl Server {
    /// Serves what comes to `listeners`, over TLS if there is a certificate. A request carries its peer's address in its extensions, as [`SocketAddr`],
    /// and an [`Excess`] if it is over a limit; a response that is a stream carries what makes it [`Live`].
    pub fn start<S, B>(
        listeners: Vec<TcpListener>,
        certificate: Option<&Certificate>,
        service: S,
        limits: Limits,
    ) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        let tls = certificate.map(Certificate::current);
        let limits = watch::Sender::new(limits);
        task.spawn(accept(listeners, tls, service, limits.subscribe(), stopped));
        Self { stop, limits, task }
    }

    /// Goes by these limits from now on. No connection that is there is ended, and who is exempt stays so as long as
    /// it is connected; the times are those of the start.
    pub fn limit(&self, limits: Limits) {
        self.limits.send_replace(limits);
    }

    /// Accepts no more from now on and ends every connection that carries nothing; completes when the last one is
    /// gone. Dropped before that, it cuts those that are left.
    pub fn stop(self) -> impl Future<Output = ()> {
        let Self { stop, mut task, .. } = self;
        let _ = stop.send(()); // a task that ended accepts nothing
        async move { while task.join_next().await.is_some() {} }
    }
}

/// Listens at `address`. What is set here is inherited by every connection that is accepted.
///
/// # Errors
/// What the system says against it.
pub fn listen(address: SocketAddr, times: Times) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    SockRef::from(&socket).set_tcp_user_timeout(Some(times.unread))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept<S, B>(
    listeners: Vec<TcpListener>,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    service: S,
    mut limits: watch::Receiver<Limits>,
    mut stopped: oneshot::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let begun = limits.borrow_and_update().clone();
    let (room, mut reserve) = room(begun.connections);
    let mut seats = Seats::new(room, &begun);
    let (mut connections, mut excess) = (JoinSet::new(), JoinSet::new());
    let stop = watch::Sender::new(());
    let (turns, mut at_once) = (Arc::new(Semaphore::new(TURNS)), 0);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stopped => break,
            Ok(()) = limits.changed() => {
                let limits = limits.borrow_and_update().clone();
                let (room, spare) = self::room(limits.connections);
                reserve = spare;
                seats.renew(room, &limits);
                continue;
            }
            Some(_) = connections.join_next() => continue,
            Some(_) = excess.join_next() => continue,
            accepted = poll_fn(|context| poll_accept(&listeners, context)),
                if seats.are_free() || excess.len() < reserve => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The client gave up while it waited: the next one is as good as ever (accept(2)).
            Err(cause) if matches!(cause.kind(), io::ErrorKind::ConnectionAborted) => continue,
            Err(cause) => {
                warn!(%cause, connections = connections.len(), "cannot accept; going on in a moment");
                sleep(PAUSE).await;
                continue;
            }
        };
        let seat = seats.take(peer.ip());
        let over = seat.is_err();
        if over && excess.len() >= reserve {
            continue; // an address that wants more than its share even of the reserve is cut without a word
        }
        let tls = tls.as_ref().map(|tls| TlsAcceptor::from(tls.borrow().clone()));
        let visitor = Visitor { peer, seat, turns: turns.clone(), times: begun.times };
        let among = if over { &mut excess } else { &mut connections };
        among.spawn(visitor.serve(stream, tls, service.clone(), stop.subscribe()));
        at_once = (at_once + 1) % AT_ONCE;
        if at_once == 0 {
            yield_now().await;
        }
    }
    drop(listeners);
    info!(connections = connections.len(), "accepting no more");
    drop(stop); // which tells it to each of them
    while connections.join_next().await.is_some() {}
    while excess.join_next().await.is_some() {}
}

/// How many connections there may be, and how many more are answered: no more than descriptors allow.
fn room(wanted: usize) -> (usize, usize) {
    let limit =
        rlimit::Resource::NOFILE.get_soft().map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let left = limit.saturating_sub(DESCRIPTORS);
    let reserve = RESERVE.min(left / 4).max(1);
    let room = wanted.min(left.saturating_sub(reserve)).max(1);
    if room < wanted {
        warn!(wanted, room, limit, "fewer connections than --max-connections: raise the limit of open descriptors");
    }
    (room, reserve)
}

fn poll_accept(listeners: &[TcpListener], context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
    for listener in listeners {
        if let Poll::Ready(accepted) = listener.poll_accept(context) {
            // An IPv4 client of a socket that takes both is still an IPv4 client.
            return Poll::Ready(
                accepted.map(|(stream, peer)| (stream, (peer.ip().to_canonical(), peer.port()).into())),
            );
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_connection_inherits_what_its_listener_has_and_one_that_takes_nothing_is_given_up() {
        let times = Times { unread: Duration::from_millis(800), ..Times::default() };
        let listener = listen("127.0.0.1:0".parse().unwrap(), times).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut served, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&served);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(times.unread));
        assert_eq!(socket.send_buffer_size().unwrap(), 2 * SEND_BUFFER as usize);
        let too_much = vec![0; 16 << 20];
        let written = timeout(Duration::from_secs(60), served.write_all(&too_much)).await.expect("it is given up");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(client);
    }

    #[test]
    fn there_are_no_more_seats_than_descriptors() {
        let limit = usize::try_from(rlimit::Resource::NOFILE.get_soft().unwrap()).unwrap();
        assert_eq!(room(5).0, 5);
        let (all, reserve) = room(usize::MAX);
        assert!(all + reserve + DESCRIPTORS <= limit, "{all} {reserve} {limit}");
    }
}
