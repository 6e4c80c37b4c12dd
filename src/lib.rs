//! alarm-hub: from a row in SQLite to the browser, in the reader's language. Wiring, no logic.

pub mod auth;
pub mod cli;
mod client;
pub mod config;
pub mod health;
pub mod http;
pub mod log;
pub mod metrics;
#[cfg(feature = "redis")]
pub mod redis;
pub mod server;
pub mod store;
mod watch;
pub mod wire;

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use actors::{
    alarm::Write,
    archive::ArchiveMessage,
    hub::Settings,
    language::Aliases,
    poller::{Health, PollerMessage},
    tree::{TreeActor, TreeArguments, TreeMessage},
};
use hyper_util::service::TowerToHyperService;
use ractor::{Actor, ActorRef, rpc::CallResult};
use tokio::sync;

pub use config::Config;
use log::Lost;
use server::{Limits, Server, tls::Certificate};
use store::{Make, Options, Store};

/// Connections to the address of the metrics.
const SCRAPERS: usize = 32;

/// A hub that runs.
pub struct Hub {
    addresses: Vec<SocketAddr>,
    metrics: Option<(SocketAddr, Server)>,
    drain: Duration,
    root: ActorRef<TreeMessage>,
    aliases: sync::watch::Sender<Aliases>,
    api: sync::watch::Sender<http::Api>,
    server: Server,
    certificate: Option<Certificate>,
}

impl Hub {
    /// Starts the actors and the server; `lost` is what the log loses, for the metrics.
    ///
    /// # Errors
    /// A key that cannot be used, a table that cannot be adopted, an address that cannot be listened on.
    pub async fn start(config: Config, lost: Lost) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let authority = auth::Authority::new(&config)?;
        let (advertise, advertised) = sync::watch::channel(None);
        let aliases = sync::watch::Sender::new(config.aliases.clone());
        let arguments = arguments(&config, &aliases, advertised)?;
        let (root, _) = Actor::spawn(None, TreeActor, arguments).await?;
        let actors = ractor::call!(root, TreeMessage::Actors)?;
        if !config.is_edge() {
            tokio::spawn(watch::wake_on_writes(config.db.clone(), actors.clone()));
        }
        wait_until_read(&actors.borrow().poller.clone()).await;
        let api = sync::watch::Sender::new(http::Api::new(&config, authority, actors, lost));
        let advertised = config.redis.as_ref().and_then(|redis| redis.advertise.clone());
        let secure = config.tls.is_some();
        let limits = limits(&config);
        let certificate = config.tls.map(Certificate::follow).transpose()?;
        let mut addresses = Vec::with_capacity(config.listen.len());
        let mut listeners = Vec::with_capacity(config.listen.len());
        for address in config.listen {
            let listener =
                server::listen(address, config.times).map_err(|cause| format!("listen on {address}: {cause}"))?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        // By its number a hub with TLS is not known, and "every address" is none.
        let reached = addresses.iter().find(|address| !secure && !address.ip().is_unspecified());
        advertise.send_replace(advertised.or_else(|| reached.map(|address| format!("http://{address}"))));
        let mut metrics = None;
        if let Some(address) = config.metrics_listen {
            let listener = server::listen(address, config.times)
                .map_err(|cause| format!("listen on {address} for metrics: {cause}"))?;
            let (address, limits) = (listener.local_addr()?, for_scrapers(limits.clone()));
            let service = TowerToHyperService::new(warp::service(http::health::counted_alone(api.subscribe())));
            metrics = Some((address, Server::start(vec![listener], None, service, limits)));
        }
        let service = TowerToHyperService::new(warp::service(http::routes(api.subscribe())));
        let server = Server::start(listeners, certificate.as_ref(), service, limits);
        Ok(Self { addresses, metrics, drain: config.drain, root, aliases, api, server, certificate })
    }

    /// Where it listens, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it serves `/metrics` and nothing else.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(address, _)| *address)
    }

    /// Serves requests by these settings from now on, as far as they are not of those that need a restart.
    ///
    /// # Errors
    /// Whatever of it cannot be used; the settings before stay.
    pub fn reload(&self, config: &Config) -> Result<(), Box<dyn Error + Send + Sync>> {
        let authority = auth::Authority::new(config)?;
        if let Some(certificate) = &self.certificate {
            certificate.reread()?;
        }
        let (actors, lost) = (self.api.borrow().actors.clone(), self.api.borrow().lost.clone());
        self.aliases.send_replace(config.aliases.clone());
        self.api.send_replace(http::Api::new(config, authority, actors, lost));
        let limits = limits(config);
        if let Some((_, server)) = &self.metrics {
            server.limit(for_scrapers(limits.clone()));
        }
        self.server.limit(limits);
        Ok(())
    }

    /// Whether it works, be the database readable or not: see [`health::works`].
    pub async fn works(&self) -> bool {
        let (actors, interval) = (self.api.borrow().actors.clone(), self.api.borrow().poll_interval);
        let actors = actors.borrow().clone();
        health::works(&actors, interval).await
    }

    /// Accepts no more and ends all connections with their `bye`; those that are not gone within the time that the
    /// settings allow are cut. Answers whether all of them went by themselves. What was revoked meanwhile is in the
    /// database then.
    pub async fn drain(self) -> bool {
        let gone = self.server.stop();
        let all = async {
            if self.root.call(TreeMessage::Stop, None).await.is_err() {
                tracing::warn!("the actors had ended before");
            }
            gone.await;
            let archive = self.api.borrow().actors.borrow().archive.clone();
            let written = |reply| ArchiveMessage::Write(Write::Revoke(Vec::new()), reply);
            let _ = archive.call(written, None).await; // one that ended has told why
        };
        tokio::time::timeout(self.drain, all).await.is_ok()
    }
}

/// How much the hub and one address may have.
fn limits(config: &Config) -> Limits {
    Limits {
        connections: config.max_connections as usize,
        per_address: config.max_per_address as usize,
        rate: config.rate,
        exempt: config.trusted_proxies.clone(),
        times: config.times,
    }
}

fn for_scrapers(limits: Limits) -> Limits {
    Limits { connections: SCRAPERS, ..limits }
}

/// What the actors work on: the database, or what other hubs tell.
fn arguments(
    config: &Config,
    aliases: &sync::watch::Sender<Aliases>,
    advertised: sync::watch::Receiver<Option<String>>,
) -> Result<TreeArguments, Box<dyn Error + Send + Sync>> {
    let settings = Settings { queue: config.queue, heartbeat: config.heartbeat, settle: config.settle };
    let interval = config.poll_interval;
    #[cfg(feature = "redis")]
    if let Some(redis) = config.redis.as_ref().filter(|_| config.is_edge()) {
        let redis::Member { source, archive, cluster } = redis::edge(redis)?;
        // A look waits for news by itself.
        let interval = Duration::from_millis(1);
        return Ok(TreeArguments { source, archive, cluster: Some(cluster), settings, interval });
    }
    let options = Options {
        path: config.db.clone(),
        make: if config.create { Make::File } else { Make::Table },
        aliases: config.aliases.clone(),
        retention: config.retention,
    };
    // Adopts the table, or says at once why that cannot be done; from now on a missing file is never made.
    actors::alarm::Source::open(&mut Store::new(options.clone()))?;
    let options = Options { make: Make::Nothing, ..options };
    let (kept, meant) = (options.clone(), aliases.subscribe());
    let source: actors::tree::OpenSource =
        Arc::new(move || Box::new(Store::new(options.clone()).with_aliases_of(meant.clone())));
    let meant = aliases.subscribe();
    let archive: actors::archive::OpenArchive =
        Arc::new(move || Box::new(Store::new(kept.clone()).with_aliases_of(meant.clone())));
    #[cfg(feature = "redis")]
    if let Some(redis) = &config.redis {
        let redis::Member { source, archive, cluster } = redis::origin(redis, source, archive, advertised)?;
        return Ok(TreeArguments { source, archive, cluster: Some(cluster), settings, interval });
    }
    drop(advertised); // nobody asks
    Ok(TreeArguments { source, archive, cluster: None, settings, interval })
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
