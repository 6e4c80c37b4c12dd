//! The register that all hubs share, and the way to their mailboxes: scripts beside this file, many in one pipeline.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use actors::{
    claim::{Claim, OWNER_REMEMBERED},
    exchange::{Ask, Away, Clock, Exchange, Later, Reply},
    register::{CONCURRENT, Register, SILENT, Step, Verdict},
};
use redis::{FromRedisValue, Pipeline, RedisError, Script, Value, aio::MultiplexedConnection};
use tokio::time::Instant;
use uuid::Uuid;

use super::{ANSWER, Address, MAILBOX, ORIGINS, PREFIX, REGISTER, away, codec, connect, mailbox};

/// How often the clock is asked, of which the fastest answer counts.
const CLOCK_ROUNDS: usize = 8;

/// How long a hub counts as one after its last word, in seconds.
const HUB_SILENT: u64 = 90;

/// How long a hub that can be asked counts as there after its last word, in seconds.
const ORIGIN_SILENT: u64 = 10;

/// Notes that a mailbox holds at most, about.
const MAILBOX_MAX: usize = 100_000;

/// The register, and what it takes to reach it.
pub struct Shared {
    address: Address,
    hub: Arc<str>,
    scripts: Scripts,
    connection: Option<MultiplexedConnection>,
    /// The instant that scripts take for now; 0: the server's. Only a test sets it.
    now: Arc<AtomicU64>,
}

struct Scripts {
    register: Script,
    post: Script,
    hubs: Script,
}

impl Shared {
    /// The register at this address, for this hub.
    pub fn new(address: Address, hub: Arc<str>) -> Self {
        let scripts = Scripts {
            register: Script::new(include_str!("register.lua")),
            post: Script::new(include_str!("post.lua")),
            hubs: Script::new(include_str!("hubs.lua")),
        };
        Self { address, hub, scripts, connection: None, now: Arc::default() }
    }

    /// Scripts take this instant for now, not the server's: so that they can be compared with the function they mirror.
    pub fn at(self, now: Arc<AtomicU64>) -> Self {
        Self { now, ..self }
    }

    /// The connection; scripts are loaded when it is new, because the server may be, too.
    async fn connection(&mut self) -> Result<&mut MultiplexedConnection, Away> {
        if self.connection.is_none() {
            let mut connection = connect(&self.address, ANSWER).await?;
            for script in [&self.scripts.register, &self.scripts.post, &self.scripts.hubs] {
                script.prepare_invoke().load_async(&mut connection).await.map_err(|cause| away(&cause))?;
            }
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| Away("there is no connection".to_owned()))
    }

    async fn compare(&mut self) -> Result<Clock, Away> {
        let connection = self.connection().await?;
        let mut best: Option<(std::time::Duration, Clock)> = None;
        for _ in 0..CLOCK_ROUNDS {
            let asked = Instant::now();
            let time: (u64, u64) = redis::cmd("TIME").query_async(connection).await.map_err(|cause| away(&cause))?;
            let took = asked.elapsed();
            // It was read somewhere between: half way is off by half of the round trip at most.
            let clock = Clock { at: asked + took / 2, shared: time.0 * 1_000_000 + time.1 };
            if best.is_none_or(|(fastest, _)| took < fastest) {
                best = Some((took, clock));
            }
        }
        best.map(|(_, clock)| clock).ok_or_else(|| Away("it told no time".to_owned()))
    }

    fn push(&self, pipeline: &mut Pipeline, ask: &Ask) {
        match ask {
            Ask::Bid(user, step, bid) => {
                let (name, fresh) = match step {
                    Step::Claim { fresh } => ("claim", *fresh),
                    Step::Renew => ("renew", false),
                    Step::Release => ("release", false),
                };
                let text = |claim: Option<Claim>| claim.map_or_else(String::new, |claim| claim.to_string());
                pipeline
                    .cmd("EVALSHA")
                    .arg(self.scripts.register.get_hash())
                    .arg(1)
                    .arg(register_key(user))
                    .arg(name)
                    .arg(u8::from(fresh))
                    .arg(&*bid.hub)
                    .arg(bid.number)
                    .arg(bid.conn.simple().to_string())
                    .arg(text(Some(bid.claim)))
                    .arg(bid.stamp)
                    .arg(text(bid.revoked))
                    .arg(&**user)
                    .arg(mailbox(""))
                    .arg(micros(SILENT))
                    .arg(micros(OWNER_REMEMBERED))
                    .arg(micros(CONCURRENT))
                    .arg(REGISTER.as_secs())
                    .arg(MAILBOX.as_secs())
                    .arg(self.now.load(Ordering::Relaxed));
            }
            Ask::Look(user) => {
                pipeline.cmd("HMGET").arg(register_key(user)).arg(&FIELDS[..]).cmd("TIME");
            }
            Ask::Post(hub, note) => {
                let key = mailbox(hub);
                pipeline.cmd("XADD").arg(&key).arg("MAXLEN").arg("~").arg(MAILBOX_MAX).arg("*").arg("note");
                pipeline.arg(codec::encode_note(note));
                pipeline.cmd("EXPIRE").arg(&key).arg(MAILBOX.as_secs());
            }
            Ask::PostOwner(user, except, note) => {
                pipeline.cmd("EVALSHA").arg(self.scripts.post.get_hash()).arg(1).arg(register_key(user));
                pipeline.arg(&**except).arg(mailbox("")).arg(MAILBOX.as_secs()).arg(codec::encode_note(note));
            }
            Ask::Origins => {
                pipeline.cmd("ZRANGE").arg(ORIGINS).arg(0).arg(-1).arg("REV").arg("WITHSCORES").cmd("TIME");
            }
            Ask::Hubs => {
                pipeline.cmd("EVALSHA").arg(self.scripts.hubs.get_hash()).arg(1).arg(format!("{PREFIX}hubs"));
                pipeline.arg(&*self.hub).arg(HUB_SILENT);
            }
        }
    }

    async fn exchange(&mut self, asks: Vec<Ask>) -> Result<Vec<Reply>, Away> {
        let mut pipeline = redis::pipe();
        for ask in &asks {
            self.push(&mut pipeline, ask);
        }
        let connection = self.connection().await?;
        let values: Vec<Value> = pipeline.query_async(connection).await.map_err(|cause| away(&cause))?;
        let mut values = values.into_iter();
        let replies = asks.iter().map(|ask| reply(ask, &mut values));
        replies.collect::<Result<_, _>>().map_err(|cause: RedisError| away(&cause))
    }
}

const FIELDS: [&str; 9] = ["claim", "conn", "hub", "number", "stamp", "written", "heard", "revoked", "superseded"];

fn register_key(user: &str) -> String {
    format!("{PREFIX}u:{user}")
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn claim(text: &str) -> Option<Claim> {
    Claim::from_uuid(Uuid::try_parse(text).ok()?)
}

/// Takes what answers one question.
fn reply(ask: &Ask, values: &mut impl Iterator<Item = Value>) -> Result<Reply, RedisError> {
    let unexpected = |what: &'static str| RedisError::from((redis::ErrorKind::UnexpectedReturnType, what));
    let mut next = || values.next().ok_or_else(|| unexpected("too few answers"));
    Ok(match ask {
        Ask::Bid(..) => {
            let (kind, what): (String, String) = FromRedisValue::from_redis_value(next()?)?;
            Reply::Verdict(match kind.as_str() {
                "owner" => Verdict::Owner(what.parse().map_err(|_| unexpected("no stamp"))?),
                _ => Verdict::Superseded(claim(&what).ok_or_else(|| unexpected("no claim"))?),
            })
        }
        Ask::Look(_) => {
            let fields: Vec<Option<String>> = FromRedisValue::from_redis_value(next()?)?;
            let time: (u64, u64) = FromRedisValue::from_redis_value(next()?)?;
            Reply::Register(register(&fields), time.0 * 1_000_000 + time.1)
        }
        Ask::Post(..) => {
            next()?;
            next()?;
            Reply::Posted(true)
        }
        Ask::PostOwner(..) => Reply::Posted(FromRedisValue::from_redis_value(next()?)?),
        Ask::Origins => {
            let origins: Vec<(String, u64)> = FromRedisValue::from_redis_value(next()?)?;
            let (now, _): (u64, u64) = FromRedisValue::from_redis_value(next()?)?;
            let there = origins.into_iter().filter(|(_, beat)| now.saturating_sub(*beat) <= ORIGIN_SILENT);
            Reply::Hubs(there.map(|(origin, _)| origin.into()).collect())
        }
        Ask::Hubs => {
            let hubs: Vec<String> = FromRedisValue::from_redis_value(next()?)?;
            Reply::Hubs(hubs.into_iter().map(Into::into).collect())
        }
    })
}

/// A register from its fields; what somebody else wrote there is none.
fn register(fields: &[Option<String>]) -> Option<Register> {
    let text = |index: usize| fields.get(index).and_then(Option::as_deref);
    let number = |index: usize| text(index).and_then(|text| text.parse().ok());
    Some(Register {
        claim: claim(text(0)?)?,
        conn: Uuid::try_parse(text(1)?).ok(),
        hub: text(2)?.into(),
        number: number(3)?,
        stamp: number(4)?,
        written: number(5)?,
        heard: number(6)?,
        revoked: text(7)? == "1",
        superseded: claim(text(8)?),
    })
}

impl Exchange for Shared {
    fn clock(&mut self) -> Later<'_, Result<Clock, Away>> {
        Box::pin(async {
            let clock = self.compare().await;
            if clock.is_err() {
                self.connection = None;
            }
            clock
        })
    }

    fn ask(&mut self, asks: Vec<Ask>) -> Later<'_, Result<Vec<Reply>, Away>> {
        Box::pin(async {
            let replies = self.exchange(asks).await;
            if replies.is_err() {
                self.connection = None; // what it may still answer is given up
            }
            replies
        })
    }
}
