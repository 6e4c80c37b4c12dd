//! The service manager: systemd is told that the hub is up, that it is alive, and that it stops. Without one there is
//! nobody to tell, and nothing happens.

use std::{future::pending, time::Duration};

use sd_notify::NotifyState;
use tokio::time::sleep;
use tracing::{error, warn};

use crate::Hub;

/// Whoever started the hub, if that wants to be told.
pub struct Manager {
    /// How often it wants to hear from the hub.
    every: Option<Duration>,
}

impl Manager {
    /// The hub is up.
    pub fn ready() -> Self {
        notify(&[NotifyState::Ready]);
        // Twice as often as it must be, so that one late sign does not end a hub that is well.
        Self { every: sd_notify::watchdog_enabled().map(|within| within / 2) }
    }

    /// Waits until the manager is to be told that the hub is alive.
    pub async fn due(&self) {
        match self.every {
            Some(every) => sleep(every).await,
            None => pending().await,
        }
    }

    /// Tells it so if that is true: a hub whose actors do not answer or do not look is started again.
    pub async fn tell(&mut self, hub: &Hub) {
        if hub.works().await {
            notify(&[NotifyState::Watchdog]);
        } else {
            error!("the hub or the poller hangs: the service manager is not told that all is well");
        }
    }

    /// The hub is about to end.
    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(state) {
        warn!(%cause, "the service manager cannot be told");
    }
}
