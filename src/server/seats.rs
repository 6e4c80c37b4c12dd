//! Who may have how much: connections in all, and connections and requests of one address.
//!
//! The accept loop owns the table. A connection holds a [`Seat`], and how many hold one is how many connections there
//! are, so nobody has to be told when one ends. Requests are counted by the generic cell rate algorithm (ITU-T I.371,
//! a leaky bucket whose whole state is one instant), so that what an address has used up is one atomic number and
//! nothing is locked. An address that nobody sits for and whose bucket is empty again is forgotten.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use tokio::time::Instant;

use super::{Excess, Limits};

/// Addresses below which the table is not looked through.
const FEW: usize = 1024;

const SECOND: u64 = 1_000_000_000;

/// All seats.
pub struct Seats {
    hall: Arc<Hall>,
    addresses: HashMap<IpAddr, Arc<Address>>,
    exempt: Vec<IpNet>,
    sweep_at: usize,
}

/// What all seats have in common; the limits change when the settings are read again.
#[derive(Debug)]
struct Hall {
    room: AtomicUsize,
    per_address: AtomicUsize,
    /// Nanoseconds from one request of an address to the next.
    interval: AtomicU64,
    start: Instant,
}

/// What one address has used up.
#[derive(Debug, Default)]
struct Address {
    /// Nanoseconds since the start at which the bucket is empty.
    empty_at: AtomicU64,
}

/// One connection's; counted while it is held.
#[derive(Clone, Debug)]
pub struct Seat {
    hall: Arc<Hall>,
    /// `None`: it is exempt from what is counted per address.
    address: Option<Arc<Address>>,
}

impl Seats {
    /// `room` seats for who comes within `limits`; loopback is exempt from what is counted per address, too.
    pub fn new(room: usize, limits: &Limits) -> Self {
        let hall = Hall {
            room: AtomicUsize::new(room),
            per_address: AtomicUsize::new(limits.per_address),
            interval: AtomicU64::new(interval(limits.rate)),
            start: Instant::now(),
        };
        Self { hall: Arc::new(hall), addresses: HashMap::new(), exempt: limits.exempt.clone(), sweep_at: FEW }
    }

    /// Others from now on. Whoever has a seat keeps it, and is exempt if it was.
    pub fn renew(&mut self, room: usize, limits: &Limits) {
        self.hall.room.store(room, Ordering::Relaxed);
        self.hall.per_address.store(limits.per_address, Ordering::Relaxed);
        self.hall.interval.store(interval(limits.rate), Ordering::Relaxed);
        self.exempt.clone_from(&limits.exempt);
    }

    /// Whether one is free.
    pub fn are_free(&self) -> bool {
        Arc::strong_count(&self.hall) <= self.hall.room()
    }

    /// A seat for a connection from there.
    ///
    /// # Errors
    /// There is none left, in all or for this address.
    pub fn take(&mut self, from: IpAddr) -> Result<Seat, Excess> {
        let exempt = from.is_loopback() || self.exempt.iter().any(|network| network.contains(&from));
        let address = (!exempt).then(|| self.address(from));
        Seat { hall: self.hall.clone(), address }.within_limits()
    }

    fn address(&mut self, from: IpAddr) -> Arc<Address> {
        if self.addresses.len() >= self.sweep_at {
            let now = self.hall.now();
            let is_used =
                |entry: &Arc<Address>| Arc::strong_count(entry) > 1 || entry.empty_at.load(Ordering::Relaxed) > now;
            self.addresses.retain(|_, entry| is_used(entry));
            self.addresses.shrink_to(self.addresses.len() * 2);
            self.sweep_at = (self.addresses.len() * 2).max(FEW);
        }
        self.addresses.entry(client(from)).or_default().clone()
    }
}

/// Nanoseconds from one request to the next.
fn interval(rate: u32) -> u64 {
    SECOND / u64::from(rate.max(1))
}

/// Who is behind an address: with IPv6 a customer has at least a whole /64 (RFC 6177 §2).
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        IpAddr::V4(_) => address,
    }
}

impl Hall {
    fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Seat {
    fn within_limits(self) -> Result<Self, Excess> {
        // The table holds one of each as well.
        let count = |holders: usize| holders - 1;
        match &self.address {
            Some(address) if count(Arc::strong_count(address)) > self.hall.per_address.load(Ordering::Relaxed) => {
                Err(Excess::Address)
            }
            _ if count(Arc::strong_count(&self.hall)) > self.hall.room() => Err(Excess::Connections),
            _ => Ok(self),
        }
    }

    /// One more seat beside this one.
    ///
    /// # Errors
    /// As [`Seats::take`].
    pub fn another(&self) -> Result<Self, Excess> {
        self.clone().within_limits()
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`Excess::Rate`].
    pub fn request(&self) -> Result<(), Excess> {
        let Some(address) = &self.address else { return Ok(()) };
        address.take(self.hall.now(), self.hall.interval.load(Ordering::Relaxed)).map_err(Excess::Rate)
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

    fn seats(room: usize) -> Seats {
        let exempt = vec!["10.0.0.0/28".parse().unwrap()];
        let limits = Limits { connections: room, per_address: 2, rate: 4, exempt, times: Default::default() };
        Seats::new(room, &limits)
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
    fn seats_are_counted_while_they_are_held() {
        let mut seats = seats(4);
        let mut take = |address: &str| seats.take(address.parse().unwrap());
        let (first, second) = (take("192.0.2.1").unwrap(), take("192.0.2.1").unwrap());
        assert_eq!(take("192.0.2.1").unwrap_err(), Excess::Address);
        assert_eq!(first.another().unwrap_err(), Excess::Address);
        drop(second);
        let _beside = first.another().unwrap();
        let _other = [take("192.0.2.2").unwrap(), take("127.0.0.1").unwrap()];
        assert_eq!(take("192.0.2.3").unwrap_err(), Excess::Connections);
        drop(first);
        assert!(take("192.0.2.3").is_ok());
    }

    #[test]
    fn new_limits_hold_for_whoever_comes_and_for_the_next_request_of_those_who_sit() {
        let mut seats = seats(2);
        let mut held = vec![seats.take("192.0.2.1".parse().unwrap()).unwrap()];
        assert_eq!((0..9).filter(|_| held[0].request().is_ok()).count(), 4);
        let limits =
            Limits { connections: 4, per_address: 3, rate: 1_000_000, exempt: vec![], times: Default::default() };
        seats.renew(4, &limits);
        let mut take = |address: &str| seats.take(address.parse().unwrap());
        held.extend(["192.0.2.1", "192.0.2.1", "10.0.0.1"].map(|address| take(address).unwrap()));
        assert_eq!(take("192.0.2.1").unwrap_err(), Excess::Address);
        assert_eq!(take("192.0.2.2").unwrap_err(), Excess::Connections);
        assert!((0..99).all(|_| held[3].request().is_ok()), "the new rate");
        seats.renew(1, &Limits { rate: 1, ..limits });
        assert!((0..99).any(|_| held[3].request().is_err()), "10.0.0.1 is exempt no more");
        assert!(!seats.are_free());
        held.clear();
        assert!(seats.are_free(), "nobody was sent away, and nobody is counted twice");
    }

    #[test]
    fn a_64_of_ipv6_is_one_client() {
        let mut seats = seats(9);
        let mut take = |address: &str| seats.take(address.parse().unwrap());
        let _two = [take("2001:db8::1").unwrap(), take("2001:db8::ffff:2").unwrap()];
        assert_eq!(take("2001:db8::3").unwrap_err(), Excess::Address);
        assert!(take("2001:db8:0:1::3").is_ok());
    }

    #[test]
    fn loopback_and_trusted_proxies_are_not_counted() {
        for exempt in ["127.0.0.1", "127.9.9.9", "::1", "10.0.0.15"] {
            let mut seats = seats(9);
            let held = [(); 5].map(|()| seats.take(exempt.parse().unwrap()).expect(exempt));
            assert!((0..99).all(|_| held[0].request().is_ok()), "{exempt}");
        }
        let mut seats = seats(9);
        let seat = seats.take("10.0.0.16".parse().unwrap()).unwrap();
        assert!((0..99).any(|_| seat.request().is_err()));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_left_are_forgotten_once_their_bucket_is_empty() {
        let mut seats = seats(9);
        let stays = seats.take("192.0.2.1".parse().unwrap()).unwrap();
        let many = u32::try_from(FEW).unwrap() * 3;
        for number in 0..many {
            let seat = seats.take(IpAddr::from((0x0b00_0000 + number).to_be_bytes())).unwrap();
            assert_eq!(seat.request(), Ok(()));
        }
        assert!(seats.addresses.len() > FEW * 3, "whoever used it up a moment ago is remembered");
        tokio::time::advance(Duration::from_secs(2)).await;
        seats.sweep_at = 0;
        assert!(seats.take("192.0.2.2".parse().unwrap()).is_ok());
        assert_eq!(seats.addresses.len(), 2);
        assert!(stays.another().is_ok());
    }
}
