//! The way to a peer whom nothing came from yet.

use std::net::SocketAddr;
use std::sync::Arc;

use super::routes::unspecified;
use super::{Switchboard, connection};
use crate::sip::{Flow, Link, Refusal, Transport, Uri};

impl Switchboard {
    /// Chooses the transport that a URI asks for, else UDP, else TCP.
    pub(super) async fn way_to(self: &Arc<Self>, target: &Uri) -> Result<Flow, Refusal> {
        let wanted = Transport::wanted_by(target);
        let port = target.port.unwrap_or(wanted.unwrap_or(Transport::Udp).default_port());
        let found: Vec<SocketAddr> = match target.ip() {
            Some(ip) => vec![SocketAddr::new(ip, port)],
            None => tokio::net::lookup_host((target.host.as_str(), port))
                .await
                .map_or(vec![], Iterator::collect),
        };
        let remote = *found.first().ok_or_else(|| Refusal::unavailable("Unknown Host"))?;
        let udp = self.datagrams.iter().position(|d| d.local.is_ipv4() == remote.is_ipv4());
        match (wanted, udp) {
            (None | Some(Transport::Udp), Some(index)) => {
                let (transport, bound) = (Transport::Udp, self.datagrams[index].local);
                let local = self.local_towards(bound, remote);
                Ok(Flow { transport, local, remote, link: Link::Socket(index) })
            }
            (Some(Transport::Tls), _) => self.way_by_tls(target, &found).await,
            (Some(Transport::Ws | Transport::Wss), _) => {
                Err(Refusal::unavailable("No Way to a Browser"))
            }
            (None | Some(Transport::Udp | Transport::Tcp), _) => {
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
        found: &[SocketAddr],
    ) -> Result<Flow, Refusal> {
        let name = match target.ip() {
            Some(ip) => ip.to_string(),
            None => target.host.to_ascii_lowercase(),
        };
        let transport = Transport::Tls;
        let flow = |remote, number| {
            let local = self.appearance(transport, remote);
            Flow { transport, local, remote, link: Link::Connection(number) }
        };
        let known = |remote: &SocketAddr| Some((*remote, self.streams.called(*remote, &name)?));
        if let Some((remote, number)) = found.iter().find_map(known) {
            return Ok(flow(remote, number));
        }
        let mut last = None;
        for remote in found.iter().take(MAX_TRIES) {
            match connection::call_tls(self, *remote, &name).await {
                Ok(stream) => {
                    let place = self.streams.take_in(*remote, &name);
                    let place =
                        place.ok_or_else(|| Refusal::unavailable("Too Many Connections"))?;
                    let flow = flow(*remote, place.number);
                    self.spawn(connection::serve_called(self.clone(), flow, stream, place));
                    return Ok(flow);
                }
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(String::new, |error| format!("TLS: {error}"));
        Err(Refusal::unavailable(&why))
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

/// Addresses of one name.
const MAX_TRIES: usize = 4;
