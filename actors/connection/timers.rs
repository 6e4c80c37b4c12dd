//! What a connection waits for, and what wakes its session when that has happened.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ractor::{ActorRef, concurrency::JoinHandle};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{spread, user_session::SessionMessage};

/// Points of the grid on which pings come, in a heartbeat.
const BEATS: u32 = 128;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// A ping is due.
    Beat,
    /// The hello has waited long enough.
    Greet,
    /// The sink has room again.
    Room,
    /// The sink has been full for long.
    Stalled,
    /// An alarm waited long enough for the reader's first language.
    Settled,
    /// The answer to a pull should be there, or it is time to ask again.
    Pull,
    /// The hub should have read as far as the reader has.
    Ahead,
    /// The permission ends.
    Expired,
}

/// A timer of each kind at most: to start one is to stop the one before. They end with the connection.
pub struct Timers {
    conn: Uuid,
    session: ActorRef<SessionMessage>,
    running: [Option<JoinHandle<()>>; Tick::Expired as usize + 1],
}

impl Timers {
    /// Those of a connection of this session; none runs.
    pub fn new(conn: Uuid, session: ActorRef<SessionMessage>) -> Self {
        Self { conn, session, running: Default::default() }
    }

    /// Tells the session after this time.
    pub fn after(&mut self, delay: Duration, tick: Tick) {
        self.once(sleep(delay), tick);
    }

    /// Tells the session once this has happened.
    pub fn once(&mut self, happened: impl Future<Output = ()> + Send + 'static, tick: Tick) {
        let (conn, session) = (self.conn, self.session.clone());
        let timer = tokio::spawn(async move {
            happened.await;
            let _ = session.cast(SessionMessage::Tick(conn, tick)); // a session that ended needs none
        });
        self.set(tick, timer);
    }

    /// Tells the session of each ping that is due, until they are stopped: jittered, but on a grid that all connections
    /// share, so that the runtime wakes up once for the pings of many.
    pub fn beat(&mut self, heartbeat: Duration) {
        let (conn, session) = (self.conn, self.session.clone());
        let timer = tokio::spawn(async move {
            let mut is_there = true;
            while is_there {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                sleep(on_grid(now, spread(heartbeat.mul_f32(0.8), heartbeat), heartbeat / BEATS)).await;
                is_there = session.cast(SessionMessage::Tick(conn, Tick::Beat)).is_ok();
            }
        });
        self.set(Tick::Beat, timer);
    }

    /// Stops what runs of this kind.
    pub fn stop(&mut self, tick: Tick) {
        if let Some(timer) = self.running[tick as usize].take() {
            timer.abort();
        }
    }

    fn set(&mut self, tick: Tick, timer: JoinHandle<()>) {
        self.stop(tick);
        self.running[tick as usize] = Some(timer);
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.running.iter().flatten().for_each(JoinHandle::abort);
    }
}

/// The delay, shortened so that it ends on a point of this grid.
fn on_grid(now: Duration, delay: Duration, grid: Duration) -> Duration {
    let past = (now + delay).as_nanos() % grid.as_nanos().max(1);
    delay.saturating_sub(Duration::from_nanos(u64::try_from(past).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_come_together_and_never_later_than_they_would_alone() {
        let (grid, millis) = (Duration::from_millis(100), Duration::from_millis);
        for (now, delay, shortened) in
            [(0, 12_000, 12_000), (0, 12_099, 12_000), (70, 12_029, 11_930), (70, 12_030, 12_030)]
        {
            assert_eq!(on_grid(millis(now), millis(delay), grid), millis(shortened), "{now} {delay}");
        }
    }
}
