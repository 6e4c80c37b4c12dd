//! What one address has used up: connections, and requests a second.
//!
//! The accept loop owns the table; a connection holds its address's entry, and how many hold it is how many
//! connections there are. Requests are counted by the generic cell rate algorithm (ITU-T I.371, a leaky bucket whose
//! whole state is one instant), so that the state of an address is one atomic number and nothing is locked. An entry
//! that nobody holds and whose bucket is empty again is forgotten.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use tokio::time::Instant;

/// Entries below which the table is not looked through.
const FEW: usize = 1024;

/// All addresses that have a connection or had one a moment ago.
pub struct Addresses {
    entries: HashMap<IpAddr, Arc<Address>>,
    exempt: Vec<IpNet>,
    rate: Rate,
    sweep_at: usize,
}

/// What one address has used up.
#[derive(Debug, Default)]
pub struct Address {
    /// Nanoseconds since the start at which the bucket is empty.
    empty_at: AtomicU64,
}

/// One connection's share of its address; counted while it is held.
#[derive(Clone, Debug)]
pub struct Share(Arc<Address>);

/// So many requests a second, and as many at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    start: Instant,
    interval: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Addresses {
    /// Counts `rate` requests a second for each address; those in `exempt` and loopback are not counted.
    pub fn new(rate: u32, exempt: Vec<IpNet>) -> Self {
        let rate = Rate { start: Instant::now(), interval: SECOND / u64::from(rate.max(1)) };
        Self { entries: HashMap::new(), exempt, rate, sweep_at: FEW }
    }

    /// A share for one more connection of this address; `None`: it is exempt.
    pub fn share(&mut self, address: IpAddr) -> Option<Share> {
        if address.is_loopback() || self.exempt.iter().any(|network| network.contains(&address)) {
            return None;
        }
        if self.entries.len() >= self.sweep_at {
            let now = self.rate.now();
            self.entries
                .retain(|_, entry| Arc::strong_count(entry) > 1 || entry.empty_at.load(Ordering::Relaxed) > now);
            self.entries.shrink_to(self.entries.len() * 2);
            self.sweep_at = (self.entries.len() * 2).max(FEW);
        }
        Some(Share(self.entries.entry(client(address)).or_default().clone()))
    }

    /// What a share is asked with.
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

/// Who is behind an address: with IPv6 a customer has at least a whole /64 (RFC 6177 §2).
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        IpAddr::V4(_) => address,
    }
}

impl Share {
    /// How many connections this address has, this one among them.
    pub fn connections(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    /// Takes one request.
    ///
    /// # Errors
    /// How long until one is free, if there is none.
    pub fn request(&self, rate: Rate) -> Result<(), Duration> {
        self.0.take(rate.now(), rate.interval)
    }
}

impl Rate {
    fn now(self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Address {
    fn take(&self, now: u64, interval: u64) -> Result<(), Duration> {
        let full = now + SECOND;
        let taken = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
            let empty_at = empty_at.max(now) + interval;
            (empty_at <= full).then_some(empty_at)
        });
        taken.map(|_| ()).map_err(|empty_at| Duration::from_nanos(empty_at + interval - full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses::new(4, vec!["10.0.0.0/28".parse().unwrap()])
    }

    #[test]
    fn as_many_requests_as_the_rate_come_at_once_and_then_one_an_interval() {
        let (address, interval) = (Address::default(), SECOND / 4);
        let taken = |now: u64| address.take(now, interval);
        assert_eq!([0; 4].map(taken), [Ok(()); 4]);
        assert_eq!(taken(0), Err(Duration::from_millis(250)));
        assert_eq!(taken(SECOND / 5), Err(Duration::from_millis(50)), "what was refused costs nothing");
        assert_eq!(taken(SECOND / 4), Ok(()));
        assert_eq!(taken(SECOND / 4), Err(Duration::from_millis(250)));
        assert_eq!([10 * SECOND; 4].map(taken), [Ok(()); 4], "a long silence saves up one second and no more");
        assert!(taken(10 * SECOND).is_err());
    }

    #[test]
    fn connections_of_an_address_are_counted_while_they_are_held() {
        let mut addresses = addresses();
        let mut share = |address: &str| addresses.share(address.parse().unwrap());
        let (first, second) = (share("192.0.2.1").unwrap(), share("192.0.2.1").unwrap());
        assert_eq!(second.connections(), 2);
        drop(second);
        assert_eq!(first.connections(), 1);
        assert_eq!(share("192.0.2.2").unwrap().connections(), 1);
        let (_one, other) = (share("2001:db8::1").unwrap(), share("2001:db8::ffff:2").unwrap());
        assert_eq!(other.connections(), 2, "a /64 is one client");
        assert_eq!(share("2001:db8:0:1::1").unwrap().connections(), 1);
    }

    #[test]
    fn loopback_and_trusted_proxies_are_not_counted() {
        for exempt in ["127.0.0.1", "127.9.9.9", "::1", "10.0.0.15"] {
            assert!(addresses().share(exempt.parse().unwrap()).is_none(), "{exempt}");
        }
        assert!(addresses().share("10.0.0.16".parse().unwrap()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_left_are_forgotten_once_their_bucket_is_empty() {
        let mut addresses = addresses();
        let stays = addresses.share("192.0.2.1".parse().unwrap());
        for number in 0..FEW as u32 * 3 {
            let share = addresses.share(IpAddr::from((0x0b00_0000 + number).to_be_bytes())).unwrap();
            assert_eq!(share.request(addresses.rate()), Ok(()));
        }
        assert!(addresses.entries.len() > FEW * 3, "a full bucket is not forgotten: it would be full again at once");
        tokio::time::advance(Duration::from_secs(2)).await;
        addresses.sweep_at = 0;
        assert!(addresses.share("192.0.2.2".parse().unwrap()).is_some());
        assert_eq!(addresses.entries.len(), 2);
        assert_eq!(stays.unwrap().connections(), 1);
    }
}
