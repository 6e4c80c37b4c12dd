//! What other hubs write to this one: a stream of its own, read by a connection of its own.

use actors::exchange::{Away, Later, Mailbox, Note};
use redis::{
    AsyncCommands,
    aio::MultiplexedConnection,
    streams::{StreamReadOptions, StreamReadReply},
};
use tracing::warn;

use super::{Address, BLOCK, BLOCKED, away, codec, connect, mailbox};

/// Notes that are read at once, at most.
const TOGETHER: usize = 1_000;

/// A hub's own mailbox.
pub struct Inbox {
    address: Address,
    key: String,
    connection: Option<MultiplexedConnection>,
    last: String,
}

impl Inbox {
    /// The mailbox of this hub, from its beginning.
    pub fn new(address: Address, hub: &str) -> Self {
        Self { address, key: mailbox(hub), connection: None, last: "0".to_owned() }
    }

    async fn notes(&mut self) -> Result<Vec<Note>, Away> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.address, BLOCKED).await?);
        }
        let Some(connection) = &mut self.connection else { return Ok(Vec::new()) };
        let block = usize::try_from(BLOCK.as_millis()).unwrap_or(usize::MAX);
        let options = StreamReadOptions::default().block(block).count(TOGETHER);
        let read: Option<StreamReadReply> =
            connection.xread_options(&[&self.key], &[&self.last], &options).await.map_err(|cause| away(&cause))?;
        let mut notes = Vec::new();
        for entry in read.into_iter().flat_map(|read| read.keys).flat_map(|key| key.ids) {
            if let Some(user) = entry.get::<String>("look") {
                notes.push(Note::Look(user.into()));
            } else if let Some(bytes) = entry.get::<Vec<u8>>("note") {
                match codec::decode_note(&bytes) {
                    Ok(note) => notes.push(note),
                    Err(cause) => warn!(cause, "a note of another hub cannot be read"),
                }
            }
            self.last = entry.id;
        }
        Ok(notes)
    }
}

impl Mailbox for Inbox {
    fn read(&mut self) -> Later<'_, Result<Vec<Note>, Away>> {
        Box::pin(async {
            let notes = self.notes().await;
            if notes.is_err() {
                self.connection = None;
            }
            notes
        })
    }
}
