//! The actors of alarm-hub. They own all state; they know neither HTTP nor SQLite.
//!
//! The way of an alarm, and no way back:
//!
//! ```text
//! another program ── INSERT ──▶ alarm ──trigger──▶ alarm_log          (one transaction of the writer)
//!                                                     │ Source (port)
//!                                               PollerActor           one page in flight
//!                                                     │ News(Batch)
//!      Connect ──────────────────────────────────▶ HubActor ──Pull──▶ ArchiveActor ── Archive (port)
//!    (one request, one message)                       │ one Arc a session        │ Pulled
//!                                             UserSessionActor ◀─────────────────┘
//!                                                     │ Block: chosen by Delivery, offered to the Sink
//!                                                   Feed ─────▶ the response's body (or, if nothing waits,
//!                                                               past it: an Outlet, a port of the server)
//! ```
//!
//! The only reply on that way is one receipt a page: the poller reads on once every session has handled it, which
//! bounds all mailboxes. Dropping a Feed is one message, ignored unless that connection is still the newest.

pub mod alarm;
pub mod archive;
pub mod change;
pub mod claim;
pub mod cluster;
pub mod connection;
pub mod delivery;
pub mod exchange;
pub mod histogram;
pub mod hub;
pub mod language;
#[cfg(any(test, feature = "probe"))]
pub mod ledger;
pub mod memory;
pub mod poller;
#[cfg(feature = "probe")]
pub mod probe;
pub mod register;
pub mod sink;
pub mod tally;
pub mod tree;
pub mod user_session;

use std::time::Duration;

/// A random time between two.
pub fn spread(from: Duration, to: Duration) -> Duration {
    let share = (uuid::Uuid::new_v4().as_u128() & 0xffff) as f32 / 65_536.0;
    from + to.saturating_sub(from).mul_f32(share)
}
