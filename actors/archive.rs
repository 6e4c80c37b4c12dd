//! ArchiveActor: everything that must wait for the database, so that nothing else does: replay pages, history,
//! publishing, acknowledgements, tickets.
//!
//! Two lanes, one job at a time in each, off the async threads: reads, and writes. All writes that wait together are
//! one transaction, so that many publishers share one `fsync`.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::{task::spawn_blocking, time::sleep};
use tracing::{error, warn};
use uuid::Uuid;

use crate::{
    alarm::{Archive, Failure, Fault, History, Position, Refusal, Round, Write, Written},
    claim::Claim,
    memory::{Bulletin, Shapes},
    user_session::{Pulled, SessionMessage},
};

/// Reads that wait at most.
const READS_MAX: usize = 4_096;

/// Questions about the triggers that wait beside them at most.
const ASKED_MAX: usize = 64;

/// Writes that wait at most, revocations aside (those are one a user).
const WRITES_MAX: usize = 4_096;

/// How long the revocations after one wait for others: what the hub has not written when it is killed is not revoked.
const REVOKE_TOGETHER: Duration = Duration::from_millis(25);

/// Revocations that are written at once, so that they keep no other program waiting.
const REVOKE_PAGE: usize = 1_000;

/// How often the log is pruned, and the pause between two of its short transactions.
const PRUNE: Duration = Duration::from_secs(60);
const PRUNE_MORE: Duration = Duration::from_millis(50);

/// Makes a lane's connection to the database.
pub type OpenArchive = Arc<dyn Fn() -> Box<dyn Archive> + Send + Sync>;

/// Everything that must wait for the database.
pub struct ArchiveActor;

/// Why the archive did not answer.
#[derive(Clone, Debug)]
pub enum Unavailable {
    /// Too many wait already: come back in a second.
    Busy,
    /// The database did not answer.
    Failed(Failure),
}

/// What the archive can be asked.
#[derive(Debug)]
pub enum ArchiveMessage {
    /// The next page of the past for a session's connection, up to `until` at most.
    Page {
        /// Who asks.
        session: ActorRef<SessionMessage>,
        /// For which connection.
        conn: Uuid,
        /// Where it stands.
        at: Position,
        /// Where the hub's memory begins.
        until: u64,
        /// The round that the page has to go on with.
        round: Option<Round>,
    },
    /// Where the newest `count` alarms of a user begin.
    Origin {
        /// Who asks.
        session: ActorRef<SessionMessage>,
        /// For which connection.
        conn: Uuid,
        /// Whose alarms.
        user: Arc<str>,
        /// How many.
        count: u16,
    },
    /// Part of a user's history, newest first.
    History {
        /// Whose.
        user: Arc<str>,
        /// Older than this place.
        before: Option<u64>,
        /// At most so many.
        limit: u16,
        /// The answer.
        reply: RpcReplyPort<Result<History, Unavailable>>,
    },
    /// Which of the triggers that fill the log are not there. Goes before what waits: whoever asks decides whether the
    /// hub is to be trusted now.
    MissingTriggers(RpcReplyPort<Result<Vec<String>, Failure>>),
    /// Write something; whatever waits together is one transaction. A [`Refusal::Busy`] means: too much waits already.
    Write(Write, RpcReplyPort<Result<Written, Refusal>>),
    /// Remember that claims of this user up to this one are worth nothing.
    Revoke {
        /// Whose.
        user: Arc<str>,
        /// Up to which.
        claim: Claim,
    },
    /// A lane is free again (`None`: its job panicked, and its connection is lost).
    Free(Lane, Connection),
    /// Remember that claims have been made up to this time (since 1970).
    NoteClock(Duration),
    /// The database cannot be read: look whether its files are still there. One that was taken away is gone only when no
    /// connection has it open.
    LookAfter,
    /// Write what was revoked meanwhile.
    WriteRevoked,
    /// Delete what is older than it need be.
    Prune,
}

/// One of the two ways to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Pages and history.
    Read,
    /// Everything that changes it.
    Write,
}

/// A lane's connection on its way back.
pub struct Connection(Option<Box<dyn Archive>>);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Connection" } else { "no Connection" })
    }
}

type WriteReply = RpcReplyPort<Result<Written, Refusal>>;
type Job = Box<dyn FnOnce(&mut dyn Archive) + Send>;

/// The archive's state.
pub struct ArchiveState {
    open: OpenArchive,
    myself: ActorRef<ArchiveMessage>,
    reader: Option<Box<dyn Archive>>,
    writer: Option<Box<dyn Archive>>,
    reads: VecDeque<Job>,
    writes: Vec<(Write, Option<WriteReply>)>,
    revoked: HashMap<Arc<str>, Claim>,
    /// Some were written a moment ago: others wait for the next time.
    revoked_lately: bool,
    prune: bool,
    /// Lanes that are to look after their files as soon as they are free.
    to_look_after: Vec<Lane>,
}

impl ArchiveState {
    fn page(&mut self, session: ActorRef<SessionMessage>, conn: Uuid, at: Position, until: u64, round: Option<Round>) {
        let failed = session.clone();
        let job = move |archive: &mut dyn Archive| {
            let pulled = match archive.page(at, Some(until), round) {
                Ok(page) => {
                    Pulled::Pages(vec![Arc::new(Bulletin::new(page.batch, &mut Shapes::default()))], page.expired)
                }
                Err(failure) => {
                    warn!(cause = %failure, "cannot read a page of the past");
                    Pulled::Failed
                }
            };
            let _ = session.cast(SessionMessage::Pulled(conn, pulled)); // it may have ended
        };
        if !self.read(Box::new(job)) {
            let _ = failed.cast(SessionMessage::Pulled(conn, Pulled::Failed)); // it may have ended
        }
    }

    fn origin(&mut self, session: ActorRef<SessionMessage>, conn: Uuid, user: Arc<str>, count: u16) {
        let failed = session.clone();
        let job = move |archive: &mut dyn Archive| {
            let at = archive.before_newest(&user, count);
            if let Err(failure) = &at {
                warn!(cause = %failure, "cannot read where the history begins");
            }
            let _ = session.cast(SessionMessage::Origin(conn, at.ok())); // it may have ended
        };
        if !self.read(Box::new(job)) {
            let _ = failed.cast(SessionMessage::Origin(conn, None)); // it may have ended
        }
    }

    fn history(
        &mut self,
        user: Arc<str>,
        before: Option<u64>,
        limit: u16,
        reply: RpcReplyPort<Result<History, Unavailable>>,
    ) {
        if self.reads.len() >= READS_MAX {
            let _ = reply.send(Err(Unavailable::Busy)); // whoever asked may have given up
            return;
        }
        self.read(Box::new(move |archive| {
            if !reply.is_closed() {
                let history = archive.history(&user, before, limit).map_err(Unavailable::Failed);
                let _ = reply.send(history); // whoever asked may have given up
            }
        }));
    }

    fn missing_triggers(&mut self, reply: RpcReplyPort<Result<Vec<String>, Failure>>) {
        if self.reads.len() >= READS_MAX + ASKED_MAX {
            return; // dropping the reply tells that there was no answer
        }
        self.reads.push_front(Box::new(move |archive| {
            let _ = reply.send(archive.missing_triggers()); // whoever asked may have given up
        }));
        self.go_on_reading();
    }

    /// Queues a read; `false`: too many wait.
    fn read(&mut self, job: Job) -> bool {
        if self.reads.len() >= READS_MAX {
            return false;
        }
        self.reads.push_back(job);
        self.go_on_reading();
        true
    }

    fn go_on_reading(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        if let Some(reader) = self.reader.take()
            && let Some(job) = self.reads.pop_front()
        {
            self.run(Lane::Read, reader, job);
        }
    }

    fn write(&mut self, write: Write, reply: RpcReplyPort<Result<Written, Refusal>>) {
        if self.writes.len() >= WRITES_MAX {
            let _ = reply.send(Err(Refusal::Busy)); // whoever asked may have given up
            return;
        }
        self.writes.push((write, Some(reply)));
        self.go_on_writing();
    }

    fn go_on_writing(&mut self) {
        // Whoever was told to ask again must not find it written twice: what nobody waits for any more is not written.
        self.writes.retain(|(_, reply)| reply.as_ref().is_none_or(|reply| !reply.is_closed()));
        if self.writes.is_empty() && !self.prune {
            return;
        }
        let Some(writer) = self.writer.take() else { return };
        if self.writes.is_empty() {
            self.prune = false;
            let myself = self.myself.clone();
            return self.run(Lane::Write, writer, Box::new(move |archive| prune(archive, &myself)));
        }
        self.join_revoked();
        let (writes, replies): (Vec<_>, Vec<_>) = mem::take(&mut self.writes).into_iter().unzip();
        let job = move |archive: &mut dyn Archive| {
            for (reply, answer) in replies.into_iter().zip(archive.write(writes)) {
                match (reply, answer) {
                    (Some(reply), answer) => {
                        let _ = reply.send(answer); // whoever asked may have given up
                    }
                    (None, Err(refusal)) => warn!(?refusal, "cannot keep what is known of claims"),
                    (None, Ok(_)) => {}
                }
            }
        };
        self.run(Lane::Write, writer, Box::new(job));
    }

    fn revoke(&mut self, user: Arc<str>, claim: Claim) {
        let highest = self.revoked.entry(user).or_insert(claim);
        *highest = claim.max(*highest);
        if !self.revoked_lately {
            self.write_revoked();
        }
    }

    fn write_revoked(&mut self) {
        self.revoked_lately = !self.revoked.is_empty();
        if self.revoked_lately {
            self.join_revoked();
            self.go_on_writing();
            self.later(REVOKE_TOGETHER, ArchiveMessage::WriteRevoked);
        }
    }

    /// What was revoked goes with the writes that wait.
    fn join_revoked(&mut self) {
        let revoked: Vec<_> = self.revoked.drain().map(|(user, claim)| (user, claim.as_u128())).collect();
        self.writes.extend(revoked.chunks(REVOKE_PAGE).map(|page| (Write::Revoke(page.to_vec()), None)));
    }

    fn run(&self, lane: Lane, mut archive: Box<dyn Archive>, job: Job) {
        let myself = self.myself.clone();
        tokio::spawn(async move {
            let done = spawn_blocking(move || {
                job(&mut *archive);
                archive
            });
            let connection = Connection(done.await.ok());
            let _ = myself.cast(ArchiveMessage::Free(lane, connection)); // an archive that ended needs none
        });
    }

    /// Lets a lane look whether its files are still there, now or when it is free.
    fn look_after(&mut self, lane: Lane) {
        let connection = match lane {
            Lane::Read => self.reader.take(),
            Lane::Write => self.writer.take(),
        };
        match connection {
            // Whatever is wrong is told when something is asked for.
            Some(connection) => self.run(lane, connection, Box::new(|archive| drop(archive.missing_triggers()))),
            None if self.to_look_after.contains(&lane) => {}
            None => self.to_look_after.push(lane),
        }
    }

    fn free(&mut self, lane: Lane, connection: Connection) {
        let connection = connection.0.unwrap_or_else(|| {
            error!(?lane, "a job of the archive panicked; its connection is opened again");
            (self.open)()
        });
        if let Some(index) = self.to_look_after.iter().position(|other| *other == lane) {
            self.to_look_after.swap_remove(index);
            return self.run(lane, connection, Box::new(|archive| drop(archive.missing_triggers())));
        }
        match lane {
            Lane::Read => {
                self.reader = Some(connection);
                self.go_on_reading();
            }
            Lane::Write => {
                self.writer = Some(connection);
                self.go_on_writing();
            }
        }
    }

    fn later(&self, delay: Duration, message: ArchiveMessage) {
        let myself = self.myself.clone();
        tokio::spawn(async move {
            sleep(delay).await;
            let _ = myself.cast(message); // an archive that ended has nothing left to do
        });
    }
}

/// Prunes a little and arranges for the rest.
fn prune(archive: &mut dyn Archive, myself: &ActorRef<ArchiveMessage>) {
    let more = archive.prune().unwrap_or_else(|failure| {
        if failure.fault != Fault::Locked {
            warn!(cause = %failure, "cannot prune the log");
        }
        false
    });
    let (delay, myself) = (if more { PRUNE_MORE } else { PRUNE }, myself.clone());
    tokio::runtime::Handle::current().spawn(async move {
        sleep(delay).await;
        let _ = myself.cast(ArchiveMessage::Prune); // an archive that ended has nothing left to do
    });
}

impl Actor for ArchiveActor {
    type Msg = ArchiveMessage;
    type State = ArchiveState;
    type Arguments = OpenArchive;

    async fn pre_start(
        &self,
        myself: ActorRef<ArchiveMessage>,
        open: OpenArchive,
    ) -> Result<ArchiveState, ActorProcessingErr> {
        let (reader, writer) = (Some(open()), Some(open()));
        let _ = myself.cast(ArchiveMessage::Prune); // to oneself, at the start
        Ok(ArchiveState {
            open,
            myself,
            reader,
            writer,
            reads: VecDeque::new(),
            writes: Vec::new(),
            revoked: HashMap::new(),
            revoked_lately: false,
            prune: false,
            to_look_after: Vec::new(),
        })
    }

    async fn handle(
        &self,
        _: ActorRef<ArchiveMessage>,
        message: ArchiveMessage,
        state: &mut ArchiveState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ArchiveMessage::Page { session, conn, at, until, round } => state.page(session, conn, at, until, round),
            ArchiveMessage::Origin { session, conn, user, count } => state.origin(session, conn, user, count),
            ArchiveMessage::History { user, before, limit, reply } => state.history(user, before, limit, reply),
            ArchiveMessage::MissingTriggers(reply) => state.missing_triggers(reply),
            ArchiveMessage::Write(write, reply) => state.write(write, reply),
            ArchiveMessage::Revoke { user, claim } => state.revoke(user, claim),
            ArchiveMessage::Free(lane, connection) => state.free(lane, connection),
            ArchiveMessage::NoteClock(clock) => {
                state.writes.push((Write::NoteClock(clock), None)); // once a minute
                state.go_on_writing();
            }
            ArchiveMessage::WriteRevoked => state.write_revoked(),
            ArchiveMessage::LookAfter => {
                state.look_after(Lane::Read);
                state.look_after(Lane::Write);
            }
            ArchiveMessage::Prune => {
                state.prune = true;
                state.go_on_writing();
            }
        }
        Ok(())
    }
}
