//! Who is let in: how many connections the node, an address and a user may have, and how many may come per second.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::ClientConfig;
use crate::metrics::{ClientMetrics, RefusedLabels};

/// Why a handshake is refused, though nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The node holds as many connections as it may.
    ConnectionLimit,
    /// Too many have come within a second.
    ConnectionRate,
    /// Too many come from this address.
    IpConnectionLimit,
    /// The process has no memory to spare.
    Memory,
}

impl Refusal {
    /// The value of the metric's label.
    fn name(self) -> &'static str {
        match self {
            Self::ConnectionLimit => "connection_limit",
            Self::ConnectionRate => "connection_rate_limit",
            Self::IpConnectionLimit => "ip_connection_limit",
            Self::Memory => "memory_limit",
        }
    }

    /// What the client is told.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ConnectionLimit => "this node is full: try another, or come back later\n",
            Self::ConnectionRate => "too many connect at once: come back in a second\n",
            Self::IpConnectionLimit => "too many connections from your address\n",
            Self::Memory => "this node is short of memory: try another, or come back later\n",
        }
    }
}

/// The limits of a node, and how far they are used up.
#[derive(Debug)]
pub(crate) struct Admission {
    connection_limit: usize,
    user_limit: u32,
    ip_limit: u32,
    /// Whether the address of a socket is that of its client.
    peers_are_clients: bool,
    connections: AtomicUsize,
    short_of_memory: AtomicBool,
    short_of_files: AtomicBool,
    rate: Option<Mutex<Bucket>>,
    by_ip: Mutex<HashMap<IpAddr, u32>>,
    /// Sockets that have not shaken hands.
    waiting: Mutex<HashMap<IpAddr, u32>>,
    by_user: Mutex<HashMap<Arc<str>, u32>>,
    metrics: ClientMetrics,
}

impl Admission {
    /// `files` is how many connections the process has files for.
    pub(crate) fn new(config: &ClientConfig, files: usize, metrics: ClientMetrics) -> Self {
        let connection_limit = match config.connection_limit {
            0 => files,
            limit => limit.min(files),
        };
        Self {
            connection_limit,
            user_limit: config.user_connection_limit,
            ip_limit: config.ip_connection_limit,
            peers_are_clients: config.ip_http_header.is_empty(),
            connections: AtomicUsize::new(0),
            short_of_memory: AtomicBool::new(false),
            short_of_files: AtomicBool::new(false),
            rate: Bucket::new(config.connection_rate_limit, Instant::now()).map(Mutex::new),
            by_ip: Mutex::default(),
            waiting: Mutex::default(),
            by_user: Mutex::default(),
            metrics,
        }
    }

    /// How many connections the node may hold.
    pub(crate) fn connection_limit(&self) -> usize {
        self.connection_limit
    }

    /// Lets a new socket shake hands, for as long as what is returned is kept. `None` if its address has as many
    /// sockets that do so already as it may have connections.
    pub(crate) fn admit_socket(self: &Arc<Self>, peer: IpAddr) -> Option<ShakingHands> {
        let counted = self.ip_limit > 0 && self.peers_are_clients;
        if counted && !enter(&mut lock(&self.waiting), peer, self.ip_limit) {
            self.count(Refusal::IpConnectionLimit.name());
            return None;
        }
        Some(ShakingHands { admission: self.clone(), ip: counted.then_some(peer) })
    }

    /// Lets a connection in, for as long as what is returned is kept.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Admitted, Refusal> {
        let refused = |refusal: Refusal| {
            self.count(refusal.name());
            Err(refusal)
        };
        if self.short_of_memory.load(Ordering::Relaxed) {
            return refused(Refusal::Memory);
        }
        // From here on it counts: what is refused later gives its place back.
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut admitted = Admitted { admission: self.clone(), ip: None };
        if before >= self.connection_limit {
            return refused(Refusal::ConnectionLimit);
        }
        if self.ip_limit > 0 {
            if !enter(&mut lock(&self.by_ip), ip, self.ip_limit) {
                return refused(Refusal::IpConnectionLimit);
            }
            admitted.ip = Some(ip);
        }
        if self.rate.as_ref().is_some_and(|rate| !lock(rate).take(Instant::now())) {
            return refused(Refusal::ConnectionRate);
        }
        Ok(admitted)
    }

    /// Counts a connection of a user. If it may not have another one, nothing is counted.
    pub(crate) fn enter_user(&self, user: &Arc<str>) -> bool {
        let entered = self.user_limit == 0 || enter(&mut lock(&self.by_user), user.clone(), self.user_limit);
        if !entered {
            self.count("user_connection_limit");
        }
        entered
    }

    /// A connection of the user that was counted has ended.
    pub(crate) fn leave_user(&self, user: &Arc<str>) {
        if self.user_limit > 0 {
            leave(&mut lock(&self.by_user), user);
        }
    }

    /// Whether there is memory for new connections.
    pub(crate) fn set_short_of_memory(&self, short: bool) {
        self.short_of_memory.store(short, Ordering::Relaxed);
    }

    /// Whether there are files for new sockets.
    pub(crate) fn set_short_of_files(&self, short: bool) {
        self.short_of_files.store(short, Ordering::Relaxed);
    }

    /// Whether the node can take more connections, and if not, why.
    pub(crate) fn readiness(&self) -> Result<(), &'static str> {
        if self.short_of_files.load(Ordering::Relaxed) {
            Err("hardly any file is left: no new sockets")
        } else if self.short_of_memory.load(Ordering::Relaxed) {
            Err("short of memory: no new connections")
        } else if self.connections.load(Ordering::Relaxed) >= self.connection_limit {
            Err("full: no new connections")
        } else {
            Ok(())
        }
    }

    /// Counts something that was turned away.
    pub(crate) fn count(&self, reason: &'static str) {
        self.metrics.refused.get_or_create(&RefusedLabels { reason }).inc();
    }
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    /// Set where addresses are counted.
    ip: Option<IpAddr>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(ip) = &self.ip {
            leave(&mut lock(&self.admission.by_ip), ip);
        }
    }
}

/// A new socket's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct ShakingHands {
    admission: Arc<Admission>,
    /// Set where addresses are counted.
    ip: Option<IpAddr>,
}

impl Drop for ShakingHands {
    fn drop(&mut self) {
        if let Some(ip) = &self.ip {
            leave(&mut lock(&self.admission.waiting), ip);
        }
    }
}

fn enter<K: Hash + Eq>(counts: &mut HashMap<K, u32>, key: K, limit: u32) -> bool {
    let count = counts.entry(key).or_default();
    let fits = *count < limit;
    *count += u32::from(fits);
    fits
}

fn leave<K: Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// So many per second, and no more at once.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    left: f64,
    filled_at: Instant,
}

impl Bucket {
    /// `None` if there is no limit.
    fn new(per_second: u32, now: Instant) -> Option<Self> {
        let per_second = f64::from(per_second);
        (per_second > 0.0).then_some(Self { per_second, left: per_second, filled_at: now })
    }

    fn take(&mut self, now: Instant) -> bool {
        let filled = now.duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.left = (self.left + filled).min(self.per_second);
        self.filled_at = now;
        let fits = self.left >= 1.0;
        self.left -= f64::from(u8::from(fits));
        fits
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change leaves the value whole, so a panic elsewhere cannot have broken it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn admission(change: impl FnOnce(&mut ClientConfig)) -> Arc<Admission> {
        let mut config = ClientConfig::default();
        change(&mut config);
        Arc::new(Admission::new(&config, 1_000, ClientMetrics::default()))
    }

    #[test]
    fn a_full_node_says_so_until_somebody_leaves() {
        let node = admission(|config| config.connection_limit = 2);
        let (first, _second) = (node.admit(ONE).unwrap(), node.admit(OTHER).unwrap());
        assert_eq!(node.admit(ONE).unwrap_err(), Refusal::ConnectionLimit);
        assert!(node.readiness().is_err());
        drop(first);
        assert!(node.readiness().is_ok() && node.admit(ONE).is_ok());
        assert_eq!(admission(|config| config.connection_limit = 5_000).connection_limit(), 1_000);
    }

    #[test]
    fn an_address_has_its_share_and_leaves_nothing_behind() {
        let node = admission(|config| config.ip_connection_limit = 1);
        let first = node.admit(ONE).unwrap();
        assert_eq!(node.admit(ONE).unwrap_err(), Refusal::IpConnectionLimit);
        assert!(node.admit(OTHER).is_ok());
        drop(first);
        assert!(node.admit(ONE).is_ok());
        assert!(lock(&node.by_ip).is_empty());
        assert_eq!(node.connections.load(Ordering::Relaxed), 0, "who was refused gave its place back");
    }

    // Sockets that never shook hands passed by every limit.
    #[test]
    fn an_address_has_its_share_of_sockets_that_shake_hands() {
        let node = admission(|config| config.ip_connection_limit = 1);
        let first = node.admit_socket(ONE).unwrap();
        assert!(node.admit_socket(ONE).is_none() && node.admit_socket(OTHER).is_some());
        drop(first);
        assert!(node.admit_socket(ONE).is_some());
        let behind_a_proxy = admission(|config| {
            config.ip_connection_limit = 1;
            config.ip_http_header = "X-Real-IP".to_owned();
        });
        let _first = behind_a_proxy.admit_socket(ONE).unwrap();
        assert!(behind_a_proxy.admit_socket(ONE).is_some(), "all come from the proxy");
    }

    #[test]
    fn a_user_has_its_share() {
        let node = admission(|config| config.user_connection_limit = 1);
        let ann: Arc<str> = "ann".into();
        assert!(node.enter_user(&ann) && !node.enter_user(&ann) && node.enter_user(&"bob".into()));
        node.leave_user(&ann);
        assert!(node.enter_user(&ann));
    }

    #[test]
    fn so_many_may_come_per_second() {
        let start = Instant::now();
        let mut bucket = Bucket::new(2, start).unwrap();
        assert!(bucket.take(start) && bucket.take(start) && !bucket.take(start));
        assert!(bucket.take(start + Duration::from_millis(500)));
        assert!(!bucket.take(start + Duration::from_millis(600)));
        let later = start + Duration::from_secs(60);
        assert!(bucket.take(later) && bucket.take(later) && !bucket.take(later), "no more than that at once");
    }

    #[test]
    fn without_memory_nobody_is_let_in() {
        let node = admission(|_| {});
        node.set_short_of_memory(true);
        assert_eq!(node.admit(ONE).unwrap_err(), Refusal::Memory);
        assert!(node.readiness().is_err());
        node.set_short_of_memory(false);
        assert!(node.admit(ONE).is_ok());
    }
}
