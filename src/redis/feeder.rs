//! A hub with a database tells the stream what its log tells: the same pages, under the log's own positions. It has
//! its own way into the database and nobody waits for it; what it cannot tell now it tells later.

use std::time::Duration;

use actors::{
    alarm::{Batch, FeedName, Look, Position, Round, Source},
    archive::OpenArchive,
    cluster::Fed,
    exchange::Away,
    tree::OpenSource,
};
use redis::{Script, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use super::{ABOUT, ANSWER, Address, ORIGINS, STREAM, WINDOW, away, connect, page};

/// How often the stream is told that this hub is there.
const BEAT: Duration = Duration::from_secs(1);

/// After how many seconds without a word another database counts as gone.
const GONE: u64 = 30;

/// The pause after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// Tells the stream what the log tells.
pub struct Feeder {
    address: Address,
    make: OpenSource,
    archive: OpenArchive,
    /// Where other hubs can ask this one.
    advertise: watch::Receiver<Option<String>>,
    append: Script,
    /// It is there while the tip is known.
    connection: Option<MultiplexedConnection>,
    source: Option<(Box<dyn Source>, Position)>,
    tip: Option<Tip>,
    beat: Option<Instant>,
    fed: watch::Sender<Fed>,
}

/// Where the stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tip {
    Empty,
    /// After this position, within a round if that is not finished.
    At(u64, Option<Round>),
}

enum Appended {
    Done,
    Moved(Tip),
    Other(String),
}

/// Why it cannot go on now.
enum Trouble {
    Redis(Away),
    /// Readers are told of it by the hub itself.
    Database(String),
    /// The stream belongs to another database.
    Refused(String),
}

impl From<Away> for Trouble {
    fn from(away: Away) -> Self {
        Self::Redis(away)
    }
}

impl Feeder {
    /// A feeder of the stream at `address` from what `make` makes; how it is, is told over `fed`.
    pub fn new(
        address: Address,
        make: OpenSource,
        archive: OpenArchive,
        advertise: watch::Receiver<Option<String>>,
        fed: watch::Sender<Fed>,
    ) -> Self {
        let append = Script::new(include_str!("append.lua"));
        Self { address, make, archive, advertise, append, connection: None, source: None, tip: None, beat: None, fed }
    }

    /// Feeds until nobody can tell any more that the log `grew`.
    pub async fn run(mut self, mut grew: mpsc::Receiver<()>) {
        let mut advertise = self.advertise.clone();
        loop {
            let trouble = match self.step().await {
                Ok(true) => continue,
                Ok(false) => None,
                Err(trouble) => Some(trouble),
            };
            let pause = if trouble.is_some() { AGAIN } else { BEAT };
            match trouble {
                // The cluster actor tells of Redis, the poller of the database.
                Some(Trouble::Redis(Away(cause))) => {
                    debug!(cause, "cannot tell other hubs of the alarms now");
                    (self.connection, self.tip) = (None, None);
                }
                Some(Trouble::Database(cause)) => {
                    debug!(cause, "cannot read what other hubs are to be told");
                    self.source = None;
                }
                Some(Trouble::Refused(cause)) => {
                    self.tip = None;
                    if self.fed.borrow().refused.as_ref() != Some(&cause) {
                        warn!(cause, "this hub's alarms do not reach hubs without a database");
                    }
                    self.fed.send_modify(|fed| fed.refused = Some(cause));
                }
                None => self.fed.send_modify(|fed| fed.refused = None),
            }
            tokio::select! {
                told = grew.recv() => if told.is_none() { return },
                Ok(()) = advertise.changed() => self.beat = None,
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes one step; whether there is more to do at once.
    async fn step(&mut self) -> Result<bool, Trouble> {
        let Some(tip) = self.tip else {
            // Once connected: then the log has all that another hub may have told this Redis before it forgot.
            if self.connection.is_none() {
                self.connection = Some(connect(&self.address, 5 * ANSWER).await?);
            }
            self.source = None;
            let head = self.head().await?;
            // To believe that it is empty tells where it ends.
            let appended = self.append(head, Tip::Empty, None, false).await?;
            return self.take(appended, Tip::Empty).map(|()| true);
        };
        let head = self.head().await?;
        let (from, round) = match tip {
            Tip::At(seq, _) if seq > head.seq => return self.rolled_back(head, tip).await,
            Tip::At(seq, round) => (seq, round),
            Tip::Empty => (Self::window(self.archive.clone(), head).await?, None),
        };
        let Some((mut source, _)) = self.source.take() else { return Ok(true) };
        let at = Position { feed: head.feed, seq: from };
        let look = spawn_blocking(move || {
            let look = source.look(at, round);
            (source, look)
        });
        let (source, look) = look.await.map_err(|cause| Trouble::Database(cause.to_string()))?;
        match look.map_err(|failure| Trouble::Database(failure.cause))? {
            Look::Nothing => {
                self.source = Some((source, head));
                if self.beat.is_none_or(|beat| beat.elapsed() >= BEAT) {
                    let appended = self.append(head, tip, None, false).await?;
                    self.take(appended, tip)?;
                }
                Ok(false)
            }
            Look::Replaced(head) => {
                (self.source, self.tip) = (Some((source, head)), None);
                Ok(true)
            }
            Look::News(batch) => {
                let head = Position { seq: head.seq.max(batch.round.end), ..head };
                self.source = Some((source, head));
                let told = Tip::At(batch.to, Some(batch.round).filter(|round| batch.to < round.end));
                let appended = self.append(head, tip, Some(&batch), false).await?;
                self.take(appended, told)?;
                Ok(true)
            }
        }
    }

    /// The head of the log, as far as it is known.
    async fn head(&mut self) -> Result<Position, Trouble> {
        if let Some((_, head)) = &self.source {
            return Ok(*head);
        }
        let make = self.make.clone();
        let opened = spawn_blocking(move || {
            let mut source = make();
            let head = source.open();
            (source, head)
        });
        let (source, head) = opened.await.map_err(|cause| Trouble::Database(cause.to_string()))?;
        let head = head.map_err(|failure| Trouble::Database(failure.cause))?;
        self.source = Some((source, head));
        Ok(head)
    }

    /// Where an empty stream begins: so far back, or where the log begins.
    async fn window(open: OpenArchive, head: Position) -> Result<u64, Trouble> {
        let begin = spawn_blocking(move || {
            let mut archive = open();
            let mut from = head.seq.saturating_sub(WINDOW);
            while let Ok(page) = archive.page(Position { seq: from, ..head }, Some(head.seq), None)
                && page.expired
                && page.batch.to > from
            {
                from = page.batch.to;
            }
            from
        });
        begin.await.map_err(|cause| Trouble::Database(cause.to_string()))
    }

    /// The stream is beyond the log: another hub was faster, or the database was put back to an earlier state.
    async fn rolled_back(&mut self, head: Position, tip: Tip) -> Result<bool, Trouble> {
        self.source = None; // what another hub told is in the database by now
        let fresh = self.head().await?;
        if fresh.feed != head.feed || matches!(tip, Tip::At(seq, _) if seq <= fresh.seq) {
            return Ok(true);
        }
        warn!(head = fresh.seq, "the database is further back than what hubs were told: they are told again");
        let appended = self.append(fresh, tip, None, true).await?;
        self.take(appended, Tip::Empty)?;
        Ok(true)
    }

    fn take(&mut self, appended: Appended, told: Tip) -> Result<(), Trouble> {
        let tip = match appended {
            Appended::Done => told,
            Appended::Moved(tip) => tip,
            Appended::Other(feed) => {
                let cause = format!("redis has the alarms of another database ({feed}), of which a hub is still there");
                return Err(Trouble::Refused(cause));
            }
        };
        let seq = |tip: Option<Tip>| match tip {
            Some(Tip::At(seq, _)) => seq,
            _ => 0,
        };
        if self.tip.is_some() && seq(Some(tip)) < seq(self.tip) {
            info!("redis forgot alarms: it is told again");
            self.source = None; // a source that has seen all says so, whatever it is asked
        }
        self.tip = Some(tip);
        let head = self.source.as_ref().map_or(0, |(_, head)| head.seq);
        self.fed.send_modify(|fed| fed.behind = head.saturating_sub(seq(Some(tip))));
        Ok(())
    }

    async fn append(&mut self, head: Position, tip: Tip, batch: Option<&Batch>, reset: bool) -> Result<Appended, Away> {
        let mut append = self.append.key(STREAM);
        append.key(ABOUT).key(ORIGINS).arg(head.feed.to_string()).arg(head.seq);
        match tip {
            Tip::Empty => append.arg(""),
            Tip::At(seq, _) => append.arg(seq),
        };
        append.arg(WINDOW).arg(self.advertise.borrow().as_deref().unwrap_or_default()).arg(GONE).arg(u8::from(reset));
        if let Some(batch) = batch {
            append.arg(batch.to).arg(batch.from).arg(batch.round.start).arg(batch.round.end).arg(page::encode(batch));
        }
        let Some(connection) = &mut self.connection else { return Err(Away("there is no connection".to_owned())) };
        let answer: Vec<Value> = append.invoke_async(connection).await.map_err(|cause| away(&cause))?;
        self.beat = Some(Instant::now());
        let text = |index: usize| {
            let value = answer.get(index).cloned().unwrap_or(Value::Nil);
            redis::from_redis_value::<String>(value).unwrap_or_default()
        };
        let number = |index: usize| text(index).parse::<u64>().unwrap_or(0);
        Ok(match text(0).as_str() {
            "done" => Appended::Done,
            "other" => Appended::Other(text(1)),
            _ if text(1).is_empty() => Appended::Moved(Tip::Empty),
            _ => {
                let round = Round { start: number(2), end: number(3) };
                Appended::Moved(Tip::At(number(1), Some(round).filter(|round| number(1) < round.end)))
            }
        })
    }
}

/// The name of a database as it is written.
pub fn feed(text: &str) -> Option<FeedName> {
    u32::from_str_radix(text, 16).ok().map(FeedName)
}
