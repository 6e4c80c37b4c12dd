//! How far the hub has read the log, and what it still has of it.

use std::sync::Arc;

use tracing::warn;

use crate::{
    alarm::{Batch, Position, Round},
    memory::{Bulletin, Memory, Shapes},
};

/// Changes that a session is handed at once when it asks for what lies back.
const PAGE: usize = 512;

/// How far the log was read, and its newest pages.
#[derive(Default)]
pub struct Log {
    at: Option<Position>,
    memory: Memory,
    shapes: Shapes,
}

/// Where the pages after a position are.
pub enum Since {
    /// Here.
    Pages(Vec<Arc<Bulletin>>),
    /// In the database, up to `until`; they are decided as part of this round, if it is known.
    Archived {
        /// The last `seq` to be read.
        until: u64,
        /// The round that the position stands in.
        round: Option<Round>,
    },
    /// Nowhere: the position belongs to another database.
    Void,
}

impl Log {
    /// How far it was read; `None`: the database was never open.
    pub fn at(&self) -> Option<Position> {
        self.at
    }

    /// The poller opened a database with this head: where to read on; `None`: at the head, for it is the first one, or
    /// another one, or an earlier state of it, and positions up to now mean nothing.
    pub fn opened(&mut self, head: Position) -> Option<(Position, Option<Round>)> {
        match self.at {
            Some(at) if at.feed == head.feed && at.seq <= head.seq => {
                return Some((at, self.memory.round().filter(|round| at.seq < round.end)));
            }
            Some(before) => {
                warn!(feed = %head.feed, feed.before = %before.feed, "another database: all positions are void");
            }
            None => {}
        }
        (self.at, self.memory) = (Some(head), Memory::default());
        None
    }

    /// Adds the next page; `None`: it is not the next one.
    pub fn grow(&mut self, batch: Batch) -> Option<Arc<Bulletin>> {
        if self.at.is_none_or(|at| at.feed != batch.feed || at.seq != batch.from) {
            return None;
        }
        self.at = Some(Position { feed: batch.feed, seq: batch.to });
        let bulletin = Arc::new(Bulletin::new(batch, &mut self.shapes));
        self.memory.remember(bulletin.clone());
        Some(bulletin)
    }

    /// What comes after the position of a reader that stands in this round, if in any.
    pub fn since(&self, at: Position, round: Option<Round>) -> Since {
        let floor = match self.at {
            Some(head) if head.feed == at.feed => self.memory.floor().unwrap_or(head.seq),
            _ => return Since::Void,
        };
        if let Some(pages) = self.memory.since(at.seq, PAGE) {
            return Since::Pages(pages);
        }
        // What lies below the floor is read up to it, where a round begins; what lies above it and is not in memory
        // belongs to a round that was too large for it.
        let (until, round) = if at.seq < floor { (floor, round) } else { (u64::MAX, self.memory.round()) };
        Since::Archived { until, round }
    }
}
