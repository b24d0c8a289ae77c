//! `Via`: where a request came from and where its responses go (RFC 3261 §18.2, RFC 3581).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::text::{Params, is_token};
use super::transport::Transport;
use super::uri::{host_and_port, ip_of};

/// The topmost Via of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Via {
    /// `2.0`, unless the sender is of another time.
    pub version: String,
    /// `UDP`, `TCP`, … as written.
    pub transport: String,
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    /// Reads one element; blanks around `/`, `:` and `;` are legal (RFC 4475 §3.1.1.1).
    pub fn read(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        let version = version.trim();
        if !name.trim().eq_ignore_ascii_case("SIP") || !is_token(version) {
            return None;
        }
        let (transport, rest) = rest.trim_start().split_once([' ', '\t'])?;
        let (sent_by, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(sent_by).ok()?;
        let params = Params::read(params);
        let (version, transport) = (version.to_owned(), transport.to_owned());
        Some(Self { version, transport, host: host.to_owned(), port, params })
    }

    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch")
    }

    pub fn sent_by(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host.to_ascii_lowercase()),
            None => self.host.to_ascii_lowercase(),
        }
    }

    fn ip(&self) -> Option<IpAddr> {
        ip_of(&self.host)
    }

    /// RFC 3261 §18.2.1 and RFC 3581 §4: writes down where the request really came from,
    /// whatever the sender claimed.
    pub fn stamp(&mut self, source: SocketAddr) {
        let asked = self.params.has("rport");
        let honest = self.ip() == Some(source.ip());
        self.params.remove("received");
        if asked || !honest {
            self.params.set("received", Some(source.ip().to_string()));
        }
        if asked {
            self.params.set("rport", Some(source.port().to_string()));
        }
    }

    /// Whether a translator stands between us and the sender, as far as Via tells.
    pub fn behind_nat(&self, source: SocketAddr) -> bool {
        self.ip().is_some_and(|ip| ip != source.ip())
            || (self.params.has("rport") && self.port.unwrap_or(5060) != source.port())
    }

    /// RFC 3261 §18.2.2: where a datagram goes back to, and where a connection is opened when the
    /// one that a request came by is gone. `maddr` is not followed: it would let anyone aim our
    /// responses at a third party.
    pub fn reply_to(&self, source: SocketAddr, transport: Transport) -> SocketAddr {
        // RFC 3581 §4 is about datagrams: the port that a connection came from takes no other.
        if self.params.has("rport") && !transport.is_reliable() {
            return source;
        }
        SocketAddr::new(source.ip(), self.port.unwrap_or(transport.default_port()))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/{}/{} {}", self.version, self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(via: &str, source: &str) -> (String, SocketAddr) {
        let source = source.parse().expect("an address");
        let mut via = Via::read(via).expect("a Via");
        via.stamp(source);
        (via.to_string(), via.reply_to(source, Transport::Udp))
    }

    #[test]
    fn received_and_rport() {
        let rows = [
            (
                "SIP/2.0/UDP 10.0.0.1:5080;branch=z1",
                "10.0.0.1:5080",
                "SIP/2.0/UDP 10.0.0.1:5080;branch=z1",
                "10.0.0.1:5080",
            ),
            (
                "SIP/2.0/UDP 10.0.0.1;branch=z1",
                "1.2.3.4:999",
                "SIP/2.0/UDP 10.0.0.1;branch=z1;received=1.2.3.4",
                "1.2.3.4:5060",
            ),
            (
                "SIP/2.0/UDP 10.0.0.1;rport;branch=z1",
                "10.0.0.1:999",
                "SIP/2.0/UDP 10.0.0.1;branch=z1;received=10.0.0.1;rport=999",
                "10.0.0.1:999",
            ),
            (
                "SIP/2.0/UDP h.example:7;received=9.9.9.9;branch=z1",
                "1.2.3.4:999",
                "SIP/2.0/UDP h.example:7;branch=z1;received=1.2.3.4",
                "1.2.3.4:7",
            ),
            (
                "SIP / 2.0 / UDP  [2001:db8::9]:5060 ; branch=z1",
                "[2001:db8::9]:5060",
                "SIP/2.0/UDP [2001:db8::9]:5060;branch=z1",
                "[2001:db8::9]:5060",
            ),
        ];
        for (via, source, printed, reply) in rows {
            assert_eq!(
                stamped(via, source),
                (printed.to_owned(), reply.parse().expect("an address"))
            );
        }
    }

    #[test]
    fn a_connection_is_opened_to_where_requests_are_taken() {
        let source = "1.2.3.4:40000".parse().expect("an address");
        for (via, transport, reply) in [
            ("SIP/2.0/TCP 10.0.0.1:5080;rport;branch=z1", Transport::Tcp, "1.2.3.4:5080"),
            ("SIP/2.0/TCP h.example;branch=z1", Transport::Tcp, "1.2.3.4:5060"),
            ("SIP/2.0/TLS h.example;maddr=9.9.9.9;branch=z1", Transport::Tls, "1.2.3.4:5061"),
        ] {
            let via = Via::read(via).expect("a Via");
            assert_eq!(via.reply_to(source, transport), reply.parse().expect("an address"));
        }
    }

    #[test]
    fn what_is_no_via() {
        for text in
            ["", "SIP/2.0/UDP", "HTTP/2.0/UDP h", "SIP/2.0/UDP ;branch=z", "SIP/2.0/UDP h:99999"]
        {
            assert_eq!(Via::read(text), None, "{text}");
        }
    }
}
