//! The load generator: one thread, a few bytes of state a connection. It spins while it measures (a sleeping reader
//! makes the server's writes dearer, because each has to wake it) and counts how much of the time it was busy.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream as Blocking},
    time::{Duration, Instant},
};

use memchr::memmem::Finder;
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::Outcome;

/// How long anything may take before the run fails.
const PATIENCE: Duration = Duration::from_secs(60);

struct Client {
    socket: TcpStream,
    /// Whether what was read last ended with a line break.
    in_break: bool,
}

/// What a client just read.
pub struct Heard<'a> {
    /// Which one.
    pub client: usize,
    /// Blocks that ended in it.
    pub blocks: u64,
    /// The bytes; `None`: the server closed the connection.
    pub bytes: Option<&'a [u8]>,
}

/// The clients of one server.
pub struct Load {
    poll: Poll,
    events: Events,
    address: SocketAddr,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    end: Finder<'static>,
    /// Blocks read in all.
    pub blocks: u64,
    busy: Duration,
    since: Instant,
}

impl Load {
    /// No clients yet.
    pub fn new(address: SocketAddr) -> Outcome<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            address,
            clients: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; 262_144],
            end: Finder::new("\n\n"),
            blocks: 0,
            busy: Duration::ZERO,
            since: Instant::now(),
        })
    }

    /// Connects and sends this request.
    pub fn open(&mut self, request: &str) -> Outcome<usize> {
        self.open_at(self.address, request)
    }

    /// Connects to another server and sends this request.
    pub fn open_at(&mut self, address: SocketAddr, request: &str) -> Outcome<usize> {
        let mut socket = Blocking::connect(address)?;
        socket.set_nodelay(true)?;
        // Closed by a reset: a million of them must not wait for their last packets.
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        socket.write_all(request.as_bytes())?;
        socket.set_nonblocking(true)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        let mut socket = TcpStream::from_std(socket);
        self.poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
        self.clients[index] = Some(Client { socket, in_break: false });
        Ok(index)
    }

    /// Opens all of these, no more than a few at a time unanswered, and waits until each has its first block.
    pub fn open_all(&mut self, requests: impl Iterator<Item = String>) -> Outcome<()> {
        let mut waiting = self.blocks;
        for request in requests {
            self.open(&request)?;
            waiting += 1;
            self.until("answers to openings", |load| load.blocks + 64 > waiting)?;
        }
        self.until("answers to openings", |load| load.blocks >= waiting)
    }

    /// Closes a connection.
    pub fn close(&mut self, client: usize) {
        if self.clients[client].take().is_some() {
            self.free.push(client);
        }
    }

    /// Sends more on a connection.
    pub fn send(&mut self, client: usize, bytes: &[u8]) -> Outcome<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            let Some(open) = &mut self.clients[client] else { return Err("the server closed a connection".into()) };
            match open.socket.write(&bytes[sent..]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.turn(|_, _| {})?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads whatever is there, without waiting.
    pub fn turn(&mut self, mut hear: impl FnMut(&mut Self, Heard<'_>)) -> Outcome<()> {
        let begun = Instant::now();
        self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
        if self.events.is_empty() {
            return Ok(());
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let mut buffer = std::mem::take(&mut self.buffer);
        for event in &events {
            self.read(event.token().0, &mut buffer, &mut hear);
        }
        self.buffer = buffer;
        self.events = events;
        self.busy += begun.elapsed();
        Ok(())
    }

    fn read(&mut self, index: usize, buffer: &mut [u8], hear: &mut impl FnMut(&mut Self, Heard<'_>)) {
        while let Some(client) = &mut self.clients[index] {
            match client.socket.read(buffer) {
                Ok(0) => {
                    self.close(index);
                    hear(self, Heard { client: index, blocks: 0, bytes: None });
                }
                Ok(read) => {
                    let bytes = &buffer[..read];
                    let split = u64::from(client.in_break && bytes[0] == b'\n');
                    let blocks = split + self.end.find_iter(&bytes[usize::from(split > 0)..]).count() as u64;
                    client.in_break = bytes.ends_with(b"\n") && !bytes.ends_with(b"\n\n");
                    self.blocks += blocks;
                    hear(self, Heard { client: index, blocks, bytes: Some(bytes) });
                    if read == buffer.len() {
                        continue; // there is more, and no further notice of it
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.close(index);
                    hear(self, Heard { client: index, blocks: 0, bytes: None });
                }
            }
            return;
        }
    }

    /// Reads until it is so.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Outcome<()> {
        let begun = Instant::now();
        while !done(self) {
            self.turn(|_, _| {})?;
            if begun.elapsed() > PATIENCE {
                return Err(format!("{what}: not within {PATIENCE:?}").into());
            }
        }
        Ok(())
    }

    /// Reads for so long.
    pub fn rest(&mut self, time: Duration) -> Outcome<()> {
        let begun = Instant::now();
        self.until("rest", |_| begun.elapsed() >= time)
    }

    /// From now on the busy share is counted.
    pub fn count_busy(&mut self) {
        (self.busy, self.since) = (Duration::ZERO, Instant::now());
    }

    /// Which share of the time since then it had something to read.
    pub fn busy_share(&self) -> f64 {
        self.busy.as_secs_f64() / self.since.elapsed().as_secs_f64()
    }
}
