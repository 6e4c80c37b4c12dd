//! A hub without a database: it reads what others tell the stream, live and again.

use std::{collections::VecDeque, time::Duration};

use actors::{
    alarm::{
        Archive, Batch, Failure, Fault, FeedName, History, Look, Page, Position, Refusal, Round, Source, Write, Written,
    },
    change::Meaning,
    exchange::Away,
};
use redis::{
    AsyncCommands, FromRedisValue,
    aio::MultiplexedConnection,
    streams::{StreamId, StreamRangeReply, StreamReadOptions, StreamReadReply},
};
use tokio::runtime::Handle;
use tracing::warn;

use super::{ABOUT, ANSWER, Address, BLOCKED, STREAM, away, connect, feeder, page};

/// How long a look waits for something to come.
const WAIT: Duration = Duration::from_millis(1_000);

/// Pages that are read at once, at most.
const TOGETHER: usize = 16;

/// How many seconds no hub with a database may have been heard of before readers are told.
const SILENT: u64 = 5;

/// Pages in which the newest alarms of a user are looked for, at most.
const SEARCHED: usize = 4_096;

/// A connection, opened when it is needed, for code that blocks.
struct Line {
    address: Address,
    answer: Duration,
    handle: Handle,
    connection: Option<MultiplexedConnection>,
}

/// What is known of the stream.
struct About {
    at: Position,
    /// Where the log ends by the last word of a hub with the database, and when that was.
    head: u64,
    beat: u64,
    epoch: String,
    silent: u64,
}

impl Line {
    fn new(address: Address, answer: Duration) -> Self {
        Self { address, answer, handle: Handle::current(), connection: None }
    }

    /// Runs it on the connection; after a failure the next one runs on a new connection.
    fn run<T>(&mut self, job: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, Away>) -> Result<T, Failure> {
        let handle = self.handle.clone();
        let done = handle.block_on(async {
            if self.connection.is_none() {
                self.connection = Some(connect(&self.address, self.answer).await?);
            }
            match &mut self.connection {
                Some(connection) => job(connection).await,
                None => Err(Away("there is no connection".to_owned())),
            }
        });
        done.map_err(|Away(cause)| {
            self.connection = None;
            other(format!("redis: {cause}"))
        })
    }

    fn about(&mut self) -> Result<About, Failure> {
        let (about, time, last) = self.run(async |connection| {
            let mut asked = redis::pipe();
            asked.cmd("HMGET").arg(ABOUT).arg(&["feed", "beat", "epoch", "head"][..]).cmd("TIME");
            asked.cmd("XREVRANGE").arg(STREAM).arg("+").arg("-").arg("COUNT").arg(1);
            asked.query_async(connection).await.map_err(|cause| away(&cause))
        })?;
        let (about, time, last): (Vec<Option<String>>, (u64, u64), StreamRangeReply) = (about, time, last);
        let text = |index: usize| about.get(index).and_then(Option::as_deref).unwrap_or_default();
        let feed = feeder::feed(text(0)).ok_or_else(|| {
            other("no hub with a database has told Redis of its alarms yet; start one with --redis and --db".to_owned())
        })?;
        let (beat, head) = (text(1).parse().unwrap_or(0), text(3).parse().unwrap_or(0));
        // A stream that is filled again ends before what readers know.
        let seq = last.ids.first().map_or(0, |last| position(&last.id)).max(head);
        let (at, epoch, silent) = (Position { feed, seq }, text(2).to_owned(), time.0.saturating_sub(beat));
        Ok(About { at, head, beat, epoch, silent })
    }
}

fn other(cause: String) -> Failure {
    Failure { fault: Fault::Other, cause }
}

fn position(id: &str) -> u64 {
    id.split('-').next().and_then(|seq| seq.parse().ok()).unwrap_or(0)
}

fn batch(entry: &StreamId) -> Result<Batch, Failure> {
    let number = |field: &str| entry.get::<u64>(field).unwrap_or(0);
    let round = Round { start: number("start"), end: number("end") };
    let bytes: Vec<u8> = entry.get("page").unwrap_or_default();
    let read = page::decode(&bytes, number("p"), position(&entry.id), round);
    read.map_err(|cause| other(format!("a page of the alarms in Redis cannot be read: {cause}")))
}

/// The stream as it grows.
pub struct Tail {
    line: Line,
    waiting: VecDeque<Batch>,
    known: Option<(FeedName, String)>,
    /// When a hub with the database was heard of last.
    beat: u64,
    /// Where the log is known to end, and where the last page did.
    head: u64,
    told: u64,
}

impl Tail {
    /// The stream at this address.
    pub fn new(address: Address) -> Self {
        Self { line: Line::new(address, BLOCKED), waiting: VecDeque::new(), known: None, beat: 0, head: 0, told: 0 }
    }

    /// Whether it is another log than the one that was told up to there, or the same one put back. What Redis forgot
    /// comes again; but if a hub with the database was heard of since, that one knows where its log ends.
    fn is_replaced(&mut self, about: &About, told: u64) -> bool {
        let same = |(feed, epoch): &(FeedName, String)| {
            *feed == about.at.feed && (*epoch == about.epoch || about.epoch.is_empty())
        };
        let heard = about.beat > self.beat;
        self.beat = about.beat.max(self.beat);
        let same = self.known.as_ref().is_some_and(same) && !(heard && about.head < told);
        self.known = Some((about.at.feed, about.epoch.clone()));
        !same
    }
}

impl Source for Tail {
    fn open(&mut self) -> Result<Position, Failure> {
        self.waiting.clear();
        let mut about = self.line.about()?;
        if !self.is_replaced(&about, self.told) {
            about.at.seq = about.at.seq.max(self.told);
        }
        (self.head, self.told) = (about.at.seq, about.at.seq);
        Ok(about.at)
    }

    fn look(&mut self, after: Position, _: Option<Round>) -> Result<Look, Failure> {
        self.waiting.retain(|batch| batch.to > after.seq);
        if self.waiting.is_empty() {
            let read: Option<StreamReadReply> = self.line.run(async |connection| {
                let wait = usize::try_from(WAIT.as_millis()).unwrap_or(usize::MAX);
                let options = StreamReadOptions::default().block(wait).count(TOGETHER);
                let after = format!("{}-0", after.seq);
                connection.xread_options(&[STREAM], &[after], &options).await.map_err(|cause| away(&cause))
            })?;
            let entries = read.into_iter().flat_map(|read| read.keys).flat_map(|key| key.ids);
            self.waiting = entries.map(|entry| batch(&entry)).collect::<Result<_, _>>()?;
            if self.waiting.len() >= TOGETHER {
                self.head = self.line.about()?.at.seq; // there may be many more
            }
            self.head = self.waiting.iter().map(|batch| batch.round.end).fold(self.head, u64::max);
        }
        let next = self.waiting.pop_front();
        self.told = next.as_ref().map_or(after.seq, |next| next.to);
        let Some(next) = next else {
            let about = self.line.about()?;
            self.head = about.at.seq;
            if self.is_replaced(&about, after.seq) {
                self.told = about.at.seq;
                return Ok(Look::Replaced(about.at));
            }
            if about.silent > SILENT {
                let cause = format!("no hub with a database has been heard of for {} s", about.silent);
                return Err(other(cause));
            }
            return Ok(Look::Nothing);
        };
        if next.feed != after.feed {
            return self.open().map(Look::Replaced);
        }
        if next.from > after.seq {
            warn!(from = after.seq, to = next.from, "alarms between these positions are no longer in Redis");
            let round = Round { start: after.seq, end: next.round.end };
            return Ok(Look::News(Batch { from: after.seq, gap: true, round, ..next }));
        }
        Ok(Look::News(page::rest(next, after.seq)))
    }

    fn behind(&self) -> Option<u64> {
        Some(self.head.saturating_sub(self.told))
    }
}

/// The stream as it was.
pub struct Past {
    line: Line,
}

impl Past {
    /// The stream at this address.
    pub fn new(address: Address) -> Self {
        Self { line: Line::new(address, 5 * ANSWER) }
    }

    fn range(&mut self, from: &str, to: &str, newest_first: bool, count: usize) -> Result<Vec<StreamId>, Failure> {
        let reply: StreamRangeReply = self.line.run(async |connection| {
            let mut range = redis::cmd(if newest_first { "XREVRANGE" } else { "XRANGE" });
            range.arg(STREAM).arg(from).arg(to).arg("COUNT").arg(count);
            range.query_async(connection).await.map_err(|cause| away(&cause))
        })?;
        Ok(reply.ids)
    }
}

/// What an edge cannot do by itself.
const ELSEWHERE: &str = "this hub has no database: only a hub that has one can answer";

impl Archive for Past {
    fn page(&mut self, from: Position, _: Option<u64>, _: Option<Round>) -> Result<Page, Failure> {
        let entries = self.range(&format!("({}-0", from.seq), "+", false, 1)?;
        let entry = entries.first().ok_or_else(|| other("nothing follows this position".to_owned()))?;
        let batch = batch(entry)?;
        if batch.feed != from.feed {
            return Err(other("the position belongs to another database".to_owned()));
        }
        let expired = batch.from > from.seq;
        let from = batch.from.min(from.seq);
        let round = if expired { Round { start: from, end: batch.round.end } } else { batch.round };
        Ok(Page { batch: Batch { from, round, ..batch }, expired })
    }

    fn before_newest(&mut self, user: &str, count: u16) -> Result<Position, Failure> {
        let about = self.line.about()?;
        let (mut at, mut found, mut searched, mut before) = (about.at.seq, 0, 0, "+".to_owned());
        loop {
            let entries = self.range(&before, "-", true, TOGETHER)?;
            let Some(last) = entries.last() else { break };
            before = format!("({}", last.id);
            for entry in &entries {
                let page = batch(entry)?;
                let meanings = page.changes.iter().flat_map(|change| change.meanings_for(user));
                let arrived = meanings.filter_map(|meaning| match meaning {
                    Meaning::Arrived(seq) if seq > page.from && seq <= page.to => Some(seq),
                    _ => None,
                });
                let mut arrived: Vec<u64> = arrived.collect();
                arrived.sort_unstable();
                for seq in arrived.into_iter().rev().take(usize::from(count) - found) {
                    (at, found) = (seq - 1, found + 1);
                }
                searched += 1;
            }
            if found >= usize::from(count) || searched >= SEARCHED {
                break;
            }
        }
        Ok(Position { feed: about.at.feed, seq: at })
    }

    fn history(&mut self, _: &str, _: Option<u64>, _: u16) -> Result<History, Failure> {
        Err(other(ELSEWHERE.to_owned()))
    }

    fn write(&mut self, writes: Vec<Write>) -> Vec<Result<Written, Refusal>> {
        let nowhere = Position { feed: FeedName(0), seq: 0 };
        let write = |write| match write {
            // The register of the user says so.
            Write::Revoke(_) | Write::NoteClock(_) => Ok(Written::Done(nowhere)),
            _ => Err(Refusal::Failed(other(ELSEWHERE.to_owned()))),
        };
        writes.into_iter().map(write).collect()
    }

    fn revoked(&mut self) -> Result<Vec<(std::sync::Arc<str>, u128)>, Failure> {
        Ok(Vec::new())
    }

    fn noted_clock(&mut self) -> Result<Duration, Failure> {
        Ok(Duration::ZERO) // claims are made in the time of Redis
    }

    fn missing_triggers(&mut self) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    fn prune(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }
}

/// An archive whose tickets are good on every hub. While Redis is away a hub with a database keeps them there.
pub struct Ticketed {
    archive: Box<dyn Archive>,
    keeps: bool,
    line: Line,
    script: redis::Script,
}

impl Ticketed {
    /// `archive`, with its tickets in the Redis at this address; whether it can keep some by itself.
    pub fn new(archive: Box<dyn Archive>, keeps: bool, address: Address) -> Self {
        let script = redis::Script::new(include_str!("ticket.lua"));
        Self { archive, keeps, line: Line::new(address, ANSWER), script }
    }

    /// What Redis says to it; `None`: the archive is to be asked.
    fn ticket(&mut self, write: &Write) -> Option<Result<Written, Refusal>> {
        let ms = |time: std::time::SystemTime| {
            time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis().to_string()
        };
        let now = std::time::SystemTime::now();
        let hex = |claim: &u128| format!("{claim:032x}");
        let (digest, arguments) = match write {
            Write::IssueTicket { digest, user, until, expires } => {
                let kept = expires.unwrap_or(now + Duration::from_secs(86_400));
                let expires = expires.map(ms).unwrap_or_default();
                (digest, ["issue".into(), ms(now), user.to_string(), String::new(), ms(*until), expires, ms(kept)])
            }
            Write::RedeemTicket { digest, user, claim } => {
                let claim = claim.as_ref().map(hex).unwrap_or_default();
                let none = String::new;
                (digest, ["redeem".into(), ms(now), user.to_string(), claim, none(), none(), none()])
            }
            Write::BindTicket { digest, claim } => {
                let none = String::new;
                (digest, ["bind".into(), ms(now), none(), hex(claim), none(), none(), none()])
            }
            _ => return None,
        };
        let key: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut script = self.script.key(format!("{}ticket:{key}", super::PREFIX));
        script.arg(&arguments[..]);
        let answer = self.line.run(async |connection| {
            let answer: redis::Value = script.invoke_async(connection).await.map_err(|cause| away(&cause))?;
            Ok(answer)
        });
        let (done, expires): (bool, String) = match answer {
            Ok(answer) => FromRedisValue::from_redis_value(answer).ok()?,
            Err(_) if self.keeps => return None,
            Err(failure) => return Some(Err(Refusal::Failed(failure))),
        };
        if !done {
            return (!self.keeps).then_some(Err(Refusal::NotFound));
        }
        Some(Ok(match write {
            Write::RedeemTicket { .. } => {
                let until = |ms| std::time::UNIX_EPOCH + Duration::from_millis(ms);
                Written::Redeemed(expires.parse().ok().map(until))
            }
            _ => Written::Done(Position { feed: FeedName(0), seq: 0 }),
        }))
    }
}

impl Archive for Ticketed {
    fn page(&mut self, from: Position, until: Option<u64>, round: Option<Round>) -> Result<Page, Failure> {
        self.archive.page(from, until, round)
    }

    fn before_newest(&mut self, user: &str, count: u16) -> Result<Position, Failure> {
        self.archive.before_newest(user, count)
    }

    fn history(&mut self, user: &str, before: Option<u64>, limit: u16) -> Result<History, Failure> {
        self.archive.history(user, before, limit)
    }

    fn write(&mut self, writes: Vec<Write>) -> Vec<Result<Written, Refusal>> {
        let mut answers: Vec<Option<Result<Written, Refusal>>> =
            writes.iter().map(|write| self.ticket(write)).collect();
        let rest: Vec<Write> =
            writes.into_iter().zip(&answers).filter(|(_, answer)| answer.is_none()).map(|(write, _)| write).collect();
        let mut others = if rest.is_empty() { Vec::new() } else { self.archive.write(rest) }.into_iter();
        answers.iter_mut().filter(|answer| answer.is_none()).for_each(|answer| *answer = others.next());
        answers.into_iter().map(|answer| answer.unwrap_or(Err(Refusal::Busy))).collect()
    }

    fn revoked(&mut self) -> Result<Vec<(std::sync::Arc<str>, u128)>, Failure> {
        self.archive.revoked()
    }

    fn noted_clock(&mut self) -> Result<Duration, Failure> {
        self.archive.noted_clock()
    }

    fn missing_triggers(&mut self) -> Result<Vec<String>, Failure> {
        self.archive.missing_triggers()
    }

    fn prune(&mut self) -> Result<bool, Failure> {
        self.archive.prune()
    }
}
