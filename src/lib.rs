//! alarm-hub: from a row in SQLite to the browser, in the reader's language. Wiring, no logic.

pub mod http;
pub mod store;
pub mod wire;

use std::{error::Error, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use actors::{
    hub::Settings,
    language::Aliases,
    poller::{Health, PollerMessage},
    tree::{TreeActor, TreeArguments, TreeMessage},
};
use ractor::{Actor, ActorRef, rpc::CallResult};
use tokio::net::TcpListener;

use store::{Options, Store};

/// What the hub is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub db: PathBuf,
    /// Whether a missing database is made.
    pub create: bool,
    /// Where to listen; loopback only, as there is no authentication yet.
    pub listen: SocketAddr,
}

/// A hub that runs.
pub struct Hub {
    /// Where it listens.
    pub address: SocketAddr,
    root: ActorRef<TreeMessage>,
}

impl Hub {
    /// Starts the actors and the server.
    pub async fn start(config: Config) -> Result<Self, Box<dyn Error + Send + Sync>> {
        if !config.listen.ip().is_loopback() {
            return Err(
                format!("{} is no loopback address, and this version has no authentication", config.listen).into()
            );
        }
        if !config.create && !config.db.exists() {
            return Err(format!("there is no database {}", config.db.display()).into());
        }
        let aliases = Aliases::default();
        let options = Options {
            path: config.db,
            create: config.create,
            aliases: aliases.clone(),
            retention: Duration::from_secs(30 * 86_400),
        };
        // Adopts the table, or says at once why that cannot be done; from now on a missing file is never made.
        actors::alarm::Source::open(&mut Store::new(options.clone()))?;
        let options = Options { create: false, ..options };
        let archive = options.clone();
        let arguments = TreeArguments {
            source: Arc::new(move || Box::new(Store::new(options.clone()))),
            archive: Arc::new(move || Box::new(Store::new(archive.clone()))),
            settings: Settings { queue: 256, heartbeat: Duration::from_secs(15), settle: Duration::from_millis(250) },
            interval: Duration::from_millis(50),
        };
        let (root, _) = Actor::spawn(None, TreeActor, arguments).await?;
        let actors = ractor::call!(root, TreeMessage::Actors)?;
        wait_until_read(&actors.borrow().poller.clone()).await;
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let api = http::Api { actors, default: aliases.list("en")?, aliases };
        tokio::spawn(warp::serve(http::routes(api)).incoming(listener).run());
        Ok(Self { address, root })
    }

    /// Ends all connections with their `bye`.
    pub async fn stop(self) {
        let drained = self.root.call(TreeMessage::Stop, Some(Duration::from_secs(10))).await;
        if drained.is_err() {
            tracing::warn!("the actors had ended before");
        }
        tokio::time::sleep(Duration::from_millis(200)).await; // what was said last is on its way out
    }
}

/// Waits until the poller has opened the database, so that whoever connects first is not sent away; not for ever,
/// because a hub that says that it cannot read is better than none.
async fn wait_until_read(poller: &ActorRef<PollerMessage>) {
    for _ in 0..200 {
        let health = poller.call(PollerMessage::Health, Some(Duration::from_secs(1))).await;
        if let Ok(CallResult::Success(Health { at: Some(_), .. })) = health {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
