//! How many new calls are looked at: a bucket for all, and one for each peer, so that one flood
//! does not shut the others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

pub(super) struct Gate {
    all: Bucket,
    peers: HashMap<IpAddr, Bucket>,
    per_peer: u32,
}

impl Gate {
    /// Calls per second, from all and from each peer; as many may come at once.
    pub fn new(all: u32, per_peer: u32) -> Self {
        Self { all: Bucket::new(all), peers: HashMap::new(), per_peer }
    }

    pub fn lets_in(&mut self, now: Instant, peer: IpAddr) -> bool {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            // Whoever has a full bucket is not worth remembering. Should all be busy, forgetting
            // them lets each in once more, and the common bucket still holds.
            self.peers.retain(|_, bucket| !bucket.is_full(now));
            if self.peers.len() >= MAX_PEERS {
                self.peers.clear();
            }
        }
        let of_peer = self.peers.entry(peer).or_insert_with(|| Bucket::new(self.per_peer));
        of_peer.take(now) && self.all.take(now)
    }
}

pub(super) struct Bucket {
    per_second: f64,
    left: f64,
    /// When `left` was true; `None` before the first call.
    at: Option<Instant>,
}

impl Bucket {
    pub fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, left: per_second, at: None }
    }

    pub fn take(&mut self, now: Instant) -> bool {
        self.left = self.level(now);
        self.at = Some(now);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }

    fn is_full(&self, now: Instant) -> bool {
        self.level(now) >= self.per_second
    }

    fn level(&self, now: Instant) -> f64 {
        let passed = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        (self.left + passed * self.per_second).min(self.per_second)
    }
}

const MAX_PEERS: usize = 4_096;
