//! The floor: what a server costs that does nothing but write. It takes each POST's body as the data of one event,
//! encodes it once and sends it to every client by one write each.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(usize::MAX);

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1000\ndata: {}\n\n";
const TAKEN: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

struct Client {
    socket: TcpStream,
    /// What was read of a request that is not complete.
    asked: Vec<u8>,
    reads: bool,
}

/// Serves until it is killed.
pub fn serve(address: SocketAddr) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let listener = std::net::TcpListener::from(listener(address)?);
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    poll.registry().register(&mut socket, Token(clients.len()), Interest::READABLE)?;
                    clients.push(Some(Client { socket, asked: Vec::new(), reads: false }));
                }
                continue;
            }
            let index = event.token().0;
            let Some(client) = &mut clients[index] else { continue };
            let gone = loop {
                match client.socket.read(&mut buffer) {
                    Ok(0) => break true,
                    Ok(read) => client.asked.extend_from_slice(&buffer[..read]),
                    Err(error) => break error.kind() != ErrorKind::WouldBlock,
                }
            };
            if gone {
                clients[index] = None;
                continue;
            }
            answer(&mut clients, index)?;
        }
    }
}

fn listener(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket)
}

/// Answers what this client has asked completely.
fn answer(clients: &mut [Option<Client>], index: usize) -> io::Result<()> {
    while let Some(client) = &mut clients[index] {
        let Some(body) = memchr::memmem::find(&client.asked, b"\r\n\r\n").map(|end| end + 4) else { return Ok(()) };
        let head = String::from_utf8_lossy(&client.asked[..body]).into_owned();
        if head.starts_with("GET") {
            client.socket.write_all(STREAM)?;
            (client.asked, client.reads) = (Vec::new(), true);
            return Ok(());
        }
        let length = head.split_once("Content-Length: ").and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
        let end = body + length.unwrap_or(0);
        if client.asked.len() < end {
            return Ok(());
        }
        let event = [b"event: alarm\ndata: ", &client.asked[body..end], b"\n\n"].concat();
        client.asked.drain(..end);
        client.socket.write_all(TAKEN)?;
        for slot in clients.iter_mut() {
            let reader = slot.as_mut().filter(|client| client.reads);
            if reader.is_some_and(|client| client.socket.write_all(&event).is_err()) {
                *slot = None; // too slow or gone: a floor keeps no queue
            }
        }
    }
    Ok(())
}
