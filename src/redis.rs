//! The only Redis: where several hubs share who owns which stream, and the alarms as they come.

pub mod address;
mod codec;
pub mod edge;
pub mod exchange;
pub mod feeder;
pub mod mailbox;
mod page;

pub use address::Address;

use std::{error::Error, fs, sync::Arc, time::Duration};

use actors::{
    alarm::Archive,
    archive::OpenArchive,
    cluster::{ClusterArguments, Feeding, OpenCluster},
    exchange::Away,
    tree::OpenSource,
};
use uuid::Uuid;

use crate::config;
use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};
use tokio::sync::{mpsc, watch};

/// What all keys begin with.
const PREFIX: &str = "alarm-hub:";

/// The alarms: a stream of the log's pages, what is known of it, and the hubs that can be asked for more.
const STREAM: &str = "alarm-hub:{alarms}";
const ABOUT: &str = "alarm-hub:{alarms}:about";
const ORIGINS: &str = "alarm-hub:{alarms}:origins";

/// Positions that the stream holds, about.
const WINDOW: u64 = 100_000;

/// How long Redis may take to accept a connection, and to answer.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(1);

/// How long a register is kept after its last change.
const REGISTER: Duration = Duration::from_secs(86_400);

/// How long a mailbox is kept after its last note.
const MAILBOX: Duration = Duration::from_secs(3_600);

/// How long a blocking read waits for something to come, and for its answer: a server that hangs is found out.
const BLOCK: Duration = Duration::from_secs(2);
const BLOCKED: Duration = Duration::from_secs(4);

/// A hub among others: where its alarms come from, and the way to the others.
pub struct Member {
    /// Makes the poller's source.
    pub source: OpenSource,
    /// Makes the archive's connections.
    pub archive: OpenArchive,
    /// Makes the way to the other hubs.
    pub cluster: OpenCluster,
}

/// A hub with a database, which tells those that have none; others can ask it at the address that `advertise` tells
/// once it is known.
///
/// # Errors
/// The password or the authorities cannot be read.
pub fn origin(
    settings: &config::Redis,
    source: OpenSource,
    archive: OpenArchive,
    advertise: watch::Receiver<Option<String>>,
) -> Result<Member, Box<dyn Error + Send + Sync>> {
    let address = with_files(settings)?;
    let feed = {
        let (address, source, archive) = (address.clone(), source.clone(), archive.clone());
        move || {
            let (grew, told) = mpsc::channel(1);
            let (fed, heard) = watch::channel(Default::default());
            let feeder = feeder::Feeder::new(address.clone(), source.clone(), archive.clone(), advertise.clone(), fed);
            tokio::spawn(feeder.run(told));
            Feeding { grew, fed: heard }
        }
    };
    let kept = address.clone();
    Ok(Member {
        source,
        archive: Arc::new(move || Box::new(edge::Ticketed::new(archive(), true, kept.clone())) as Box<dyn Archive>),
        cluster: cluster(address, settings.fence, move || Some(feed())),
    })
}

/// A hub without a database.
///
/// # Errors
/// The password or the authorities cannot be read.
pub fn edge(settings: &config::Redis) -> Result<Member, Box<dyn Error + Send + Sync>> {
    let address = with_files(settings)?;
    let (live, past) = (address.clone(), address.clone());
    Ok(Member {
        source: Arc::new(move || Box::new(edge::Tail::new(live.clone()))),
        archive: Arc::new(move || {
            let archive = Box::new(edge::Past::new(past.clone()));
            Box::new(edge::Ticketed::new(archive, false, past.clone())) as Box<dyn Archive>
        }),
        cluster: cluster(address, settings.fence, || None),
    })
}

fn cluster(address: Address, fence: bool, feed: impl Fn() -> Option<Feeding> + Send + Sync + 'static) -> OpenCluster {
    Arc::new(move |hub| {
        // Each start has a name of its own: what an earlier one said is not this one's.
        let name: Arc<str> = Uuid::new_v4().simple().to_string()[..12].into();
        ClusterArguments {
            exchange: Box::new(exchange::Shared::new(address.clone(), name.clone())),
            mailbox: Box::new(mailbox::Inbox::new(address.clone(), &name)),
            name,
            hub,
            fence,
            feeding: feed(),
        }
    })
}

/// The address with what lies in files: the password, and who signs the certificate of Redis.
fn with_files(settings: &config::Redis) -> Result<Address, Box<dyn Error + Send + Sync>> {
    let read = |path: &std::path::PathBuf| {
        fs::read_to_string(path).map_err(|cause| format!("cannot read {}: {cause}", path.display()))
    };
    let password = settings.password_file.as_ref().map(read).transpose()?;
    let password = password.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    let address = settings.address.clone().with_password(password);
    let Some(path) = &settings.ca_file else { return Ok(address) };
    Ok(address.with_authorities(read(path)?).map_err(|cause| format!("{}: {cause}", path.display()))?)
}

/// The key of a hub's mailbox.
fn mailbox(hub: &str) -> String {
    format!("{PREFIX}mail:{hub}")
}

/// Redis is away: why.
fn away(cause: &RedisError) -> Away {
    Away(cause.to_string())
}

/// Opens a connection of its own, of which every answer must come within `answer`.
async fn connect(address: &Address, answer: Duration) -> Result<MultiplexedConnection, Away> {
    let open = async {
        let client: Client = address.client().await?;
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(answer));
        client.get_multiplexed_async_connection_with_config(&config).await
    };
    // A frozen Sentinel is found out by this alone.
    match tokio::time::timeout(2 * CONNECT, open).await {
        Ok(opened) => opened.map_err(|cause| away(&cause)),
        Err(_) => Err(Away(format!("{address} does not answer"))),
    }
}
