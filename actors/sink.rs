//! The bounded one-way street to a browser: what travels on it and why it ends.
//!
//! The session holds the [`Sink`], the HTTP body the [`Feed`]. Room is counted in alarms (of 4 KiB each, so that a
//! street full of long ones is bounded too), and room for the `bye` is set aside when the street is opened.
//!
//! A street on which nothing waits is a detour: whoever writes the feed may hand the sink an [`Outlet`], and what finds
//! the street empty is written there and then. What the client's side does not take at once waits in the street.

mod event;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use tokio::{
    sync::{
        mpsc::{self, OwnedPermit},
        oneshot,
    },
    time::Instant,
};
use uuid::Uuid;

use crate::{claim::Claim, histogram::Histogram};

pub use event::{Block, Event, Reason, Status, room_for};

/// The short way to the client: a port of whoever writes the feed.
pub trait Outlet: Send {
    /// Writes these as far as they can be written now, and gives back the bytes that could not. Never waits.
    fn write(&mut self, blocks: &[Block]) -> Option<Bytes>;
}

/// Some blocks in order, and the room they take until they are written.
#[derive(Debug)]
pub struct Parcel {
    /// The bytes of blocks that an [`Outlet`] could not write, before those in `blocks`.
    pub rest: Bytes,
    /// What is to be written.
    pub blocks: Vec<Block>,
    /// When the oldest change was made that the hub did not have to be asked for.
    made: Option<Instant>,
    _room: Taken,
}

/// The room of a street: only its sink takes of it, and what was written gives it back.
#[derive(Debug)]
struct Room {
    free: AtomicU32,
    /// Parcels under way: whoever drops one has written it.
    parcels: AtomicU32,
    wanted: AtomicWaker,
}

/// So much room, until it is dropped.
#[derive(Debug)]
struct Taken {
    room: Arc<Room>,
    alarms: u32,
}

impl Room {
    fn take(self: &Arc<Self>, alarms: u32) -> Option<Taken> {
        if self.free.load(Ordering::Acquire) < alarms {
            return None;
        }
        self.free.fetch_sub(alarms, Ordering::AcqRel);
        self.parcels.fetch_add(1, Ordering::AcqRel);
        Some(Taken { room: self.clone(), alarms })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.free.fetch_add(self.alarms, Ordering::AcqRel);
        self.room.parcels.fetch_sub(1, Ordering::AcqRel);
        self.room.wanted.wake();
    }
}

/// The writing end: owned by one session.
pub struct Sink {
    /// In boxes: a channel sets aside the space of 32 at once.
    parcels: mpsc::Sender<Box<Parcel>>,
    room: Arc<Room>,
    capacity: u32,
    bye: OwnedPermit<Box<Parcel>>,
    outlet: Option<Box<dyn Outlet>>,
    /// Brings the outlet, if whoever writes the feed has one.
    offered: Option<oneshot::Receiver<Box<dyn Outlet>>>,
    delays: Arc<Histogram>,
    /// Dropped with the sink: the server then gives the connection a moment to drain and cuts it.
    _ended: oneshot::Sender<()>,
}

/// The reading end: what becomes the body of the response.
pub struct Feed {
    /// Names the connection in logs and in `hello`.
    pub conn: Uuid,
    /// The claim that its ids carry.
    pub claim: Claim,
    parcels: mpsc::Receiver<Box<Parcel>>,
    outlet: Option<oneshot::Sender<Box<dyn Outlet>>>,
    ended: Option<oneshot::Receiver<()>>,
    delays: Arc<Histogram>,
    gone: Option<Box<dyn FnOnce() + Send + Sync>>,
}

/// The sink has no room; nothing of what was offered was taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// Opens a street with room for `capacity` alarms. `gone` is called when the feed is dropped before the sink.
///
/// How long it took from the commit of what is live to the writing of it is counted in `delays`.
pub fn open(
    conn: Uuid,
    claim: Claim,
    capacity: u32,
    delays: Arc<Histogram>,
    gone: impl FnOnce() + Send + Sync + 'static,
) -> (Sink, Feed) {
    let capacity = capacity.max(1);
    // Each parcel takes at least one of `capacity`; one more slot for the hello and one for the bye.
    let (parcels, receiver) = mpsc::channel(capacity as usize + 2);
    let bye = match parcels.clone().try_reserve_owned() {
        Ok(permit) => permit,
        Err(_) => unreachable!("a new channel has room"),
    };
    let ((ended, end), (outlet, offered)) = (oneshot::channel(), oneshot::channel());
    let room = Room { free: AtomicU32::new(capacity), parcels: AtomicU32::new(0), wanted: AtomicWaker::new() };
    let sink = Sink {
        parcels,
        room: Arc::new(room),
        capacity,
        bye,
        outlet: None,
        offered: Some(offered),
        delays: delays.clone(),
        _ended: ended,
    };
    let (outlet, ended, gone) = (Some(outlet), Some(end), Some(Box::new(gone) as Box<_>));
    (sink, Feed { conn, claim, parcels: receiver, outlet, ended, delays, gone })
}

impl Sink {
    /// How much room there is now.
    pub fn room(&self) -> u32 {
        self.room.free.load(Ordering::Acquire)
    }

    /// How much room there is in all: an event that takes more is let through an empty street.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Alarms that wait to be written.
    pub fn queued(&self) -> u32 {
        self.capacity - self.room().min(self.capacity)
    }

    /// Completes once there is room for so many. One at a time: who waits last is woken.
    pub fn room_again(&self, alarms: u32) -> impl Future<Output = ()> + Send + 'static {
        let (room, alarms) = (self.room.clone(), alarms.min(self.capacity));
        poll_fn(move |context| {
            room.wanted.register(context.waker());
            if room.free.load(Ordering::Acquire) >= alarms { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    /// The hello: takes no room, there is a slot for it.
    pub fn greet(&self, blocks: Vec<Block>) -> Result<(), Full> {
        self.send(Bytes::new(), blocks, None, 0)
    }

    /// Offers blocks; all or none are taken. Never waits. `made` is when the oldest of what is live in them was.
    pub fn offer(&mut self, mut blocks: Vec<Block>, made: Option<Instant>) -> Result<(), Full> {
        let needed = blocks.iter().map(|block| room_for(&block.event)).sum::<u32>().min(self.capacity);
        let mut rest = Bytes::new();
        if let Some(outlet) = self.outlet() {
            match outlet.write(&blocks) {
                Some(left) => (rest, blocks) = (left, Vec::new()),
                None => {
                    note_delay(&self.delays, made);
                    return Ok(());
                }
            }
        }
        self.send(rest, blocks, made, needed)
    }

    fn send(&self, rest: Bytes, blocks: Vec<Block>, made: Option<Instant>, needed: u32) -> Result<(), Full> {
        let room = self.room.take(needed).ok_or(Full)?;
        self.parcels.try_send(Box::new(Parcel { rest, blocks, made, _room: room })).map_err(|_| Full)
    }

    /// The short way, if there is one and nothing is under way on the long one.
    fn outlet(&mut self) -> Option<&mut Box<dyn Outlet>> {
        if let Some(offered) = &mut self.offered {
            match offered.try_recv() {
                Ok(outlet) => (self.outlet, self.offered) = (Some(outlet), None),
                Err(oneshot::error::TryRecvError::Closed) => self.offered = None,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
        }
        self.outlet.as_mut().filter(|_| self.room.parcels.load(Ordering::Acquire) == 0)
    }

    /// Ends the street with this block, after all that waits in it.
    pub fn bye(self, block: Block) {
        let Some(room) = self.room.take(0) else { return }; // that much there always is
        self.bye.send(Box::new(Parcel { rest: Bytes::new(), blocks: vec![block], made: None, _room: room }));
    }

    /// Ends the street without a word.
    pub fn close(self) {}
}

impl Feed {
    /// A street that is already at its end: `hello` and `bye`, nothing of which an actor knows.
    pub fn ended_with(conn: Uuid, claim: Claim, blocks: Vec<Block>) -> Self {
        let (sink, feed) = open(conn, claim, 1, Arc::default(), || {});
        let _ = sink.greet(blocks); // a new street has room for its first parcel
        feed
    }

    /// Offers the sink a shorter way: from now on it may write through `outlet` whenever no parcel is under way, that is,
    /// taken and not dropped yet.
    pub fn shorten(&mut self, outlet: Box<dyn Outlet>) {
        if let Some(offer) = self.outlet.take() {
            let _ = offer.send(outlet); // a session that let go writes nothing
        }
    }

    /// The next parcel that waits; `None` after the last one.
    pub fn poll_parcel(&mut self, context: &mut Context<'_>) -> Poll<Option<Box<Parcel>>> {
        let parcel = self.parcels.poll_recv(context);
        if let Poll::Ready(Some(parcel)) = &parcel {
            note_delay(&self.delays, parcel.made);
        }
        parcel
    }

    /// The next parcel; `None` after the last one.
    pub async fn parcel(&mut self) -> Option<Box<Parcel>> {
        let parcel = self.parcels.recv().await;
        parcel.inspect(|parcel| note_delay(&self.delays, parcel.made))
    }

    /// Completes once the session let go of the connection, though blocks may still wait to be written. Once only.
    pub fn ended(&mut self) -> Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>> {
        let ended = self.ended.take()?;
        Some(Box::pin(async move {
            let _ = ended.await; // the sender is only ever dropped
        }))
    }
}

/// What is written or taken to be written now was made then.
fn note_delay(delays: &Histogram, made: Option<Instant>) {
    if let Some(made) = made {
        delays.observe(made.elapsed());
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // Once the sink is gone, there is nobody who does not know.
        if let Some(gone) = self.gone.take().filter(|_| !self.parcels.is_closed()) {
            gone();
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("conn", &self.conn).field("claim", &self.claim).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, time::Duration};

    use super::*;
    use crate::alarm::{FeedName, Position};

    /// Tells what it wrote, by position, while it can write.
    struct Told(mpsc::Sender<u64>, Arc<AtomicBool>);

    impl Outlet for Told {
        fn write(&mut self, blocks: &[Block]) -> Option<Bytes> {
            if !self.1.load(Ordering::Relaxed) {
                return Some(Bytes::from_static(b"rest"));
            }
            blocks.iter().for_each(|block| self.0.try_send(block.at.seq).expect("there is room"));
            None
        }
    }

    #[tokio::test]
    async fn only_what_finds_nothing_under_way_takes_the_short_way() {
        let claim = Claim::next(None, Duration::ZERO, Uuid::nil());
        let (mut sink, mut feed) = open(Uuid::nil(), claim, 8, Arc::default(), || {});
        let ((told, mut wrote), takes) = (mpsc::channel(8), Arc::new(AtomicBool::new(true)));
        let ping = |seq| vec![Block { event: Event::Ping, at: Position { feed: FeedName(7), seq } }];
        sink.greet(ping(0)).unwrap();
        feed.shorten(Box::new(Told(told, takes.clone())));
        sink.offer(ping(1), None).unwrap();
        let hello = feed.parcel().await.unwrap();
        drop(feed.parcel().await.unwrap());
        sink.offer(ping(2), None).unwrap();
        assert!(wrote.try_recv().is_err(), "the hello has not been written");
        drop(hello);
        drop(feed.parcel().await.unwrap());
        sink.offer(ping(3), None).unwrap();
        assert_eq!((wrote.recv().await, sink.queued()), (Some(3), 0));
        takes.store(false, Ordering::Relaxed);
        sink.offer(ping(4), None).unwrap();
        takes.store(true, Ordering::Relaxed);
        sink.offer(ping(5), None).unwrap();
        assert_eq!(sink.queued(), 2);
        let rest = feed.parcel().await.unwrap();
        assert_eq!((&rest.rest[..], rest.blocks.len()), (&b"rest"[..], 0));
        assert_eq!(feed.parcel().await.unwrap().blocks[0].at.seq, 5);
        assert!(wrote.try_recv().is_err(), "the rest waited before it");
    }
}
