//! The way to a peer whom nothing came from yet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::names::Place;
use super::routes::unspecified;
use super::{Switchboard, connection};
use crate::sip::{Flow, Link, Refusal, Transport, Uri};

impl Switchboard {
    /// The places that a URI leads to, best first.
    pub(super) async fn places(&self, target: &Uri) -> Result<Vec<Place>, Refusal> {
        if Transport::wanted_by(target).is_some_and(Transport::is_web) {
            return Err(Refusal::unavailable("No Way to a Browser"));
        }
        let places = self.names.locate(target).await;
        if places.is_empty() { Err(Refusal::unavailable("Unknown Host")) } else { Ok(places) }
    }

    /// The ways to all of them; of those by TLS the first that comes about.
    pub(super) async fn ways_to(self: &Arc<Self>, target: &Uri) -> Result<Vec<Flow>, Refusal> {
        let mut ways = Vec::new();
        let mut secure = false;
        for place in self.places(target).await? {
            if place.transport == Transport::Tls && secure {
                continue;
            }
            if let Ok(flow) = self.way_to(place, target).await {
                secure |= place.transport == Transport::Tls;
                ways.push(flow);
            }
        }
        Ok(ways)
    }

    /// The way to the best of them that is at an address where it may be.
    pub(super) async fn way_within(
        self: &Arc<Self>,
        target: &Uri,
        may_be_at: impl Fn(IpAddr) -> bool,
    ) -> Option<Flow> {
        let places = self.places(target).await.ok()?;
        let place = places.into_iter().find(|place| may_be_at(place.remote.ip()))?;
        self.way_to(place, target).await.ok()
    }

    /// The way to one of them, by TCP where no UDP socket fits.
    pub(super) async fn way_to(
        self: &Arc<Self>,
        place: Place,
        target: &Uri,
    ) -> Result<Flow, Refusal> {
        let Place { transport, remote } = place;
        let udp = self.datagrams.iter().position(|d| d.local.is_ipv4() == remote.is_ipv4());
        match (transport, udp) {
            (Transport::Udp, Some(index)) => {
                let local = self.local_towards(self.datagrams[index].local, remote);
                Ok(Flow { transport, local, remote, link: Link::Socket(index) })
            }
            (Transport::Tls, _) => self.way_by_tls(target, remote).await,
            (Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss, _) => {
                let transport = Transport::Tcp;
                let local = self.appearance(transport, remote);
                Ok(Flow { transport, local, remote, link: Link::Any })
            }
        }
    }

    /// A connection whose other end has shown the certificate of whom we call. It is made before
    /// the call, so that the caller is told why there is none.
    async fn way_by_tls(
        self: &Arc<Self>,
        target: &Uri,
        remote: SocketAddr,
    ) -> Result<Flow, Refusal> {
        // RFC 5922 §4: the name that was called, not where DNS says that it lives.
        let name = match target.ip() {
            Some(ip) => ip.to_string(),
            None => target.host.to_ascii_lowercase(),
        };
        let transport = Transport::Tls;
        let local = self.appearance(transport, remote);
        let flow = |number| Flow { transport, local, remote, link: Link::Connection(number) };
        if let Some(number) = self.streams.called(remote, &name) {
            return Ok(flow(number));
        }
        let stream = connection::call_tls(self, remote, &name).await;
        let stream = stream.map_err(|error| Refusal::unavailable(&format!("TLS: {error}")))?;
        let place = self.streams.take_in(remote, &name);
        let place = place.ok_or_else(|| Refusal::unavailable("Too Many Connections"))?;
        let flow = flow(place.number);
        self.spawn(connection::serve_called(self.clone(), flow, stream, place));
        Ok(flow)
    }

    /// What a peer is told to reach us at. Not listening, we still must name a port; requests come
    /// by our connection.
    fn appearance(&self, transport: Transport, remote: SocketAddr) -> SocketAddr {
        let fits = |(kind, local): &(Transport, SocketAddr)| {
            *kind == transport && local.is_ipv4() == remote.is_ipv4()
        };
        let bound = self.streams.listening().find(fits).map(|(_, local)| local);
        let unbound = SocketAddr::new(unspecified(remote), transport.default_port());
        self.local_towards(bound.unwrap_or(unbound), remote)
    }
}
