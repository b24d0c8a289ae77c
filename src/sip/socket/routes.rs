//! Which of our addresses a peer sees.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;

/// Which of our addresses a peer sees, when a socket is bound to all of them.
pub(super) struct Routes {
    advertised: Option<IpAddr>,
    known: Mutex<HashMap<IpAddr, (IpAddr, Instant)>>,
}

impl Routes {
    pub fn new(advertised: Option<IpAddr>) -> Self {
        Self { advertised, known: Mutex::default() }
    }

    /// How we appear to `remote` when it reaches the socket that is bound to `bound`.
    pub fn local(&self, bound: SocketAddr, remote: SocketAddr) -> SocketAddr {
        let fitting = self.advertised.filter(|ip| ip.is_ipv4() == remote.is_ipv4());
        let ip = match fitting {
            Some(ip) => ip,
            None if !bound.ip().is_unspecified() => bound.ip(),
            None => self.probe(remote),
        };
        SocketAddr::new(ip, bound.port())
    }

    /// Connecting a datagram socket sends nothing, but makes the system choose.
    fn probe(&self, remote: SocketAddr) -> IpAddr {
        let now = Instant::now();
        let mut known = lock(&self.known);
        if let Some((ip, found)) = known.get(&remote.ip())
            && now.duration_since(*found) < ROUTE_LIFETIME
        {
            return *ip;
        }
        let probed = std::net::UdpSocket::bind(SocketAddr::new(unspecified(remote), 0))
            .and_then(|socket| socket.connect(remote).and_then(|()| socket.local_addr()));
        let ip = probed.map_or_else(|_| unspecified(remote), |local| local.ip());
        if known.len() >= MAX_ROUTES {
            known.clear();
        }
        known.insert(remote.ip(), (ip, now));
        ip
    }
}

pub(super) fn unspecified(like: SocketAddr) -> IpAddr {
    if like.is_ipv4() {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
    }
}

/// A route may change under us; a probe costs three system calls.
const ROUTE_LIFETIME: Duration = Duration::from_secs(30);
const MAX_ROUTES: usize = 4_096;
